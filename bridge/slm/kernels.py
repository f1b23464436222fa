"""The passes over all pixels that a closed loop cannot do without: traps to levels, levels to the light in each place.

Sums over traps are products of real matrices (the fastest thing a processor does), a few rows at a time, so that what
comes of them is still in the cache when its argument is taken. Single precision: an argument is right to 1e-4 rad
(1/240 of a level), a share of the light to 1e-5. On one core.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bridge.slm.levels import NO_PHASE, PERIOD, Levels

Reals = NDArray[np.float32]
Complex = NDArray[np.complexfloating]

ROWS = 64
_LIGHT = np.exp(2j * math.pi * (np.arange(PERIOD) - NO_PHASE) / PERIOD).astype(np.complex64)
"""What a level makes of the light."""


def paint(of_v: Complex, of_u: Complex) -> Levels:
    """The argument of Σ v u over the traps, as levels.

    Factors of the rows `(traps, height)` and of the columns `(traps, width)`; gives `(height, width)`.
    """
    height, width = of_v.shape[1], of_u.shape[1]
    columns = np.concatenate([of_u.real, of_u.imag]).astype(np.float32)
    v = of_v.T
    rows = np.stack([np.hstack([v.real, -v.imag]), np.hstack([v.imag, v.real])]).astype(np.float32)
    levels = np.empty((height, width), np.uint8)
    field = np.empty((2, min(ROWS, height), width), np.float32)
    for top in range(0, height, ROWS):
        part = levels[top : top + ROWS]
        re, im = field[:, : len(part)]
        np.matmul(rows[0, top : top + ROWS], columns, out=re)
        np.matmul(rows[1, top : top + ROWS], columns, out=im)
        _to_levels(re.reshape(-1), im.reshape(-1), part.reshape(-1))
    return levels


def project(levels: Levels, of_v: Complex, of_u: Complex) -> NDArray[np.complex128]:
    """Σ over all pixels of the light of a hologram times conj(v u), for each trap (shapes as those of `paint`)."""
    height, width = levels.shape
    traps = len(of_u)
    columns = np.empty((width, 2, 2, traps), np.float32)  # real and imaginary part of the light; of the sum
    columns[:, 0, 0] = columns[:, 1, 1] = of_u.real.T
    columns[:, 1, 0], columns[:, 0, 1] = of_u.imag.T, -of_u.imag.T
    light = np.empty((min(ROWS, height), width), np.complex64)
    sums = np.empty((height, 2 * traps), np.float32)
    for top in range(0, height, ROWS):
        part = levels[top : top + ROWS]
        here = light[: len(part)]
        _to_light(part.reshape(-1), _LIGHT.view(np.uint64), here.reshape(-1).view(np.uint64))
        np.matmul(here.view(np.float32), columns.reshape(2 * width, 2 * traps), out=sums[top : top + ROWS])
    of_rows = (sums[:, :traps] + 1j * sums[:, traps:]) * of_v.conj().T
    out: NDArray[np.complex128] = of_rows.sum(axis=0, dtype=np.complex128)
    return out


@njit(cache=True, fastmath=True, error_model="numpy")  # no check for zero, which would keep it from vectors
def _to_levels(re: Reals, im: Reals, levels: Levels) -> None:
    """Arguments as levels (256/2π of them a radian, to the nearest), by a polynomial of the arc tangent."""
    f32 = np.float32
    for i in range(re.shape[0]):
        a, b = abs(re[i]), abs(im[i])
        more, less = (a if a > b else b), (b if a > b else a)
        t = less / (more + f32(1e-30))
        s = t * t
        p = f32(-0.11643287) + s * (f32(0.05265332) - s * f32(0.01172120))
        p = t * (f32(0.99997726) + s * (f32(-0.33262347) + s * (f32(0.19354346) + s * p)))
        p = f32(1.5707963) - p if b > a else p
        p = f32(3.1415927) - p if re[i] < f32(0) else p
        p = -p if im[i] < f32(0) else p
        levels[i] = np.uint8(np.int32(p * f32(40.743665) + f32(128.5)))


@njit(cache=True)
def _to_light(levels: Levels, light: NDArray[np.uint64], out: NDArray[np.uint64]) -> None:
    for i in range(levels.shape[0]):
        out[i] = light[levels[i]]  # a complex number at a time
