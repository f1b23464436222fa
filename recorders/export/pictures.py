"""Frames as a stack or a film, one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from engine.errors import SettingsError
from recorders.blocks import track_blocks
from recorders.export import Progress
from recorders.export.selection import Clock, Selection
from recorders.run import Run

SAMPLES = 10
DARKEST, BRIGHTEST = 1.0, 99.8  # percentiles that become black and white
AT_ONCE = 64


def write_ome_tiff(run: Run, path: Path, selection: Selection, progress: Progress) -> None:
    """All frames in one OME-TIFF (BigTIFF): axes T, Y, X; times and scale. One particle is wanted: its crops instead.

    Raises RunError, SettingsError.
    """
    name, numbers, pictures, first = _stack_of(run, selection)
    seconds = Clock(run).seconds(numbers)
    metadata: dict[str, Any] = {
        "axes": "TYX",
        "Name": name,
        "Plane": {"DeltaT": [round(float(s), 9) for s in seconds], "DeltaTUnit": ["s"] * len(numbers)},
    }
    if len(numbers) > 1:
        metadata |= {"TimeIncrement": float(np.median(np.diff(seconds))), "TimeIncrementUnit": "s"}
    if run.settings.camera.pixel_um:
        size = run.settings.camera.pixel_um
        metadata |= {"PhysicalSizeX": size, "PhysicalSizeXUnit": "µm"}
        metadata |= {"PhysicalSizeY": size, "PhysicalSizeYUnit": "µm"}

    def frames() -> Iterator[NDArray[Any]]:
        for done, picture in enumerate(pictures, 1):
            yield picture
            progress(done, len(numbers))

    with tifffile.TiffWriter(path, bigtiff=True, ome=True) as tif:
        tif.write(
            frames(), shape=(len(numbers), *first.shape), dtype=first.dtype, photometric="minisblack",
            compression="zlib", metadata=metadata, software="ringtrack",
        )  # fmt: skip


def _stack_of(run: Run, selection: Selection) -> tuple[str, NDArray[np.int64], Iterator[NDArray[Any]], NDArray[Any]]:
    """Name, frame numbers, pictures in order, and one of these: whole frames, or a particle's crops."""
    name = run.path.parent.name
    if not selection.particles:
        numbers, pictures = _wanted(run, selection), run.frames
        return name, numbers, (pictures[number] for number in numbers.tolist()), pictures[int(numbers[0])]
    if len(selection.particles) > 1 or selection.particles[0][0] != selection.particles[0][1]:
        raise SettingsError(
            "--to ome-tiff: --particles is one of them, of which crops were kept; or none, for whole frames"
        )
    crops, particle = run.crops, selection.particles[0][0]
    low, high = selection.frames(run)
    wanted = crops.rows["particle"] == particle
    for limit, keep in ((low, np.greater_equal), (high, np.less_equal)):
        if limit is not None:
            wanted &= keep(crops.rows["frame"], limit)
    indices = np.flatnonzero(wanted)
    if not len(indices):
        raise SettingsError(f"{run.path.name} keeps no crop of particle {particle} in that stretch")
    blocks = (crops.read(indices[at : at + AT_ONCE]) for at in range(0, len(indices), AT_ONCE))
    one_by_one = (crop for block in blocks for crop in block)
    return f"{name} particle {particle}", crops.rows["frame"][indices], one_by_one, crops[int(indices[0])]


def write_mp4(
    run: Run, path: Path, selection: Selection, progress: Progress, fps: float | None = None, overlay: bool = True
) -> None:
    """A film (H.264), with a ring around each particle, its colour by its identity. Raises SettingsError.

    `fps`: of the film (None: the camera's, at most 60). Contrast is the same in all frames.
    """
    import av

    numbers = _wanted(run, selection)
    pictures = run.frames
    low, high = _contrast(pictures, numbers)
    rate = Fraction(fps or min(60.0, run.settings.camera.fps)).limit_denominator(1000)
    height, width = (side - side % 2 for side in pictures[int(numbers[0])].shape)  # the codec takes even sides
    radius = run.settings.tracking.diameter / 2 + 2
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as film:
        stream: Any = film.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "18", "preset": "medium"}
        done = 0
        for start in range(0, len(numbers), AT_ONCE):
            part = numbers[start : start + AT_ONCE]
            drawn = _positions(run, part, selection) if overlay else {}
            for number in part.tolist():
                grey = np.clip((pictures[number].astype(np.float32) - low) * (255.0 / (high - low)), 0, 255)
                image = np.repeat(grey.astype(np.uint8)[:height, :width, None], 3, axis=2)
                for x, y, particle in drawn.get(number, ()):
                    _ring(image, x, y, radius, _colour(particle))
                for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                    film.mux(packet)
                done += 1
                progress(done, len(numbers))
        for packet in stream.encode():
            film.mux(packet)


def _wanted(run: Run, selection: Selection) -> NDArray[np.int64]:
    """Numbers of the frames that were kept and are wanted. Raises RunError, SettingsError."""
    numbers = run.frames.numbers
    first, last = selection.frames(run)
    if first is not None:
        numbers = numbers[numbers >= first]
    if last is not None:
        numbers = numbers[numbers <= last]
    if not len(numbers):
        raise SettingsError(f"{run.path.name} keeps no camera frame in that stretch")
    return numbers


def _contrast(pictures: Any, numbers: NDArray[np.int64]) -> tuple[float, float]:
    chosen = numbers[np.linspace(0, len(numbers) - 1, min(SAMPLES, len(numbers))).astype(int)]
    looks = np.concatenate([pictures[int(number)].ravel()[::7] for number in chosen])
    low, high = np.percentile(looks, [DARKEST, BRIGHTEST])
    return float(low), float(max(high, low + 1))


def _positions(run: Run, numbers: NDArray[np.int64], selection: Selection) -> dict[int, list[tuple[float, float, int]]]:
    """x, y, identity of the particles of each frame, in the picture that was kept of it."""
    out: dict[int, list[tuple[float, float, int]]] = {}
    y0, _, x0, _ = run.kept_part
    for block in track_blocks(run, int(numbers[0]), int(numbers[-1])):
        for frame, x, y, particle in zip(*(block[name].tolist() for name in ("frame", "x", "y", "particle"))):
            if not selection.particles or any(low <= particle <= high for low, high in selection.particles):
                out.setdefault(frame, []).append((x - x0, y - y0, particle))
    return out


def _colour(particle: int) -> tuple[int, int, int]:
    """Bright, and far from that of its neighbours in number (golden angle)."""
    import colorsys

    red, green, blue = colorsys.hsv_to_rgb(particle * 0.61803398875 % 1.0, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def _ring(image: NDArray[np.uint8], x: float, y: float, radius: float, colour: tuple[int, int, int]) -> None:
    angles = np.linspace(0, 2 * np.pi, max(12, int(7 * radius)), endpoint=False)
    columns = np.rint(x + radius * np.cos(angles)).astype(int)
    rows = np.rint(y + radius * np.sin(angles)).astype(int)
    inside = (rows >= 0) & (rows < image.shape[0]) & (columns >= 0) & (columns < image.shape[1])
    image[rows[inside], columns[inside]] = colour
