"""Band-pass and levels of frames of floats, as trackpy rounds them; whole frames only.

The box mean is a running sum along each line, rounded to the frame's own type after each axis (scipy.ndimage's
uniform_filter1d): its rounding depends on where the line began, so such frames are not cut into tiles.
"""

from __future__ import annotations

# mypy: allow-untyped-defs, allow-untyped-calls
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.workers.compiled import kernel
from engine.workers.parameters import LocateParameters


@kernel
def _running_mean(line, size, out):
    count, half = line.size, size // 2
    total = 0.0
    for i in range(-half, half + 1):
        total += line[min(max(i, 0), count - 1)]
    out[0] = total / size
    for i in range(1, count):
        total += line[min(i + half, count - 1)] - line[max(i - half - 1, 0)]
        out[i] = total / size


@kernel
def _box_mean(image, box_y, box_x, out):
    height, width = image.shape
    line, mean = np.empty(max(height, width)), np.empty(max(height, width))
    for x in range(width):
        for y in range(height):
            line[y] = image[y, x]
        _running_mean(line[:height], box_y, mean)
        for y in range(height):
            out[y, x] = mean[y] if box_y > 1 else line[y]
    for y in range(height):
        if box_x > 1:
            for x in range(width):
                line[x] = out[y, x]
            _running_mean(line[:width], box_x, mean)
            for x in range(width):
                out[y, x] = mean[x]


@kernel
def _correlate(line, taps, out):
    count = line.size
    for i in range(count):
        out[i] = line[i] * taps[0]
    for step in range(taps.size - 1, 0, -1):
        for i in range(count):
            before = line[i - step] if i >= step else 0.0
            after = line[i + step] if i + step < count else 0.0
            out[i] += (before + after) * taps[step]


@kernel
def _low_pass(image, taps_y, taps_x, out):
    height, width = image.shape
    line, smooth = np.empty(max(height, width)), np.empty(max(height, width))
    for x in range(width):
        for y in range(height):
            line[y] = image[y, x]
        _correlate(line[:height], taps_y, smooth[:height])
        for y in range(height):
            out[y, x] = smooth[y]
    for y in range(height):
        line[:width] = out[y]
        _correlate(line[:width], taps_x, out[y])


def band_pass(
    image: NDArray[Any],
    box: tuple[int, int],
    taps: tuple[NDArray[np.float64], NDArray[np.float64]],
    threshold: float,
) -> NDArray[np.float64]:
    """Low pass minus box mean of a frame of floats, 0 below the threshold."""
    background = np.empty(image.shape, image.dtype)
    _box_mean(image, box[0], box[1], background)
    band = np.empty(image.shape, np.float64)
    _low_pass(image, taps[0], taps[1], band)
    band -= background
    return np.where(band >= threshold, band, 0.0)


def levels_of(pixels: NDArray[Any], parameters: LocateParameters) -> tuple[NDArray[np.uint8], float]:
    """Levels of a frame of floats and their scale, in the arithmetic of its own type."""
    band: NDArray[Any] = pixels
    if parameters.preprocess:
        band = band_pass(pixels, parameters.smoothing_size, parameters.taps, parameters.threshold)
    peak = band.max()
    scale = np.iinfo(np.uint8).max / peak if peak != 0 else 1.0
    return (scale * band.clip(min=0.0)).astype(np.uint8), float(scale)
