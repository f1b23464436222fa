"""Frames of a SOURCE for commands that look at some of them: a stack, a folder of TIFF files, an array, `simulated`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from engine.errors import SettingsError

Frame = NDArray[Any]


def frames_of(source: str, count: int | None = None) -> Iterator[Frame]:
    """The first `count` frames, (height, width) of uint8 or uint16 each; None: all. `simulated` has no end of its own.

    Raises SettingsError if there are none.
    """
    frames = _simulated(source) if source.partition("?")[0] == "simulated" else _from_files(Path(source).expanduser())
    some = islice(frames, count)
    try:
        first = next(some)
    except StopIteration:
        raise SettingsError(f"source: {source} has no frames of uint8 or uint16") from None
    yield first
    for frame in some:
        if frame.shape != first.shape or frame.dtype != first.dtype:
            raise SettingsError(f"source: {source} has frames of different shapes or types; use one kind at a time")
        yield frame


def _simulated(source: str) -> Iterator[Frame]:
    from bridge.sources.simulated import SimulatedCamera

    return (frame for frame, _ in SimulatedCamera.parse(source).simulator.frames())


def _from_files(path: Path) -> Iterator[Frame]:
    import numpy as np
    import tifffile

    from bridge.sources.tiff import WrongKindError, frame_of, is_candidate, natural

    if path.is_dir():
        files = sorted((p for p in path.iterdir() if is_candidate(p.name)), key=lambda p: natural(p.name))
    elif path.is_file():
        files = [path]
    else:
        raise SettingsError(f"source: {path} is neither a TIFF stack, nor a folder, nor `simulated`")
    for file in files:
        try:
            if file.suffix == ".npy":
                array = np.load(file, allow_pickle=False, mmap_mode="r")
                yield from (frame_of(np.asarray(frame)) for frame in (array if array.ndim == 3 else array[None]))
            else:
                with tifffile.TiffFile(file) as tif:
                    yield from (frame_of(page.asarray()) for page in tif.pages)
        except WrongKindError as error:
            raise SettingsError(f"source: {file}: {error}") from None
        except Exception as error:  # tifffile raises whatever a broken file makes it stumble over
            if isinstance(error, SettingsError):
                raise
            raise SettingsError(f"source: {file} cannot be read: {type(error).__name__}: {error}") from None
