"""Clocks: one monotonic time in nanoseconds, and what it is in UTC.

*Our clock* is CLOCK_MONOTONIC, the clock that all processes of one machine share and that never jumps. Where Python's
monotonic clock is coarse (Windows: 15.6 ms before Python 3.13) the performance counter is used, which counts the same
seconds. Plain Python: this file also runs on the camera PC.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

NS = 1_000_000_000

if sys.platform == "win32":
    monotonic_ns: Callable[[], int] = time.perf_counter_ns
else:
    monotonic_ns = time.monotonic_ns


def utc_ns() -> int:
    """Nanoseconds since 1970, as this machine believes them to be."""
    return time.time_ns()


class UtcOffset(msgspec.Struct, frozen=True):
    """What to add to our clock to get UTC, and how sure that is."""

    offset_ns: int  # UTC minus our clock
    error_ns: int  # half width of the interval that holds it
    t_ns: int  # when it was measured, our clock

    def to_utc_ns(self, t_mono_ns: int) -> int:
        return t_mono_ns + self.offset_ns

    def from_utc_ns(self, t_utc_ns: int) -> int:
        return t_utc_ns - self.offset_ns


def measure_utc_offset(
    tries: int = 50,
    mono: Callable[[], int] = monotonic_ns,
    utc: Callable[[], int] = utc_ns,
) -> UtcOffset:
    """Measure UTC minus our clock: UTC is read between two readings of ours, and the closest pair of `tries` counts.

    The error is half the distance of that pair and one tick (the smallest step seen) of the UTC clock.
    """
    best: UtcOffset | None = None
    tick = 0
    last_utc = 0
    for _ in range(max(tries, 1)):
        before = mono()
        now = utc()
        after = mono()
        step = now - last_utc
        if last_utc and step > 0:
            tick = step if tick == 0 else min(tick, step)
        last_utc = now
        width = after - before
        if best is None or width // 2 + 1 < best.error_ns:
            best = UtcOffset(now - (before + after) // 2, width // 2 + 1, after)
    assert best is not None
    coarse = tick if tick > 1_000_000 else 0  # finer steps are just the distance between two readings
    return UtcOffset(best.offset_ns, best.error_ns + coarse, best.t_ns)


def boot_id() -> str:
    """Name this boot of this machine: equal names mean one and the same monotonic clock. "" where there is none.

    Containers of one machine share it, unless one lives in a time namespace of its own, which is part of the name.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
    try:
        return f"{boot} {Path('/proc/self/ns/time').readlink()}"
    except OSError:
        return boot
