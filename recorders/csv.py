"""The CSV recorder: `tracks_run_001.csv`, one line a particle and frame, for whoever has no HDF5.

Decimal point ".", no comments, one header line. A run whose recorder died goes on in the same file: the lines from the
first frame on that comes again are cut off and written anew.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedRandom
from pathlib import Path

import numpy as np

from engine.clocks import measure_utc_offset
from engine.errors import MachineError
from engine.process import Job
from recorders.loop import AFTER_ALL, COUNTERS, record
from recorders.parts import Position
from recorders.room import gone
from recorders.runfolder import RunFolder
from recorders.tables import Table

__all__ = ["COUNTERS", "CsvRecorder", "main"]

HEADER = "frame,particle_id,x,y,mass,ecc,size,signal,timestamp"
COLUMNS = ("frame", "particle", "x", "y", "mass", "ecc", "size", "signal")
EXCEL_ROWS = 1_048_575  # and the header
OVER_S = 2.0
_LINE = "%d,%d,%.6f,%.6f,%.9g,%.9g,%.9g,%.9g,"


class CsvRecorder:
    """A `recorders.loop.Recorder`. Timestamps are camera times in UTC seconds with microseconds."""

    def __init__(
        self,
        path: Path,
        utc_offset_ns: int,
        rows_s: float = math.inf,
        warn: Callable[[str], None] = lambda message: None,
    ) -> None:
        """`warn` is told once when more than `rows_s` rows a second come (of camera time, over `OVER_S`), and once when
        there are more rows than Excel shows.
        """
        self._path = path
        self._utc_offset_ns = utc_offset_ns
        self._rate = _Rate(rows_s)
        self._warn = warn
        self._bytes = 0
        self._rows: int | None = 0  # None: it was said

    def open(self) -> Callable[[int], Position]:
        """Make the file, or go on in the one of this run's recorder that died."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise MachineError(f"{self._path} cannot be written: {os.strerror(error.errno or 0)}") from None
        self._file = BufferedRandom(os.fdopen(descriptor, "r+b", buffering=0), 1 << 20)
        if self.bytes <= len(HEADER):
            self._file.truncate(0)
            self._file.write(f"{HEADER}\n".encode())
            self.flush()
        self._go_on(AFTER_ALL)  # an unfinished last line
        return self._go_on

    @property
    def bytes(self) -> int:
        with suppress(OSError):  # the disk is gone: the last one known
            self._bytes = self._path.stat().st_size
        return self._bytes

    def frame(self, meta: np.void, rows: Table) -> None:
        t_us = (int(meta["t_camera_ns"]) + self._utc_offset_ns) // 1000
        line = f"{_LINE}{t_us // 1_000_000}.{t_us % 1_000_000:06d}\n"
        columns = [rows[name].tolist() for name in COLUMNS]
        data = "".join([line % values for values in zip(*columns)]).encode()
        with self._writing():
            self._file.write(data)
        self._say(int(meta["t_camera_ns"]), len(rows))

    def lost(self, losses: Table, ledger: int) -> None:
        """Nothing: the file holds particles alone, a lost frame is a jump of `frame`."""

    def flush(self) -> None:
        """Hand everything to the operating system. Raises MachineError."""
        if not self._path.exists():
            raise MachineError(gone(self._path.parent, "csv", FileNotFoundError(2, "")))
        with self._writing():
            self._file.flush()

    def idle(self) -> None:
        """Nothing: all that there is comes with frames."""

    def close(self) -> None:
        self.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def _say(self, t_ns: int, rows: int) -> None:
        if rate := self._rate.above(t_ns, rows):
            self._warn(
                f"csv: {rate:.0f} rows a second, more than record.csv_rows_s = {self._rate.most:g}. It goes on, and "
                "what it cannot keep is counted; without record.csv, `ringtrack export RUN --to csv` writes the same "
                "file afterwards"
            )
        if self._rows is not None:
            self._rows += rows
            if self._rows > EXCEL_ROWS:
                self._rows = None
                self._warn(
                    f"csv: more than {EXCEL_ROWS} rows: Excel and LibreOffice show only the first ones; "
                    "`ringtrack export RUN --to csv --frames …` writes a part"
                )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise MachineError(
                f'recorder "csv" stopped: {self._path} could not be written: {os.strerror(error.errno or 0)}. '
                "It stays readable up to its last whole line."
            ) from None

    def _go_on(self, frame: int) -> Position:
        """Cut off what is to come again: the lines of `frame` and later ones, and an unfinished last line."""
        self._file.truncate(_end_of_lines_before(self._file, frame))
        self._file.seek(0, os.SEEK_END)
        return Position(frame, 0)


class _Rate:
    """Rows a second of camera time, looked at every `OVER_S`; tells once that they are too many."""

    def __init__(self, most: float) -> None:
        self.most = most
        self._told = False
        self._since_ns: int | None = None
        self._count = 0

    def above(self, t_ns: int, rows: int) -> float:
        """The rate, if it is above the limit and was not told; else 0."""
        if self._since_ns is None or t_ns < self._since_ns:
            self._since_ns, self._count = t_ns, 0
        seconds = (t_ns - self._since_ns) / 1e9
        if seconds < OVER_S:
            self._count += rows
            return 0.0
        rate = self._count / seconds
        self._since_ns, self._count = t_ns, rows
        if rate <= self.most or self._told:
            return 0.0
        self._told = True
        return rate


def _end_of_lines_before(file: BufferedRandom, frame: int) -> int:
    """The byte after the last whole line of an earlier frame, by bisection: lines are in order of frame."""
    low = len(HEADER) + 1
    high = file.seek(0, os.SEEK_END)
    while low < high:
        middle = (low + high) // 2
        start = _line_start(file, middle, low)
        file.seek(start)
        line = file.readline()
        if line.endswith(b"\n") and int(line.split(b",", 1)[0]) < frame:
            low = start + len(line)
        else:
            high = start
    return low


def _line_start(file: BufferedRandom, position: int, low: int) -> int:
    """Where the line begins that holds this byte; not before `low`, which begins one."""
    back = max(low, position - 4096)  # a line has some 120 bytes
    file.seek(back)
    newline = file.read(position - back).rfind(b"\n")
    return back if newline < 0 else back + newline + 1


def main(job: Job) -> int:
    """Record the run's tracks as text until the ring says that it has ended; the exit status."""

    def warn(message: str) -> None:
        job.log("warning", message)

    path, offset_ns = RunFolder(job.run_folder).csv, measure_utc_offset().offset_ns
    record(job, CsvRecorder(path, offset_ns, job.experiment.record.csv_rows_s, warn))
    return 0
