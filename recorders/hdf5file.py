"""The HDF5 file of a run while it is written: tables that grow, readable all the time.

Everything in the file is made before single-writer-multiple-reader (SWMR) mode begins; then tables only grow and
`processing_metrics` changes in place. Rows are gathered and appended in batches; what `flush` has returned from is
whole after `kill -9`. The file gets its name when all that is made, and is never opened for writing again. It is in
the v110 format (pandas and R open it); its tables carry no filter (a compressed chunk that is written again at every
flush makes the file five times larger).

After a `DiskError` that is not `intact` the file is to be left as it is, and the process to end by
`recorders.hdf5new.leave`.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from engine.accounting import LOSS, Cause, Step
from engine.errors import MachineError
from engine.rows import RESULT_META, State
from recorders.hdf5new import cannot_be_written, create, open_to_readers, why
from recorders.metadata import About, write_about, write_metrics
from recorders.particles import Particles, make_particles, write_particles
from recorders.room import gone
from recorders.slm import write_slm
from recorders.streams import write_streams
from recorders.tables import (
    EVENTS,
    EXTRA,
    PAUSED,
    STEPS,
    TABLES,
    Table,
    account,
    frame_rows,
    lost_rows,
    range_rows,
    text_rows,
    unwritten,
)

CHUNK_BYTES = 256 * 1024
SMALL_CHUNK_BYTES = 32 * 1024
"""Of the tables that grow seldom."""

METAS = 128
BATCH_BYTES = 1024 * 1024
"""Appended at the latest when so much has gathered."""

MIN_FREE_BYTES = 32 * 1024 * 1024
"""The file is closed in order while there is still so much room, for the other files of the run."""


CLOSING_BYTES = 4 * 1024 * 1024
"""With less room it is not closed at all: HDF5 would crash."""


class DiskError(MachineError):
    """The disk took no more. `intact`: the file may be closed; else it is to be left as it is."""

    def __init__(self, message: str, *, intact: bool) -> None:
        super().__init__(message)
        self.intact = intact


class RunFile:
    """One part of a run's results. Its methods are the recorder's; `close` or never."""

    def __init__(self, path: Path, about: About) -> None:
        """Make the file; `path` must not exist.

        Raises FileExistsError, or MachineError if the folder cannot be written.
        """
        self.path = path
        self.rows = 0
        self.frames = 0  # that were recorded
        self.paused = 0  # that came while recording was off
        self.flushes = 0
        self._bytes = 0
        self._numbers = 0  # rows of /frames
        self._lost_at: Counter[int] = Counter()
        self._ends = (-1, -1)
        self._latency_ns = (0, 0)  # sum, largest
        self._waiting = np.zeros(METAS, RESULT_META)  # frames whose rows of /frames are still to be made
        self._waiting_count = 0
        self._gathered = {name: _Gathered(dtype) for name, dtype in TABLES.items()}
        self._particles = Particles()
        _refuse_to_start_if_full(path.parent)
        self._file, making = create(path)
        write_about(self._file, about)
        for name, dtype in TABLES.items():
            chunk_bytes = CHUNK_BYTES if name in ("tracks", "frames") else SMALL_CHUNK_BYTES
            self._file.create_dataset(
                name,
                shape=(0,),
                maxshape=(None,),
                chunks=(chunk_bytes // dtype.itemsize,),
                dtype=dtype,
                fillvalue=unwritten(dtype),
            )
        self._steps = self._file.create_dataset("accounting/steps", shape=(len(Step),), dtype=STEPS)
        for name in ("tracks", "frames"):
            self._file.create_dataset(f"index/{name}", shape=(0, 2), maxshape=(None, 2), chunks=(1024, 2), dtype="<i8")
        make_particles(self._file)
        write_metrics(self._file, {"first_frame": -1, "last_frame": -1})
        self.flush()
        self._held = open_to_readers(self._file, making, path)

    def frame(self, meta: np.void, rows: Table) -> None:
        """Take a frame that arrived (a RESULT_META record) and its rows. Frames and losses come in order."""
        if self._waiting_count == METAS:
            self._make_frame_rows()
        self._waiting[self._waiting_count] = meta
        self._waiting_count += 1
        self._gather("tracks", rows)

    def frames_lost(self, losses: Table, ledger: int) -> None:
        """Take ranges of lost frame numbers (LOSS records, in order): a row of `/frames` for each number."""
        self._make_frame_rows()
        table = lost_rows(losses, ledger)
        table["first_row"] = self.rows
        for loss in losses:
            self._lost_at[int(loss["step"])] += int(loss["last"] - loss["first"]) + 1
        self._append_frames(table)
        self._gather("accounting/lost", range_rows(losses))

    def event(self, t_ns: int, frame: int, kind: str, text: str) -> None:
        """Write down what happened at this frame, as JSON text."""
        self._gather("events", text_rows(EVENTS, text, t_ns=t_ns, frame=frame, kind=kind.encode()))

    def extra(self, frame: int, text: str) -> None:
        """Write down what the source said with this frame, as JSON text."""
        self._gather("extra", text_rows(EXTRA, text, frame=frame))

    def flush(self) -> None:
        """Make everything taken so far readable for others, and safe from the death of this process.

        Raises DiskError.
        """
        self._make_frame_rows()
        self._append_gathered()
        self.flushes += 1
        count = max(self.frames + self.paused, 1)
        metrics: dict[str, int | float] = {
            "frames_recorded": self.frames,
            "frames_paused": self.paused,
            "frames_lost": sum(self._lost_at.values()),
            "rows": self.rows,
            "flushes": self.flushes,
            "first_frame": self._ends[0],
            "last_frame": self._ends[1],
            "latency_mean_ms": self._latency_ns[0] / count / 1e6,
            "latency_max_ms": self._latency_ns[1] / 1e6,
        }
        with self._writing():
            self._steps[...] = account(self._numbers, self._lost_at)
            write_metrics(self._file, metrics)
            self._file.flush()

    def take_streams(self, run_folder: Path) -> None:
        """Put in what other instruments sent during the run, and what was commanded to the light. Raises DiskError."""
        with self._writing():
            write_streams(self._file, run_folder)
            write_slm(self._file, run_folder)

    def close(self, *, complete: bool = True) -> None:
        """Write the rest and close. `complete`: the run has ended (not: the disk is full)."""
        if not self._file:
            return
        if complete:
            self.flush()
        with self._writing():
            if complete:
                write_particles(self._file, self._particles.table())
            write_index(self._file)
            write_metrics(self._file, {"complete": int(complete)})
            self._file.flush()
            self._file.close()
        os.fsync(self._held)
        os.close(self._held)

    @property
    def bytes(self) -> int:
        """Size of the file on the disk; the last one known, where the disk is gone."""
        with suppress(OSError):
            self._bytes = self.path.stat().st_size
        return self._bytes

    def _make_frame_rows(self) -> None:
        if not self._waiting_count:
            return
        metas = self._waiting[: self._waiting_count]
        self._waiting_count = 0
        table = frame_rows(metas)
        ends = self.rows + np.cumsum(table["rows"], dtype=np.int64)
        table["first_row"] = ends - table["rows"]
        self.rows = int(ends[-1])
        paused = int((metas["state"] == PAUSED).sum())
        self.paused += paused
        self.frames += len(table) - paused
        latency_ns = table["t_published_ns"] - table["t_received_ns"]
        self._latency_ns = (
            self._latency_ns[0] + int(latency_ns.sum()),
            max(self._latency_ns[1], int(latency_ns.max())),
        )
        self._append_frames(table)
        self._note_failed(metas[metas["state"] == State.FAILED])

    def _append_frames(self, table: Table) -> None:
        self._numbers += len(table)
        first = int(table["frame"][0]) if self._ends[0] < 0 else self._ends[0]
        self._ends = (first, int(table["frame"][-1]))
        self._gather("frames", table)

    def _note_failed(self, metas: Table) -> None:
        if len(metas):
            losses = np.zeros(len(metas), LOSS)
            losses["first"] = losses["last"] = metas["frame"]
            losses["sequence"], losses["t_ns"] = metas["sequence"], metas["t_published_ns"]
            losses["step"], losses["cause"] = Step.TRACKER, Cause.FAILED_TWICE
            self._lost_at[Step.TRACKER] += len(losses)
            self._gather("accounting/lost", range_rows(losses))

    def _gather(self, name: str, rows: Table) -> None:
        gathered = self._gathered[name]
        gathered.add(rows)
        if gathered.bytes >= BATCH_BYTES:
            self._append_gathered()

    def _append_gathered(self) -> None:
        # /tracks before /frames: a row of /frames says that its rows are there.
        self._refuse_if_full()
        with self._writing():
            for name, gathered in self._gathered.items():
                if gathered.count:
                    rows = gathered.take()
                    append(self._file[name], rows)
                    if name == "tracks":
                        self._particles.add(rows)

    def _refuse_if_full(self) -> None:
        try:
            free = shutil.disk_usage(self.path.parent).free
        except OSError as error:
            raise DiskError(gone(self.path.parent, "hdf5", error), intact=False) from None
        if free < MIN_FREE_BYTES + sum(gathered.bytes for gathered in self._gathered.values()):
            intact = free >= CLOSING_BYTES
            end = "was closed in order and ends there" if intact else "stays readable up to its last flush"
            raise DiskError(
                f'recorder "hdf5" stopped: {self.path.parent} is full ({free / 2**30:.1f} GiB free). {self.path.name} '
                f"{end}.",
                intact=intact,
            )

    def _writing(self) -> _Writing:
        return _Writing(self.path)


class _Writing:
    """Turns HDF5's own errors into a DiskError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, (OSError, RuntimeError)):
            raise DiskError(
                f'recorder "hdf5" stopped: {self._path} could not be written: {why(error)}. It stays readable up to '
                "its last flush.",
                intact=False,
            ) from error


