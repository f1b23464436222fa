"""Calibration frames from recorded ones: mean, median, and which pixels are bad.

What is made here is what `engine.workers.correction` reads: arrays of the frames' shape, saved with numpy.save.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import SettingsError
from engine.workers.median import median_of


def mean_frame(frames: Iterable[NDArray[Any]]) -> tuple[NDArray[np.float32], int]:
    """Mean of all frames, and how many there were."""
    total, count = None, 0
    for frame in frames:
        total = frame.astype(np.float64) if total is None else total + frame
        count += 1
    if total is None:
        raise SettingsError("source: it has no frames")
    return (total / count).astype(np.float32), count


def median_frame(frames: Iterable[NDArray[Any]]) -> tuple[NDArray[np.float32], int]:
    """Median of all frames, pixel by pixel, and how many there were: what stands still while particles move."""
    stack = list(frames)
    if not stack:
        raise SettingsError("source: it has no frames")
    return median_of(np.stack(stack)), len(stack)


def bad_pixels(frames: Iterable[NDArray[Any]], deviations: float = 10.0) -> tuple[NDArray[np.bool_], int]:
    """Pixels that are always far from their neighbours, or whose noise is; and how many frames there were.

    Far: farther from the median of the 3 x 3 pixels around than so many standard deviations of all pixels from theirs
    (from the median of the distances, which bad ones do not move). The frames should show no particles that stand
    still: dark ones, or even light.
    """
    first = second = None
    count = 0
    for frame in frames:
        values = frame.astype(np.float64)
        first = values if first is None else first + values
        second = values**2 if second is None else second + values**2
        count += 1
    if first is None or second is None:
        raise SettingsError("source: it has no frames")
    mean = first / count
    bad = _outliers(mean, deviations)
    if count >= 8:
        spread = np.sqrt(np.maximum(second / count - mean**2, 0))
        bad |= _outliers(spread, deviations)
    return bad, count


def _outliers(image: NDArray[np.float64], deviations: float) -> NDArray[np.bool_]:
    padded = np.pad(image, 1, mode="reflect")
    height, width = image.shape
    around = np.median([padded[y : y + height, x : x + width] for y in range(3) for x in range(3)], axis=0)
    distance = image - around
    sigma = 1.4826 * float(np.median(np.abs(distance[distance != 0]))) if np.any(distance) else 0.0
    far: NDArray[np.bool_] = np.abs(distance) > max(deviations * sigma, 1e-6)
    return far
