"""How full the RAM disk is, how fast it fills, when it will be at its mark. Clock and disk are injected by tests."""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

LOOK_EVERY_S = 0.25
REMEMBERED_S = 10.0
WARN_BEFORE_S = 120.0
MOVE_BEFORE_S = 20.0  # a disk takes less than a camera gives: who begins at the mark ends above it
SAY_EVERY_S = 30.0


class Level:
    """Of the disk that a folder is on."""

    def __init__(
        self,
        folder: Path,
        mark: float = 0.8,
        usage: Callable[[Path], tuple[int, int]] = lambda folder: shutil.disk_usage(folder)[:2],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`mark`: the part of the disk that should never be exceeded. `usage` gives its size and what is used."""
        self._folder, self._mark, self._usage, self._clock = folder, mark, usage, clock
        self._samples: deque[tuple[float, int]] = deque()
        self._said_s = float("-inf")
        self.total, self.used = usage(folder)
        self.highest = self.fraction

    def look(self) -> None:
        """Look again, at most a few times a second."""
        now = self._clock()
        if self._samples and now - self._samples[-1][0] < LOOK_EVERY_S:
            return
        try:
            self.total, self.used = self._usage(self._folder)
        except OSError:  # a drive that is away for a while
            return
        self._samples.append((now, self.used))
        while now - self._samples[0][0] > REMEMBERED_S:
            self._samples.popleft()
        self.highest = max(self.highest, self.fraction)

    @property
    def fraction(self) -> float:
        return self.used / self.total if self.total else 0.0

    @property
    def above(self) -> int:
        """Bytes above the mark; 0: below it."""
        return max(0, self.used - int(self._mark * self.total))

    @property
    def soon_above(self) -> bool:
        """Whether it is above its mark, or will be within `MOVE_BEFORE_S` as it fills now."""
        return self.used + max(0.0, self.rate) * MOVE_BEFORE_S > self._mark * self.total

    @property
    def rate(self) -> float:
        """Bytes a second by which it fills (negative: it empties)."""
        if len(self._samples) < 2 or self._samples[-1][0] - self._samples[0][0] < 1.0:
            return 0.0
        (t0, used0), (t1, used1) = self._samples[0], self._samples[-1]
        return (used1 - used0) / (t1 - t0)

    def warning(self, what_then: str) -> str:
        """A sentence if it will be at its mark soon, or is; "" if not, or if it was said a moment ago."""
        left_s = (self._mark * self.total - self.used) / self.rate if self.rate > 0 else float("inf")
        if self.above == 0 and left_s > WARN_BEFORE_S:
            return ""
        now = self._clock()
        if now - self._said_s < SAY_EVERY_S:
            return ""
        self._said_s = now
        fills = f" and fills by {self.rate / 1e6:.0f} MB/s" if self.rate > 0 else ""
        when = "above its mark" if self.above else f"at its mark in {left_s:.0f} s"
        return f"{self._folder} is {self.fraction:.0%} full{fills}: {when} ({self._mark:.0%}). {what_then}"
