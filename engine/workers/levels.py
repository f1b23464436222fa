"""The levels of a frame: the scaled image of integers in which features are found, and its percentile.

Where nothing is band-passed (`preprocess = False`) the levels of an integer frame are its own pixels, inverted if asked
for (trackpy.preprocessing.convert_to_int).
"""

from __future__ import annotations

# mypy: allow-untyped-defs, allow-untyped-calls
import numpy as np

from engine.workers.compiled import kernel


@kernel
def copy_levels(pixels, flip, y0, y1, x0, x1, levels, coarse):
    """Make integer pixels the levels; fill the coarse histogram, return how many are not 0."""
    for i in range(coarse.size):
        coarse[i] = 0
    shift = np.uint8(8 * (levels.itemsize - 1))
    bright = 0
    for y in range(y0, y1):
        source, row = pixels[y][x0:x1], levels[y][x0:x1]
        for i in range(row.size):
            level = source[i] ^ flip
            row[i] = level
            bright += level != 0
            coarse[level >> shift] += 1
    return bright


@kernel
def percentile_of(levels, coarse, bright, percentile):
    """Percentile of the `bright` levels that are not 0, interpolated as numpy.percentile does; NaN if there are none.

    `coarse` is the histogram of the upper eight bits of all levels, zeros included.
    """
    if bright == 0:
        return np.nan
    position = np.float64(bright - 1) * (percentile / 100.0)
    low = np.int64(np.floor(position))
    high = min(low + 1, bright - 1)
    fraction = position - np.float64(low)
    zeros = levels.size - bright
    below, above = _ranked(levels, coarse, zeros + low, zeros + high)
    gap = np.float64(above - below)
    if fraction >= 0.5:
        return np.float64(above) - gap * (1.0 - fraction)
    return np.float64(below) + gap * fraction


@kernel
def _bin_of(counts, rank):
    """The bin that holds the value of this rank, and the rank inside it."""
    for i in range(counts.size):
        if rank < counts[i]:
            return i, rank
        rank -= counts[i]
    return counts.size - 1, rank


@kernel
def _ranked(levels, coarse, low, high):
    """The levels of rank `low` and `high` (from 0, smallest first)."""
    low_bin, low_rank = _bin_of(coarse, low)
    high_bin, high_rank = _bin_of(coarse, high)
    if levels.itemsize == 1:
        return low_bin, high_bin
    low_counts, high_counts = np.zeros(256, np.int64), np.zeros(256, np.int64)
    for y in range(levels.shape[0]):
        row = levels[y]
        for i in range(row.size):
            upper, lower = np.int64(row[i]) >> 8, np.int64(row[i]) & 255
            if upper == low_bin:
                low_counts[lower] += 1
            if upper == high_bin:
                high_counts[lower] += 1
    low_value, _ = _bin_of(low_counts, low_rank)
    high_value, _ = _bin_of(high_counts, high_rank)
    return low_bin * 256 + low_value, high_bin * 256 + high_value