class _Gathered:
    """Rows of one table, waiting to be appended; the array is used again and again."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._array = np.zeros(64, dtype)
        self.count = 0

    @property
    def bytes(self) -> int:
        return self.count * self._array.itemsize

    def add(self, rows: Table) -> None:
        end = self.count + len(rows)
        if end > len(self._array):
            larger = np.zeros(2 * end, self._array.dtype)
            larger[: self.count] = self._array[: self.count]
            self._array = larger
        self._array[self.count : end] = rows
        self.count = end

    def take(self) -> Table:
        """All of them; valid until the next `add`."""
        rows = self._array[: self.count]
        self.count = 0
        return rows


def append(dataset: h5py.Dataset, rows: Table) -> None:
    """Add rows at the end of a table."""
    before, count = dataset.shape[0], len(rows)
    dataset.resize((before + count,))
    space = dataset.id.get_space()
    space.select_hyperslab((before,), (count,))
    dataset.id.write(h5py.h5s.create_simple((count,)), space, rows)


def write_index(file: h5py.File) -> None:
    """`/index`: where in the file the blocks of `/tracks` and `/frames` lie, as (byte, rows).

    For programs that cannot read HDF5 tables (Octave): they can read bytes.
    """
    for name in ("tracks", "frames"):
        table = index_of(file[name])
        index = file[f"index/{name}"]
        index.resize((len(table), 2))
        if len(table):
            index[...] = table


def index_of(dataset: h5py.Dataset) -> npt.NDArray[np.int64]:
    """The (byte, rows) of each block of a table, `(blocks, 2)`."""
    places: list[tuple[int, int]] = []
    dataset.id.chunk_iter(lambda chunk: places.append((chunk.chunk_offset[0], chunk.byte_offset)))
    step, total = dataset.chunks[0], dataset.shape[0]
    table = [(byte, min(step, total - first)) for first, byte in sorted(places) if first < total]
    return np.array(table, "<i8").reshape(-1, 2)


def _refuse_to_start_if_full(folder: Path) -> None:
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise cannot_be_written(folder, error) from None
    if free < 2 * MIN_FREE_BYTES:
        raise MachineError(
            f'recorder "hdf5" does not start: {folder} is full ({free / 2**20:.0f} MiB free, at least '
            f"{2 * MIN_FREE_BYTES / 2**20:.0f} wanted). Make room, or set experiment.data to another folder."
        )
