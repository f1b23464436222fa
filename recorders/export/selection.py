"""What of a run is wanted: a stretch of frames or of time, and particles. Rows come in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import SettingsError
from recorders.blocks import count_rows, track_blocks
from recorders.run import Run
from recorders.tables import LOST, Table


@dataclass(frozen=True)
class Selection:
    """All of it, if nothing else is said."""

    first: int | None = None  # frame numbers, both included
    last: int | None = None
    from_s: float | None = None  # camera time after the first frame
    to_s: float | None = None  # not included
    particles: tuple[tuple[int, int], ...] = ()  # ranges of identities, both ends included

    def frames(self, run: Run) -> tuple[int | None, int | None]:
        """First and last frame number. Raises SettingsError if there are none between."""
        first, last = self.first, self.last
        if self.from_s is not None or self.to_s is not None:
            table = times_of(run)
            if not len(table):
                raise SettingsError(f"{run.path.name} holds no frames")
            after_s = (table["t_source_ns"] - table["t_source_ns"][0]) / 1e9
            wanted = np.ones(len(table), bool)
            if self.from_s is not None:
                wanted &= after_s >= self.from_s - 1e-9
            if self.to_s is not None:
                wanted &= after_s < self.to_s - 1e-9
            if not wanted.any():
                raise SettingsError(f"no frame of {run.path.name} is in that time: it is {after_s[-1]:.3g} s long")
            numbers = table["frame"][wanted]
            first = max(int(numbers[0]), -1 if first is None else first)
            last = min(int(numbers[-1]), int(numbers[-1]) if last is None else last)
        if first is not None and last is not None and first > last:
            raise SettingsError(f"frames {first} to {last}: there is none")
        return first, last

    def blocks(self, run: Run) -> Iterator[tuple[Table, int]]:
        """Rows that are wanted, a block at a time; with how many were looked at, for a progress bar."""
        looked_at = 0
        for block in track_blocks(run, *self.frames(run)):
            looked_at += len(block)
            if self.particles:
                wanted = np.zeros(len(block), bool)
                for low, high in self.particles:
                    wanted |= (block["particle"] >= low) & (block["particle"] <= high)
                block = block[wanted]
            yield block, looked_at

    def count(self, run: Run) -> int:
        """How many rows are looked at."""
        return count_rows(run, *self.frames(run))


def times_of(run: Run) -> Table:
    """Rows of the table of frames that came, in order."""
    table: Table = run.frames_array
    came: Table = table[table["state_code"] != LOST]
    return came


class Clock:
    """Times of rows by their frames: seconds after the first frame, and UTC."""

    def __init__(self, run: Run) -> None:
        table = times_of(run)
        offset = int(run.metadata["system_info"].get("utc_offset_ns", 0))
        self._frames = table["frame"].astype(np.int64)
        start = int(table["t_source_ns"][0]) if len(table) else 0
        self._after_ns = (table["t_source_ns"] - start).astype(np.int64)
        self._utc_ns = table["t_camera_ns"].astype(np.int64) + offset

    def seconds(self, frames: NDArray[np.int64]) -> NDArray[np.float64]:
        """Camera time after the first frame."""
        seconds: NDArray[np.float64] = self._after_ns[np.searchsorted(self._frames, frames)] / 1e9
        return seconds

    def utc_us(self, frames: NDArray[np.int64]) -> NDArray[np.int64]:
        """Camera time in microseconds of UTC."""
        us: NDArray[np.int64] = self._utc_ns[np.searchsorted(self._frames, frames)] // 1000
        return us
