"""Holograms: time and quality over size and traps, on one core as in a run; slmsuite's CPU path beside it.

    python -m perf.slm

*weighted* and *uniformity*: 10 iterations of weighted Gerchberg-Saxton; *slmsuite*: as many of its own ("nan": it is
not installed, `pip install ringtrack[compare]`). *spots off*: the worst distance between where the far field of the
superposition has its peak and where the trap was asked, in orders (pixels of the far field).
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable

import numpy as np

from bridge.slm.hologram import Holograms, Trap
from engine.supervisor.kernels import child_environment

SIZES = ((512, 512), (1024, 1024), (1920, 1080))
TRAPS = (1, 5, 20, 50)


def traps(count: int, size: tuple[int, int]) -> list[Trap]:
    """Places by a spiral, so that none is on a grid."""
    n = np.arange(count) + 0.5
    r, a = 0.15 * min(size) * np.sqrt(n / count), n * math.pi * (1 + math.sqrt(5))
    return [Trap(x=float(x), y=float(y)) for x, y in zip(r * np.cos(a), r * np.sin(a))]


def median_ms(act: Callable[[], object], least_s: float = 0.3) -> float:
    act()
    times = []
    end = time.perf_counter() + least_s
    while time.perf_counter() < end or len(times) < 3:
        began = time.perf_counter()
        act()
        times.append(time.perf_counter() - began)
    return 1000 * float(np.median(times))


def spots_off(phase: np.ndarray, wanted: list[Trap], finer: int = 8) -> float:
    """The worst distance of a far-field peak from its trap, orders; by a parabola through a padded transform."""
    height, width = phase.shape
    u, v = np.arange(width) - width // 2, np.arange(height) - height // 2
    light = np.exp(1j * phase).astype(np.complex64)
    fine = np.arange(-finer, finer + 1) / finer
    worst = 0.0
    for trap in wanted:
        x, y = trap.x + fine, trap.y + fine
        of_y, of_x = np.exp(-2j * np.pi * np.outer(y, v) / height), np.exp(-2j * np.pi * np.outer(u, x) / width)
        power = np.abs(of_y @ light @ of_x) ** 2
        row, column = (int(n) for n in np.unravel_index(power[1:-1, 1:-1].argmax(), (2 * finer - 1, 2 * finer - 1)))
        across, down = power[row + 1, column : column + 3], power[row : row + 3, column + 1]
        at = (x[column + 1] + _vertex(across) / finer, y[row + 1] + _vertex(down) / finer)
        worst = max(worst, math.hypot(at[0] - trap.x, at[1] - trap.y))
    return worst


def _vertex(three: np.ndarray) -> float:
    a, b, c = (float(value) for value in three)
    return 0.5 * (a - c) / (a - 2 * b + c)


def slmsuite_ms(size: tuple[int, int], wanted: list[Trap]) -> float:
    """Weighted Gerchberg-Saxton of slmsuite on the CPU, 10 iterations; NaN without slmsuite."""
    try:
        from slmsuite.holography.algorithms import SpotHologram  # type: ignore[import-not-found,unused-ignore]  # an extra
    except ImportError:
        return math.nan
    at = np.array([[trap.x + size[0] / 2, trap.y + size[1] / 2] for trap in wanted]).T
    hologram = SpotHologram((size[1], size[0]), at, basis="knm")
    return median_ms(lambda: hologram.optimize("WGS-Leonardo", maxiter=10, verbose=False))


def main() -> None:
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":  # read when numpy is imported: begin again, as runs begin theirs
        os.execve(sys.executable, [sys.executable, "-m", "perf.slm"], child_environment())
    print("       size traps  superposition  weighted x10 uniformity efficiency spots off slmsuite")
    for size in SIZES:
        for count in TRAPS:
            holograms, wanted = Holograms(*size), traps(count, size)
            quick = median_ms(lambda h=holograms, w=wanted: h.superposition_levels(w))
            slow = median_ms(lambda h=holograms, w=wanted: h.weighted(w, 10))
            fresh = Holograms(*size)
            quality = fresh.quality(fresh.weighted(wanted, 10), wanted)
            off = spots_off(fresh.superposition(wanted), wanted)
            print(
                f"{size[0]:>6}x{size[1]:<4} {count:>5} {quick:>11.2f} ms {slow:>10.1f} ms {quality.uniformity:>10.3f} "
                f"{quality.efficiency:>10.3f} {off:>9.3f} {slmsuite_ms(size, wanted):>7.1f} ms",
                flush=True,
            )


if __name__ == "__main__":
    main()
