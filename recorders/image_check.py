"""Whether recorded camera frames can be read, and are what the sender sent: every chunk is decoded.

Chunks are read one after the other and decoded by threads; frames that were kept whole are compared with the checksum
that the sender gave.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import h5py
import xxhash

from recorders.packed import unpacked
from recorders.parts import opened
from recorders.pictures import parts_of_images

MOST_FAULTS = 20
AHEAD = 16


@dataclass(frozen=True)
class ImageCheck:
    """What was found: frames that count, frames compared with a checksum, and what is wrong, in words."""

    frames: int
    compared: int
    faults: list[str]


def check_images(first: Path, threads: int = 2, progress: Callable[[int, int], None] | None = None) -> ImageCheck:
    """Read every frame of `images_run_001.h5` and its parts; `progress(done, all)` is told."""
    parts = parts_of_images(first)
    total = sum(len(rows) for _, rows in parts)
    done = compared = 0
    faults: list[str] = []
    with ThreadPoolExecutor(threads, "check") as pool:
        for path, rows in parts:
            with opened(path) as file:
                images = file["images"]
                frames = (_Frame(images, index, int(row["checksum"])) for index, row in enumerate(rows))
                for batch in _batches(frames, AHEAD):
                    for (why, was_compared), frame in zip(pool.map(_Frame.wrong, batch), batch):
                        if why and len(faults) < MOST_FAULTS:
                            faults.append(f"{path.name}: frame {rows['frame'][frame.index]} {why}")
                        compared += was_compared
                    done += len(batch)
                    if progress:
                        progress(done, total)
    return ImageCheck(total, compared, faults)


class _Frame:
    """A chunk as it lies in the file."""

    def __init__(self, images: h5py.Dataset, index: int, checksum: int) -> None:
        self.index = index
        self._checksum = checksum
        self._shape_hw, self._dtype = images.shape[1:], images.dtype
        self._whole = bool(images.attrs.get("whole", 0))
        try:
            self._chunk = images.id.read_direct_chunk((index, 0, 0))[1]
        except (OSError, RuntimeError, ValueError) as error:
            self._chunk, self._error = b"", str(error)

    def wrong(self) -> tuple[str, bool]:
        """What is wrong with it, "" if nothing; and whether it was compared with a checksum."""
        if not self._chunk:
            return f"cannot be read: {self._error}", False
        try:
            pixels = unpacked(self._chunk, self._dtype, self._shape_hw)
        except OSError as error:
            return str(error).removeprefix("a chunk "), False
        if not self._whole or not self._checksum:
            return "", False
        same = xxhash.xxh3_64_intdigest(pixels.data) == self._checksum
        return "" if same else "is not what the sender sent: its checksum is another", True


def _batches(frames: Iterator[_Frame], count: int) -> Iterator[list[_Frame]]:
    while batch := list(itertools.islice(frames, count)):
        yield batch
