"""Camera frames of a run that kept them as TIFF: files, or the pages of one stack, found by their number.

What `recorders.pictures.Pictures` is for the HDF5 files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import tifffile
import xxhash

from recorders.parts import RunError
from recorders.pictures import Picture, Pictures
from recorders.runfolder import RunFolder
from recorders.tables import Table
from recorders.tiff_ome import Strip, pages_of, read_strip

_NUMBER = re.compile(r"_frame_(\d+)\.tiff$")
MOST_FAULTS = 20


class TiffPictures:
    """Frames by number: `pictures[42]` is `(height, width)` of frame number 42."""

    def __init__(self, folder: RunFolder) -> None:
        """Raises RunError if the run kept none."""
        self._folder = folder
        self._stack = folder.tiff_stack if folder.tiff_stack.exists() else None
        if not len(self):
            raise RunError(f"{folder.path} holds no TIFF files of camera frames")

    @cached_property
    def numbers(self) -> npt.NDArray[np.int64]:
        """The numbers of the frames that are there, in order."""
        return np.array(sorted(self._places), np.int64)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Picture]:
        return (self[int(number)] for number in self.numbers)

    def __getitem__(self, index: int) -> Picture:
        if index not in self._places:
            ends = f"{len(self)}, from {self.numbers[0]} to {self.numbers[-1]}"
            raise IndexError(f"frame {index} was not kept; those that are: {ends}")
        try:
            image: Any = self._read(index)
        except OSError:
            raise
        except Exception as error:  # tifffile and the codecs raise whatever a broken file makes them stumble over
            raise OSError(f"frame {index} cannot be read: {type(error).__name__}: {error}") from None
        found: Picture = image
        return found

    def fetch(self, index: int) -> Callable[[], Picture]:
        """What returns the frame when it is called, in any thread."""
        return partial(self.__getitem__, index)

    @cached_property
    def _places(self) -> dict[int, Strip | None]:
        """Where each frame is: the pixels of its page, or a file of its own."""
        if self._stack:
            return {page.about["frame"]: Strip.of(page) for page in pages_of(self._stack)}
        paths = self._folder.tiff(0).parent.parent.glob("*/*.tiff")
        return {int(match[1]): None for path in paths if (match := _NUMBER.search(path.name))}

    def _read(self, index: int) -> Any:
        strip = self._places[index]
        if strip is None or self._stack is None:
            return tifffile.imread(self._folder.tiff(index))
        return read_strip(self._stack, strip)


Kept: TypeAlias = Pictures | TiffPictures
"""Camera frames by number, in whatever files a run kept them."""


def check_tiffs(
    folder: RunFolder, frames: Table, shape_hw: tuple[int, int], progress: Callable[[int, int], None] | None = None
) -> tuple[int, int, list[str]]:
    """Decode every TIFF of a run: frames, of these compared with the sender's checksum, and what is wrong.

    `frames`: rows of `/frames`, with `frame` and `checksum`. `shape_hw`: of the camera; a part of it has no checksum.
    """
    try:
        pictures = TiffPictures(folder)
    except RunError:
        return 0, 0, []
    checksums = dict(zip(frames["frame"].tolist(), frames["checksum"].tolist()))
    faults: list[str] = []
    compared = 0
    where = folder.tiff_stack.name if folder.tiff_stack.exists() else "frames"

    def look(number: int) -> tuple[str, bool]:
        try:
            image = pictures[number]
        except OSError as error:
            return str(error), False
        wanted = bytes(checksums.get(number, b"")).decode()
        if not wanted or image.shape != shape_hw:
            return "", False
        same = f"{xxhash.xxh3_64_intdigest(np.ascontiguousarray(image).data):016x}" == wanted
        return "" if same else f"frame {number} is not what the sender sent: its checksum is another", True

    with ThreadPoolExecutor(2, "check") as pool:
        for done, (wrong, was_compared) in enumerate(pool.map(look, pictures.numbers.tolist()), 1):
            compared += was_compared
            if wrong and len(faults) < MOST_FAULTS:
                faults.append(f"{where}: {wrong}")
            if progress:
                progress(done, len(pictures))
    return len(pictures), compared, faults
