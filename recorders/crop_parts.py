"""Recorded crops, read back: `Run.crops`; and the link to them in the file of the tables.

Files of recorders that were restarted, or that follow one of a size or a time, are read as one. No frame is in two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import xxhash
from numpy.typing import NDArray

from recorders.crop_file import CROP_ROWS
from recorders.packed import register_filter
from recorders.parts import RunError, opened, part_paths
from recorders.tables import Table

if TYPE_CHECKING:
    import pandas as pd

BLOCK = 4096
MOST_FAULTS = 20


class Crops:
    """Pictures of single particles: `crops[7]` is the pixels of row 7 of `crops.table`."""

    def __init__(self, first: Path) -> None:
        """`first`: `crops_run_001.h5`. Raises RunError if there is none, or hdf5plugin is missing."""
        self._parts = list(parts_of_crops(first))
        if not self._parts:
            raise RunError(f"{first} does not exist: this run kept no crops (record.crop_size)")
        register_filter("crops")
        self._starts = np.cumsum([0, *(len(rows) for _, rows in self._parts)])
        with opened(self._parts[0][0]) as file:
            self.size, self.dtype = int(file["crops"].shape[1]), file["crops"].dtype

    @cached_property
    def rows(self) -> Table:
        """One record a crop (`recorders.crop_file.CROP_ROWS`), in order of frame."""
        return np.concatenate([np.zeros(0, CROP_ROWS), *(rows for _, rows in self._parts)])

    @cached_property
    def table(self) -> pd.DataFrame:
        """The same as a DataFrame."""
        import pandas as pd

        return pd.DataFrame.from_records(self.rows)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> NDArray[Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"crop {index}: there are {len(self)}")
        crop: NDArray[Any] = self.read(np.array([index]))[0]
        return crop

    def __iter__(self) -> Iterator[NDArray[Any]]:
        for start in range(0, len(self), BLOCK):
            yield from self.read(np.arange(start, min(start + BLOCK, len(self))))

    def of(
        self, particle: int | None = None, first: int | None = None, last: int | None = None
    ) -> tuple[Table, NDArray[Any]]:
        """Rows and pixels, `(n, size, size)`, of a particle (None: of all) in the frames `first` to `last`."""
        wanted = np.ones(len(self), bool)
        for limit, column, keep in (
            (particle, "particle", np.equal), (first, "frame", np.greater_equal), (last, "frame", np.less_equal)
        ):  # fmt: skip
            if limit is not None:
                wanted &= keep(self.rows[column], limit)
        indices = np.flatnonzero(wanted)
        return self.rows[indices], self.read(indices)

    def read(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        """The pixels of these rows, which grow."""
        out = np.empty((len(indices), self.size, self.size), self.dtype)
        for part, (path, _) in enumerate(self._parts):
            low, high = np.searchsorted(indices, self._starts[part : part + 2])
            if low < high:
                own = indices[low:high] - self._starts[part]
                with opened(path) as file:
                    crops = file["crops"]
                    step = crops.chunks[0]
                    at = low
                    for start in range(own[0] // step * step, int(own[-1]) + 1, step):  # a chunk is decoded once
                        here = own[(own >= start) & (own < start + step)]
                        if len(here):
                            out[at : at + len(here)] = crops[start : min(start + step, crops.shape[0])][here - start]
                            at += len(here)
        return out


def parts_of_crops(first: Path) -> Iterator[tuple[Path, Table]]:
    """The files with the rows that count of each: those that were written whole, whose crops are there."""
    last = -1
    for path in part_paths(first).values():
        with opened(path) as file:
            rows = np.asarray(file["crop_rows"][: file["crops"].shape[0]], CROP_ROWS)
        torn = np.flatnonzero((rows["frame"] < 0) | (np.diff(rows["frame"], prepend=last) < 0))
        rows = rows[: int(torn[0])] if len(torn) else rows
        if len(rows):
            last = int(rows["frame"][-1])
            yield path, rows


def last_frame_of(first: Path) -> int:
    """The newest frame number of which crops are kept; -1 if there are none."""
    return max((int(rows["frame"][-1]) for _, rows in parts_of_crops(first)), default=-1)


def link_crops_into(file: h5py.File, first: Path) -> None:
    """`/crops` and `/crop_rows` in a file of tables that is open for writing, unless it has them."""
    parts = list(parts_of_crops(first))
    if not parts or "crops" in file:
        return
    total = sum(len(rows) for _, rows in parts)
    with opened(parts[0][0]) as source:
        like = {name: (source[name].shape[1:], source[name].dtype) for name in ("crops", "crop_rows")}
    for name, (shape, dtype) in like.items():
        layout = h5py.VirtualLayout((total, *shape), dtype)
        at = 0
        for path, rows in parts:
            layout[at : at + len(rows)] = h5py.VirtualSource(path.name, name, (len(rows), *shape), dtype)
            at += len(rows)
        file.create_virtual_dataset(name, layout)


def linked_crops(first: Path) -> int:
    """How many crops the link shows."""
    return sum(len(rows) for _, rows in parts_of_crops(first))


def check_crops(first: Path, progress: Callable[[int, int], None] | None = None) -> tuple[int, list[str]]:
    """Read every crop, chunk by chunk, and compare it with its checksum: how many there are, and what is wrong."""
    faults: list[str] = []
    parts = list(parts_of_crops(first))
    if parts:
        register_filter("crops")
    total, done = sum(len(rows) for _, rows in parts), 0
    for path, rows in parts:
        with opened(path) as file:
            crops = file["crops"]
            for start in range(0, len(rows), crops.chunks[0]):
                part = rows[start : start + crops.chunks[0]]
                try:
                    pixels = crops[start : start + len(part)]
                    wrong = [
                        row for row, crop in zip(part, pixels) if xxhash.xxh3_64_intdigest(crop.data) != row["checksum"]
                    ]
                    said = "is not what was cut: its checksum is another"
                except OSError as error:
                    wrong, said = list(part), f"cannot be read: {error}"
                faults += [
                    f"{path.name}: the crop of particle {r['particle']} in frame {r['frame']} {said}" for r in wrong
                ]
                done += len(part)
                if progress:
                    progress(done, total)
                if len(faults) >= MOST_FAULTS:
                    return total, faults[:MOST_FAULTS]
    return total, faults
