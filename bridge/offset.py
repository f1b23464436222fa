"""How far the receiver's clock is from the sender's, from the answers' round trips.

Each answer brings four times: t1 sent and t4 answer received (sender's clock), t2 received and t3 answered
(receiver's).
No message arrives before it was sent, so the offset o = receiver minus sender lies in [t3 - t4, t2 - t1]. That holds
whatever the delays are: it is a bound, not an average, and the tightest trips of a window decide.

The clocks drift apart at a steady rate b, so the bounds of a window are bounds on a line: each pair of them bounds b,
and with the greatest and least b that fit, every bound is carried to now. A clock whose rate changed (NTP slewing)
makes the bounds contradict each other: then the older half is forgotten.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

MAX_DRIFT = 500e-6  # no clock that works is further off; NTP slews at most this fast
WANDER = 1e-7  # how much the rate itself may change within the window (temperature)
BUCKET_NS = 1_000_000_000  # the tightest bounds of each second are kept
BUCKETS = 64


class ClockOffset(msgspec.Struct, frozen=True):
    """Receiver's clock minus sender's at one moment."""

    offset_ns: int
    error_ns: int  # half width of the interval that holds the offset
    drift_ppm: float  # how fast it grows
    drift_error_ppm: float
    trips: int  # round trips that it rests on


SAME_CLOCK = ClockOffset(0, 0, 0.0, 0.0, 0)


class OffsetEstimator:
    """Keeps the window of bounds; one thread uses it."""

    def __init__(self) -> None:
        self._lower: list[tuple[int, int]] = []  # (sender's time, bound), at most one a bucket
        self._upper: list[tuple[int, int]] = []
        self._trips = 0
        self._same = False

    def same_clock(self) -> None:
        """Both ends have the same boot id: one clock, the offset is exactly zero."""
        self._same = True

    def add(self, t1: int, t2: int, t3: int, t4: int) -> None:
        """Take one round trip. Trips that cannot be (t4 < t1, t3 < t2) are ignored."""
        if t4 < t1 or t3 < t2:
            return
        self._trips += 1
        _keep(self._upper, t1, t2 - t1, tightest=min)
        _keep(self._lower, t4, t3 - t4, tightest=max)

    def estimate(self, now_ns: int) -> ClockOffset | None:
        """Give the offset at the sender's time `now_ns`, or None before the first round trip."""
        if self._same:
            return SAME_CLOCK
        while self._lower:
            found = self._fit(now_ns)
            if found is not None:
                return found
            self._forget_older_half()
        return None

    def _fit(self, now_ns: int) -> ClockOffset | None:
        tl, lower = _since(self._lower, now_ns)
        tu, upper = _since(self._upper, now_ns)
        lower = lower - WANDER * np.abs(tl)
        upper = upper + WANDER * np.abs(tu)
        span = tu[:, None] - tl[None, :]
        room = upper[:, None] - lower[None, :]
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = room / span
        most = float(np.min(rate[span > 0], initial=MAX_DRIFT))  # a later upper bound limits the climb
        least = float(np.max(rate[span < 0], initial=-MAX_DRIFT))  # an earlier one the fall
        if most < least or bool(np.any(room[span == 0] < 0)):
            return None
        high = float(np.min(upper - most * tu))  # tu <= 0: the greatest rate reaches highest
        low = float(np.max(lower - least * tl))
        if high < low:
            return None
        return ClockOffset(
            offset_ns=round((high + low) / 2),
            error_ns=int(np.ceil((high - low) / 2)),
            drift_ppm=(most + least) / 2 * 1e6,
            drift_error_ppm=(most - least) / 2 * 1e6,
            trips=self._trips,
        )

    def _forget_older_half(self) -> None:
        """The clocks' rates changed: what was measured before no longer holds."""
        newest = max(self._lower[-1][0], self._upper[-1][0])
        oldest = min(self._lower[0][0], self._upper[0][0])
        middle = (oldest + newest) // 2
        lower = [bound for bound in self._lower if bound[0] > middle]
        upper = [bound for bound in self._upper if bound[0] > middle]
        if not lower or not upper or (len(lower), len(upper)) == (len(self._lower), len(self._upper)):
            lower, upper = self._lower[-1:], self._upper[-1:]
            if (len(self._lower), len(self._upper)) == (1, 1):
                lower, upper = [], []  # even the last two contradict each other: begin anew
        self._lower, self._upper = lower, upper


def _keep(bounds: list[tuple[int, int]], t: int, bound: int, tightest: object) -> None:
    if bounds and bounds[-1][0] // BUCKET_NS == t // BUCKET_NS:
        if (tightest is min and bound < bounds[-1][1]) or (tightest is max and bound > bounds[-1][1]):
            bounds[-1] = (t, bound)
    else:
        bounds.append((t, bound))
        del bounds[:-BUCKETS]


def _since(bounds: list[tuple[int, int]], now_ns: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    times = np.array([t - now_ns for t, _ in bounds], np.float64)
    return times, np.array([bound for _, bound in bounds], np.float64)
