"""Holograms: time and quality over size and traps. `python -m perf.slm`; slmsuite's CPU path beside it if installed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np

from bridge.slm.hologram import Holograms, Trap

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


def slmsuite_ms(size: tuple[int, int], wanted: list[Trap]) -> float:
    """Weighted Gerchberg-Saxton of slmsuite on the CPU, 10 iterations; NaN without slmsuite."""
    try:
        from slmsuite.holography.algorithms import SpotHologram  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return math.nan
    at = np.array([[trap.x + size[0] / 2, trap.y + size[1] / 2] for trap in wanted]).T
    hologram = SpotHologram((size[1], size[0]), at, basis="knm")
    return median_ms(lambda: hologram.optimize("WGS-Leonardo", maxiter=10, verbose=False))


def main() -> None:
    print("       size traps  superposition  weighted x10 uniformity efficiency slmsuite")
    for size in SIZES:
        for count in TRAPS:
            holograms, wanted = Holograms(*size), traps(count, size)
            quick = median_ms(lambda h=holograms, w=wanted: h.superposition_levels(w))
            slow = median_ms(lambda h=holograms, w=wanted: h.weighted(w, 10))
            fresh = Holograms(*size)
            quality = fresh.quality(fresh.weighted(wanted, 10), wanted)
            print(
                f"{size[0]:>6}x{size[1]:<4} {count:>5} {quick:>11.2f} ms {slow:>10.1f} ms {quality.uniformity:>10.3f} "
                f"{quality.efficiency:>10.3f} {slmsuite_ms(size, wanted):>7.1f} ms"
            )


if __name__ == "__main__":
    main()
