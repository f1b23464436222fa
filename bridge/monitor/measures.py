"""What the monitor computes from pictures and positions. Pure: arrays in, numbers out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def laplacian_variance(pixels: NDArray[Any]) -> float:
    """Sharpness of a picture `(height, width)`: variance of its Laplacian over the square of its mean; 0: no picture.

    Relative, so that more light does not look like better focus (Pech-Pacheco et al. 2000, normalised).
    """
    if min(pixels.shape) < 3:
        return 0.0
    p = pixels.astype(np.float32)
    around = p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:]
    mean = float(p.mean())
    return float(np.var(around - 4 * p[1:-1, 1:-1])) / mean**2 if mean > 0 else 0.0


def levels(pixels: NDArray[Any], low_percent: float = 0.5, high_percent: float = 99.8) -> tuple[float, float]:
    """Black and white level of a picture; white is above black by at least 1."""
    sample = pixels[:: max(1, pixels.shape[0] // 256), :: max(1, pixels.shape[1] // 256)]
    low, high = (float(each) for each in np.percentile(sample, (low_percent, high_percent)))
    return low, max(high, low + 1.0)


def grey_table(low: float, high: float, brightness: float, contrast: float, bits: int = 16) -> NDArray[np.uint8]:
    """The grey (0 to 255) of every pixel value: stretched from `low` to `high`, then contrast about the middle.

    `brightness` -1 to 1 is added; `contrast` 1 leaves it.
    """
    values = np.arange(1 << bits, dtype=np.float32)
    stretched = (values - low) / max(1e-9, high - low)
    grey = (stretched - 0.5) * contrast + 0.5 + brightness
    table: NDArray[np.uint8] = (np.clip(grey, 0, 1) * 255).astype(np.uint8)
    return table


def bar_length(most: float) -> float:
    """The longest of 1, 2, 5, 10, 20, ... that is not above `most`: the length of a scale bar."""
    if not most > 0:
        return 0.0
    power = 10.0 ** math.floor(math.log10(most))
    return max(step * power for step in (1, 2, 5) if step * power <= most * (1 + 1e-12))


def spread(values: NDArray[Any]) -> tuple[float, float, float, float]:
    """Mean, standard deviation, least and largest, of what is a number; NaN without any."""
    good = np.asarray(values, np.float64)
    good = good[np.isfinite(good)]
    if not len(good):
        return (math.nan,) * 4
    return float(good.mean()), float(good.std()), float(good.min()), float(good.max())


def series(
    frames: list[tuple[int, NDArray[Any]]], particles: NDArray[np.int64]
) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
    """Positions of some particles: first frame number, x and y `(frames, particles)` in pixels, NaN where unseen.

    `frames`: number and rows of each, numbers rising; holes between them are rows of NaN.
    """
    if not frames or not len(particles):
        return 0, np.zeros((0, len(particles))), np.zeros((0, len(particles)))
    wanted = np.sort(particles)
    column = np.argsort(particles)
    first, last = frames[0][0], frames[-1][0]
    x = np.full((last - first + 1, len(particles)), np.nan)
    y = np.full_like(x, np.nan)
    for number, rows in frames:
        ids = rows["particle"]
        at = np.minimum(np.searchsorted(wanted, ids), len(wanted) - 1)
        there = wanted[at] == ids
        x[number - first, column[at[there]]] = rows["x"][there]
        y[number - first, column[at[there]]] = rows["y"][there]
    return first, x, y


def displacement(x: Array, y: Array, lags: NDArray[np.int64]) -> Array:
    """Mean square displacement of the columns of x and y, over all particles and times, at each lag (frames)."""
    out = np.full(len(lags), np.nan)
    for i, lag in enumerate(lags):
        square = (x[lag:] - x[:-lag]) ** 2 + (y[lag:] - y[:-lag]) ** 2
        good = np.isfinite(square)
        if good.any():
            out[i] = float(square[good].mean())
    return out


def spaced_lags(frames: int, most: int = 24) -> NDArray[np.int64]:
    """Lags from 1 to a quarter of the frames, evenly on a logarithmic axis, none twice."""
    longest = max(1, frames // 4)
    return np.unique(np.round(np.geomspace(1, longest, most)).astype(np.int64))


def sticky(now: tuple[float, float], low: float, high: float, *, logarithmic: bool = False) -> tuple[float, float]:
    """Limits of an axis for values from `low` to `high`: those there are now, if the values fill enough of them.

    Axes that change are slow to draw, and restless to look at.
    """
    if logarithmic:
        a, b = sticky((math.log10(now[0]), math.log10(now[1])), math.log10(low), math.log10(high))
        return 10.0**a, 10.0**b
    if now[0] <= low and high <= now[1] and high - low >= 0.3 * (now[1] - now[0]):
        return now
    room = 0.15 * (high - low) or 0.5 * abs(high) or 1.0
    return low - room, high + room


def span_of(seconds: float) -> float:
    """The shortest of 20 s, 1 min, 2 min, 5 min, 10 min, ... that holds so many."""
    return next((span for span in (20.0, 60.0, 120.0, 300.0, 600.0, 1800.0) if seconds <= span), 3600.0)
