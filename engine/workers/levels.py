"""The levels of a frame: the scaled image of integers in which features are found, and its percentile.

Where nothing is band-passed (`preprocess = False`) the levels of an integer frame are its own pixels, inverted if asked
for (trackpy.preprocessing.convert_to_int).

The percentile is exact: a sample of rows brackets it, then one pass counts what lies below the bracket and sorts out
the few levels inside. Only if the sample misled is every level counted.
"""

from __future__ import annotations

# mypy: allow-untyped-defs, allow-untyped-calls
import numpy as np

from engine.workers.compiled import kernel
from engine.workers.lanes import load_like, splat_like
from engine.workers.lanes_across import bits, count_ones, trailing_zeros

SAMPLE = 1 << 16  # levels that a sample aims at; frames of fewer are counted as a whole
FEW = 1 << 14  # levels of a sample for a first threshold, which the exact percentile corrects where it matters
_DOUBT = 8.0  # half width of the bracket in standard deviations of the sample's rank; neighbouring levels go together
COUNTERS = 1 << 16  # words of the work space for counting


@kernel
def copy_levels(pixels, flip, y0, y1, x0, x1, levels):
    """Make integer pixels the levels."""
    for y in range(y0, y1):
        for x in range(x0, x1):
            levels[y, x] = pixels[y, x] ^ flip


@kernel
def percentile_of(levels, percentile, counts):
    """Percentile of the levels that are not 0, interpolated as numpy.percentile does; NaN if there are none.

    `counts` is work space of COUNTERS words.
    """
    step = max(1, levels.size // SAMPLE)
    sampled = _count_levels(levels, step, counts)
    if step > 1 and sampled > 0:
        share = percentile / 100.0
        rank = (sampled - 1) * share
        doubt = _DOUBT * np.sqrt(sampled * share * (1.0 - share)) + _DOUBT
        low = _value_at(counts, 1, max(0, np.int64(rank - doubt)))
        high = _value_at(counts, 1, min(sampled - 1, np.int64(rank + doubt) + 1))
        bright, less = _count_bracket(levels, low, high, counts)
        inside = np.int64(0)
        for value in range(low, high + 1):
            inside += counts[value]
        first, last, fraction = _position(bright, percentile)
        if less <= first and last < less + inside:
            return _interpolate(_value_at(counts, low, first - less), _value_at(counts, low, last - less), fraction)
    if step > 1:
        sampled = _count_levels(levels, 1, counts)
    if sampled == 0:
        return np.nan
    first, last, fraction = _position(sampled, percentile)
    return _interpolate(_value_at(counts, 1, first), _value_at(counts, 1, last), fraction)


@kernel
def surely_below(levels, percentile, counts):
    """A level that the percentile is all but sure to reach, from a few rows: 0 where there is nothing to see."""
    step = max(1, levels.size // FEW)
    sampled = _count_levels(levels, step, counts)
    share = percentile / 100.0
    doubt = _DOUBT * np.sqrt(sampled * share * (1.0 - share)) + _DOUBT
    rank = np.int64(sampled * share - doubt)
    return 0 if rank <= 0 else _value_at(counts, 1, rank)


@kernel
def percentile_is_below(levels, percentile, bright, level):
    """Whether the percentile of the levels that are not 0, of which there are `bright`, is certainly below a level.

    Rows are counted until enough levels below it have been seen: with a low percentile few.
    """
    _, last, _ = _position(bright, percentile)
    height, width = levels.shape
    lanes = 64 // levels.itemsize
    limit, one = splat_like(level - 1, levels), splat_like(1, levels)
    seen = np.int64(0)
    for y in range(height):
        here = np.uint64(0)
        x = 0
        while x + lanes <= width:
            here += count_ones(bits(load_like(levels, y, x, levels) - one < limit))  # 0 wraps around: it is above
            x += lanes
        for column in range(x, width):
            here += np.uint64(levels[y, column] > 0 and levels[y, column] < level)
        seen += np.int64(here)
        if seen > last:
            return True
    return False


@kernel
def _position(count, percentile):
    """Ranks of the values on either side of the percentile of so many, from 0, and how far it is to the second."""
    position = np.float64(count - 1) * (percentile / 100.0)
    rank = np.int64(np.floor(position))
    return rank, min(rank + 1, count - 1), position - np.float64(rank)


@kernel
def _interpolate(low, high, fraction):
    gap = np.float64(high - low)
    if fraction >= 0.5:
        return np.float64(high) - gap * (1.0 - fraction)
    return np.float64(low) + gap * fraction


@kernel
def _value_at(counts, start, rank):
    """The value of this rank among those counted from `start` on."""
    value = start
    while rank >= counts[value]:
        rank -= counts[value]
        value += 1
    return value


@kernel
def _count_levels(levels, step, counts):
    """Histogram of every step-th row; return how many of its levels are not 0."""
    for i in range(counts.size):
        counts[i] = 0
    rows = 0
    for y in range(step // 2, levels.shape[0], step):
        for x in range(levels.shape[1]):
            counts[levels[y, x]] += 1
        rows += 1
    return rows * levels.shape[1] - counts[0]


@kernel
def _count_bracket(levels, low, high, counts):
    """Count exactly the levels from low to high; return how many are not 0, and how many of these are below low."""
    height, width = levels.shape
    lanes = 64 // levels.itemsize
    zero, least, span = splat_like(0, levels), splat_like(low, levels), splat_like(high - low, levels)
    for value in range(low, high + 1):
        counts[value] = 0
    black, less = np.uint64(0), np.uint64(0)
    for y in range(height):
        x = 0
        while x + lanes <= width:
            value = load_like(levels, y, x, levels)
            black += count_ones(bits(value == zero))
            less += count_ones(bits(value < least))
            inside = bits(value - least <= span)
            while inside != 0:
                counts[levels[y, x + np.int64(trailing_zeros(inside))]] += 1
                inside &= inside - np.uint64(1)
            x += lanes
        for column in range(x, width):
            level = levels[y, column]
            black += np.uint64(level == 0)
            less += np.uint64(level < low)
            if level >= low and level <= high:
                counts[level] += 1
    return levels.size - np.int64(black), np.int64(less) - np.int64(black)
