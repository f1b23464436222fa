"""Recorded camera frames, read back; and the link to them in the file of the tables.

A recorder that died is followed by another part, which begins after the last frame that was safe: what is in both is
taken from the later one.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from recorders.crop_parts import link_crops_into, linked_crops
from recorders.images import FRAMES
from recorders.packed import register_filter, unpacked
from recorders.parts import RunError, opened, part_paths
from recorders.runfolder import RunFolder
from recorders.tables import Table

LINK_ROOM = 32 * 1024 * 1024

Picture = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


class Pictures:
    """Frames by number: `pictures[42]` is `(height, width)` of frame number 42, as the camera sent it."""

    def __init__(self, first: Path) -> None:
        """`first`: `images_run_001.h5`. Raises RunError if there is none, or hdf5plugin is missing."""
        self._parts = parts_of_images(first)
        if not self._parts:
            raise RunError(f"{first} does not exist: this run kept no camera frames (record.images)")
        register_filter("frames")
        self._where = {
            frame: (path, index) for path, rows in self._parts for index, frame in enumerate(rows["frame"].tolist())
        }

    @property
    def numbers(self) -> npt.NDArray[np.int64]:
        """The numbers of the frames that are there, in order."""
        return np.array(sorted(self._where), np.int64)

    def __len__(self) -> int:
        return len(self._where)

    def __iter__(self) -> Iterator[Picture]:
        return (self[int(number)] for number in self.numbers)

    def __getitem__(self, index: int) -> Picture:
        return self.fetch(index)()

    def fetch(self, index: int) -> Callable[[], Picture]:
        """Read a frame as it lies in the file; called, what is returned decodes it, in any thread. Raises IndexError.

        Decoding raises OSError. Twice as fast as HDF5's own pipeline, and holds no lock.
        """
        if index not in self._where:
            raise IndexError(f"frame {index} was not kept; those that are: {self._said()}")
        path, row = self._where[index]
        with opened(path) as file:
            images = file["images"]
            if find_spec("imagecodecs") is None:
                image: Picture = images[row]
                return lambda: image
            _, data = images.id.read_direct_chunk((row, 0, 0))
            shape, dtype = images.shape[1:], images.dtype
        return partial(unpacked, data, dtype, shape)

    def _said(self) -> str:
        numbers = self.numbers
        return f"{len(numbers)}, from {numbers[0]} to {numbers[-1]}" if len(numbers) else "none"


def link(folder: RunFolder) -> None:
    """Make frames and crops appear in the file of the tables, when nobody writes any of them any more.

    `/images` is `(n, height, width)` and `/image_frames` says which frame each of them is; `/crops` and `/crop_rows`
    likewise. Raises OSError, with nothing changed, if the disk is nearly full.
    """
    if folder.hdf5.exists() and (linked_frames(folder.images) or linked_crops(folder.crops)):
        if shutil.disk_usage(folder.path).free < LINK_ROOM:  # HDF5 damages a file that it can write a part of
            raise OSError(errno.ENOSPC, "the disk is full")
        with h5py.File(folder.hdf5, "r+", libver=("v110", "v110")) as file:
            link_into(file, folder.images)
            link_crops_into(file, folder.crops)


def link_into(file: h5py.File, images: Path) -> None:
    """The link in a file of tables that is open for writing, unless it has one; `images` is in the same folder."""
    parts = parts_of_images(images)
    total = sum(len(rows) for _, rows in parts)
    if not total or "images" in file:
        return
    with opened(parts[0][0]) as first:
        (_, height, width), dtype = first["images"].shape, first["images"].dtype
    layout = h5py.VirtualLayout((total, height, width), dtype)
    at = 0
    for path, rows in parts:
        source = h5py.VirtualSource(path.name, "images", (len(rows), height, width))
        layout[at : at + len(rows)] = source
        at += len(rows)
    file.create_virtual_dataset("images", layout)
    file.create_dataset("image_frames", data=np.concatenate([rows for _, rows in parts]))


def linked_frames(images: Path) -> int:
    """How many frames the link shows: those that count of the file and its parts."""
    return sum(len(rows) for _, rows in parts_of_images(images))


def parts_of_images(first: Path) -> list[tuple[Path, Table]]:
    """The parts with the rows of `/frames` that count of each: those that were written whole, before the next part."""
    found: list[tuple[Path, Table]] = []
    for path in part_paths(first).values():
        with opened(path) as file:
            rows = np.asarray(file["frames"][: file["images"].shape[0]], FRAMES)
        torn = np.flatnonzero(np.diff(rows["frame"], prepend=-1) <= 0)  # numbers grow; what was not written is -1 or 0
        rows = rows[: int(torn[0])] if len(torn) else rows
        if len(rows):
            found.append((path, rows))
    out = []
    for (path, rows), after in zip(found, [*found[1:], None]):
        end = None if after is None else int(after[1]["frame"][0])
        out.append((path, rows if end is None else rows[: int(np.searchsorted(rows["frame"], end))]))
    return out
