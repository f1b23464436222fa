"""Pictures of single particles on the disk: `crops_run_001.h5`.

    /crops      (n, size, size)   pixels as the camera sent them, shuffle and Zstandard
    /crop_rows  (n,)              of each: frame, particle, where it was, which pixel of the frame is its first

A crop at the edge of the frame is moved inside: it has only pixels of the camera. A chunk holds many crops; the last
one is written again at every flush until it is full. Crops first, then rows: a row says that its crop is there.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from recorders.hdf5new import create, open_to_readers
from recorders.metadata import FORMAT
from recorders.packed import chunk, filters
from recorders.room import refuse_if_full
from recorders.tables import Table, unwritten

CROP_ROWS = np.dtype(
    [
        ("frame", "<i8"),
        ("particle", "<i8"),
        ("x", "<f8"),  # of the particle in the frame, as in /tracks
        ("y", "<f8"),
        ("x0", "<i4"),  # of the crop's first pixel in the frame: the particle is at (x - x0, y - y0) of the crop
        ("y0", "<i4"),
        ("counter", "<i8"),  # the camera's own
        ("t_utc_ns", "<i8"),  # camera time
        ("checksum", "<u8"),  # xxh3-64 of the crop's pixels
    ]
)
CHUNK_BYTES = 1 << 18
ROWS_IN_CHUNK = 4096
SPARE_BYTES = 16 * CHUNK_BYTES


def corners(rows: Table, size: int, shape_hw: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First row and column of each particle's crop: centred on its nearest pixel, moved into the frame at its edges."""
    out = []
    for name, length in (("y", shape_hw[0]), ("x", shape_hw[1])):
        nearest = np.floor(rows[name] + 0.5).astype(np.int64)
        out.append(np.clip(nearest - size // 2, 0, length - size))
    return out[0], out[1]


def cut(pixels: NDArray[Any], y0: NDArray[np.int64], x0: NDArray[np.int64], size: int) -> NDArray[Any]:
    """The crops of a frame that begin there, `(n, size, size)`, a copy."""
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (size, size))
    crops: NDArray[Any] = np.ascontiguousarray(windows[y0, x0])
    return crops


class CropFile:
    """One file of crops. What `flush` returned from is safe."""

    def __init__(self, path: Path, size: int, dtype: str, level: int = 1) -> None:
        """Make the file; it must not exist. Raises FileExistsError, MachineError."""
        self.path = path
        self._level, self._size = level, size
        self._per_chunk = max(1, CHUNK_BYTES // (size * size * np.dtype(dtype).itemsize))
        self._waiting: list[NDArray[Any]] = []  # crops since the last full chunk
        self._rows: list[Table] = []  # since the last flush
        self._held_crops = 0  # in _waiting
        self._written = 0  # crops in full chunks
        self.count = 0
        refuse_if_full(path.parent, "crops", SPARE_BYTES)
        self._file, making = create(path)
        self._file.attrs["ringtrack_format"] = FORMAT
        self._crops = self._file.create_dataset(
            "crops", (0, size, size), dtype, maxshape=(None, size, size), chunks=(self._per_chunk, size, size),
            **filters(level),
        )  # fmt: skip
        self._table = self._file.create_dataset(
            "crop_rows", (0,), CROP_ROWS, maxshape=(None,), chunks=(ROWS_IN_CHUNK,), fillvalue=unwritten(CROP_ROWS)
        )
        self._held = open_to_readers(self._file, making, path)
        chunk(np.zeros((2, 2), dtype), level)  # compiled, or loaded, before the first frame

    @property
    def bytes(self) -> int:
        """Its size."""
        return int(os.fstat(self._held).st_size) if self._file else self.path.stat().st_size

    def add(self, meta: np.void, rows: Table, crops: NDArray[Any], corner_yx: tuple[Any, Any], t_utc_ns: int) -> None:
        """Take a frame's crops, one for each of `rows`."""
        out = np.zeros(len(rows), CROP_ROWS)
        for name in ("frame", "particle", "x", "y"):
            out[name] = rows[name]
        out["y0"], out["x0"] = corner_yx
        out["counter"], out["t_utc_ns"] = int(meta["counter"]), t_utc_ns
        out["checksum"] = [xxhash.xxh3_64_intdigest(crop.data) for crop in crops]
        self._rows.append(out)
        self._waiting.append(crops)
        self._held_crops += len(crops)
        self.count += len(crops)
        if self._held_crops >= self._per_chunk:
            self._write_crops()

    def flush(self) -> None:
        """Crops first: a row of /crop_rows says that its crop is there."""
        if not self._rows:
            return
        refuse_if_full(self.path.parent, "crops", SPARE_BYTES)
        self._write_crops()
        self._file.flush()
        rows = np.concatenate(self._rows)
        before = self._table.shape[0]
        self._table.resize((before + len(rows),))
        self._table[before:] = rows
        self._rows = []
        self._file.flush()

    def close(self) -> None:
        if not self._file:
            return
        self.flush()
        self._file.close()
        os.close(self._held)

    def _write_crops(self) -> None:
        """All that wait, in chunks; those of the last one go on waiting if it is not full."""
        if not self._waiting:
            return
        waiting = np.concatenate(self._waiting)
        step = self._per_chunk
        self._crops.resize(self._written + len(waiting), axis=0)
        for at in range(0, len(waiting), step):
            part = waiting[at : at + step]
            if len(part) < step:
                part = np.concatenate([part, np.zeros((step - len(part), *part.shape[1:]), part.dtype)])
            self._crops.id.write_direct_chunk((self._written + at, 0, 0), chunk(part, self._level))
        full = len(waiting) // step * step
        self._written += full
        self._waiting = [waiting[full:]] if full < len(waiting) else []
        self._held_crops = len(waiting) - full
