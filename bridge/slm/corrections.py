"""From an ideal phase to the levels of one modulator: what is added modulo 2π, and its look-up table."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bridge.slm.levels import PERIOD, Levels


def zernike(coefficients: Mapping[tuple[int, int], float], height: int, width: int) -> NDArray[np.float32]:
    """Wavefront in radians: Σ c Z(n, m) over the circle that touches the shorter side (radians rms, Noll's norm).

    m > 0: cosine, m < 0: sine. Raises ValueError for an (n, m) that is none.
    """
    v, u = np.mgrid[:height, :width]
    half = min(height, width) / 2
    y, x = (v - height // 2) / half, (u - width // 2) / half
    r, angle = np.hypot(x, y), np.arctan2(y, x)
    total = np.zeros((height, width))
    for (n, m), coefficient in coefficients.items():
        if n < 0 or abs(m) > n or (n - m) % 2:
            raise ValueError(f"there is no Zernike polynomial ({n}, {m})")
        radial = np.zeros_like(r)
        for k in range((n - abs(m)) // 2 + 1):
            factor = (-1) ** k * math.factorial(n - k) / math.factorial(k)
            factor /= math.factorial((n + abs(m)) // 2 - k) * math.factorial((n - abs(m)) // 2 - k)
            radial += factor * r ** (n - 2 * k)
        norm = math.sqrt((n + 1) * (1 if m == 0 else 2))
        total += coefficient * norm * radial * (np.cos(m * angle) if m >= 0 else np.sin(-m * angle))
    return total.astype(np.float32)


class Modulator:
    """What one modulator needs: a map that is added, and the level of the display for each level of phase."""

    def __init__(
        self, height: int, width: int, *, add_rad: NDArray[np.floating] | None = None,
        table: Levels | None = None,
    ) -> None:  # fmt: skip
        """`add_rad` `(height, width)`: flatness plus wavefront; `table`: 256 levels. Raises ValueError."""
        if add_rad is not None and add_rad.shape != (height, width):
            raise ValueError(f"the map is {add_rad.shape}, the modulator {(height, width)} (height, width)")
        if table is not None and table.shape != (PERIOD,):
            raise ValueError(f"the look-up table has {table.shape} entries, {PERIOD} are needed")
        self._table = table
        self._add = None
        if add_rad is not None:
            self._add = (np.rint(add_rad / (2 * math.pi) * PERIOD).astype(np.int64) % PERIOD).astype(np.uint8)

    def levels(self, phase: Levels) -> Levels:
        """What the display is given for levels of phase; adding wraps at 2π by itself."""
        out = phase if self._add is None else phase + self._add
        return out if self._table is None else self._table[out]
