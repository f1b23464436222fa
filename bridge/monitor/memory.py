"""What the monitor remembers of a run: the rows of the last frames, and one point a look for its histories."""

from __future__ import annotations

import csv
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.monitor import measures
from engine.rows import ROW

MOST_ROWS = 400_000
"""Rows kept (88 bytes each): the oldest frames go first."""
MOST_FRAMES = 4096
HISTORY = 600
TRAIL = 40


class Memory:
    """One for each window; the drawing thread alone uses it."""

    def __init__(self) -> None:
        self.frames: deque[tuple[int, NDArray[Any]]] = deque()
        self._rows = 0
        self.clear()

    def clear(self) -> None:
        """Forget trails, histories and statistics. Nothing of the run's data."""
        self.frames.clear()
        self._rows = 0
        self.seconds: deque[float] = deque(maxlen=HISTORY)
        self.rate: deque[float] = deque(maxlen=HISTORY)
        self.count: deque[int] = deque(maxlen=HISTORY)
        self.focus_seconds: deque[float] = deque(maxlen=HISTORY)
        self._focus_view: tuple[Any, ...] = ()
        self.focus: deque[tuple[float, float, float]] = deque(maxlen=HISTORY)  # size, signal, sharpness

    @property
    def newest(self) -> int:
        """The newest frame number remembered, -1 without any."""
        return self.frames[-1][0] if self.frames else -1

    def add(self, frame: int, rows: NDArray[Any]) -> None:
        """A frame's rows (ROW), in order; a number that is not above the last one starts over (another run)."""
        if frame <= self.newest:
            self.clear()
        self.frames.append((frame, rows))
        self._rows += len(rows)
        while self.frames and (self._rows > MOST_ROWS or len(self.frames) > MOST_FRAMES):
            self._rows -= len(self.frames.popleft()[1])

    def add_figures(self, seconds: float, rate: float, count: int) -> None:
        """A point of the histories."""
        if self.seconds and seconds <= self.seconds[-1]:
            return
        self.seconds.append(seconds)
        self.rate.append(rate)
        self.count.append(count)

    def add_focus(self, seconds: float, rows: NDArray[Any], pixels: NDArray[Any], view: tuple[Any, ...] = ()) -> None:
        """Mean size and signal of a frame's beads and the sharpness of its picture.

        `view`: how it was reduced, and where it lies. The sharpness of another view is no measure for this one.
        """
        if view != self._focus_view:
            self._focus_view = view
            old = [(size, signal, float("nan")) for size, signal, _ in self.focus]
            self.focus = deque(old, maxlen=HISTORY)
        size = float(rows["size"].mean()) if len(rows) else float("nan")
        signal = float(rows["signal"].mean()) if len(rows) else float("nan")
        self.focus_seconds.append(seconds)
        self.focus.append((size, signal, measures.laplacian_variance(pixels)))

    def last(self, count: int) -> list[tuple[int, NDArray[Any]]]:
        """The newest frames, oldest of them first."""
        first = max(0, len(self.frames) - count)
        return [self.frames[i] for i in range(first, len(self.frames))]

    def trails(self, frames: int = TRAIL, most: int = 400) -> dict[int, NDArray[np.float64]]:
        """Where the particles of the newest frame were: `(points, 2)` of x and y by number, at most so many."""
        kept = self.last(frames)
        if not kept:
            return {}
        present = kept[-1][1]
        ids = present["particle"]
        if len(ids) > most:
            ids = ids[np.argsort(present["signal"])[-most:]]
        _, x, y = measures.series(kept, ids)
        found = {}
        for column, particle in enumerate(ids):
            good = np.isfinite(x[:, column])
            found[int(particle)] = np.column_stack([x[good, column], y[good, column]])
        return found

    def longest(self, most: int, frames: int) -> NDArray[np.int64]:
        """Of the newest frame, the particles that were seen longest."""
        if not self.frames:
            return np.zeros(0, np.int64)
        rows = self.frames[-1][1]
        order = np.argsort(rows["age"], kind="stable")[::-1][:most]
        return np.asarray(rows["particle"][order], np.int64)

    def write_csv(self, path: Path) -> int:
        """All rows remembered as a table, trackpy's columns; how many."""
        names = ROW.names or ()
        with path.open("x", newline="") as file:
            out = csv.writer(file)
            out.writerow(names)
            for _, rows in self.frames:
                out.writerows(rows.tolist())
        return self._rows
