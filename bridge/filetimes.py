"""Camera times from the times of files, fitted against the camera frame counter.

A file's time says when it was written: rounded by the file system (15.6 ms on many Windows disks, 2 s on FAT), and now
and then late because something else was written first. A camera counts its frames evenly. So a line through
(counter, file time), by least squares, knows each frame's time far better than its own file does.

The sums are kept centred and are updated one file at a time; old files fade (`MEMORY` frames), so that a slow drift of
the two clocks is followed. A file far off the line is left out; many in a row mean that the line no longer holds (the
camera paused, the clock was set), and it begins anew.
"""

from __future__ import annotations

import math

import msgspec

MEMORY = 4096  # frames; the weight of a file falls by e in as many
COARSEST_NS = 16_000_000  # what a file's time may be off by before anything is known of it
OUTLIER = 5.0  # in standard deviations
MIN_OUTLIER_NS = 25_000_000.0  # rounding to 15.6 ms alone is never an outlier
OUTLIERS_TO_RESTART = 20
FRAMES_TO_TRUST = 8  # before that a file's own time is given


class FittedTime(msgspec.Struct, frozen=True):
    """A frame's time on the file system's clock."""

    t_ns: int
    error_ns: int  # two standard errors of the line there, and half the file system's step


class FileTimes:
    """The line through one sequence of files."""

    def __init__(self) -> None:
        self._restart()

    def _restart(self) -> None:
        self._n0 = 0
        self._t0 = 0
        self._frames = 0
        self._weight = 0.0
        self._mean_n = 0.0
        self._mean_t = 0.0
        self._snn = 0.0
        self._snt = 0.0
        self._var = float(COARSEST_NS) ** 2 / 12
        self._outliers = 0
        self._step_ns = 0
        self._last = -1

    def add(self, counter: int, t_file_ns: int) -> FittedTime:
        """Take a file's time and give its frame's. Counters rise; one that falls begins a new line."""
        if self._frames == 0 or counter <= self._last:
            self._restart()
            self._n0, self._t0 = counter, t_file_ns
        self._last = counter
        n, t = float(counter - self._n0), float(t_file_ns - self._t0)
        self._learn_step(t_file_ns)
        if self._frames >= FRAMES_TO_TRUST:
            off = t - self._line(n)
            limit = max(OUTLIER * math.sqrt(self._var), MIN_OUTLIER_NS)
            if abs(off) > limit:
                self._outliers += 1
                if self._outliers < OUTLIERS_TO_RESTART:
                    return self._fitted(n)
                self._restart()
                return self.add(counter, t_file_ns)
            self._outliers = 0
            fade = max(1.0 / (self._frames + 1), 1.0 / MEMORY)
            self._var += fade * (off * off - self._var)
        self._update(n, t)
        if self._frames < FRAMES_TO_TRUST:
            return FittedTime(t_file_ns, COARSEST_NS)
        return self._fitted(n)

    def _update(self, n: float, t: float) -> None:
        keep = 1.0 - 1.0 / MEMORY
        self._weight = self._weight * keep + 1.0
        self._snn *= keep
        self._snt *= keep
        dn, dt = n - self._mean_n, t - self._mean_t
        self._mean_n += dn / self._weight
        self._mean_t += dt / self._weight
        self._snn += dn * (n - self._mean_n)
        self._snt += dn * (t - self._mean_t)
        self._frames += 1

    def _learn_step(self, t_file_ns: int) -> None:
        """The file system's step: the greatest round one of which every time so far is a multiple."""
        self._step_ns = math.gcd(self._step_ns, t_file_ns - self._t0)

    def _line(self, n: float) -> float:
        slope = self._snt / self._snn if self._snn > 0 else 0.0
        return self._mean_t + slope * (n - self._mean_n)

    def _fitted(self, n: float) -> FittedTime:
        spread = math.sqrt(self._var * (1 / self._weight + (n - self._mean_n) ** 2 / max(self._snn, 1.0)))
        # a file system may cut times off instead of rounding them: that half step no fit can see
        step = self._step_ns if 1_000_000 <= self._step_ns <= 2_000_000_000 else 0
        return FittedTime(self._t0 + round(self._line(n)), math.ceil(2 * spread) + step // 2)
