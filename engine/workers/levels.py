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

SAMPLE = 1 << 17  # levels that a sample aims at; smaller frames are counted as a whole
_DOUBT = 8.0  # half width of the bracket in standard deviations of the sample's rank; neighbouring levels go together
COUNTERS = 1 << 16  # words of the work space for counting


@kernel
def copy_levels(pixels, flip, y0, y1, x0, x1, levels):
    """Make integer pixels the levels."""
    for y in range(y0, y1):
        source, row = pixels[y][x0:x1], levels[y][x0:x1]
        for i in range(row.size):
            row[i] = source[i] ^ flip


@kernel
def percentile_of(levels, percentile, counts, zeros, below, flags, words):
    """Percentile of the levels that are not 0, interpolated as numpy.percentile does; NaN if there are none.

    Work space: `counts` of COUNTERS words; `zeros` and `below`, uint16, and `flags`, uint8, of at least a row's length,
    a multiple of eight; `words` are the flags, eight by eight.
    """
    step = max(1, levels.size // SAMPLE)
    sampled = _count_levels(levels, step, counts)
    if step > 1:
        if sampled > 0:
            rank = (sampled - 1) * (percentile / 100.0)
            share = percentile / 100.0
            doubt = _DOUBT * np.sqrt(sampled * share * (1.0 - share)) + _DOUBT
            low = _value_at(counts, 1, max(0, np.int64(rank - doubt)))
            high = _value_at(counts, 1, min(sampled - 1, np.int64(rank + doubt) + 1))
            bright, less = _count_bracket(levels, low, high, counts, zeros, below, flags, words)
            if bright > 0:
                first, fraction = _position(bright, percentile)
                inside = 0
                for value in range(low, high + 1):
                    inside += counts[value]
                last = min(first + 1, bright - 1)
                if less <= first and last < less + inside:
                    first_value = _value_at(counts, low, first - less)
                    return _interpolate(first_value, _value_at(counts, low, last - less), fraction)
        sampled = _count_levels(levels, 1, counts)
    if sampled == 0:
        return np.nan
    first, fraction = _position(sampled, percentile)
    last = min(first + 1, sampled - 1)
    return _interpolate(_value_at(counts, 1, first), _value_at(counts, 1, last), fraction)


@kernel
def _position(count, percentile):
    """Rank of the value below the percentile of so many, from 0, and how far it is to the next."""
    position = np.float64(count - 1) * (percentile / 100.0)
    rank = np.int64(np.floor(position))
    return rank, position - np.float64(rank)


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
        row = levels[y]
        for i in range(row.size):
            counts[row[i]] += 1
        rows += 1
    return rows * levels.shape[1] - counts[0]


@kernel
def _mark_row(row, low, width, zeros, below, flags):
    for i in range(row.size):
        zeros[i] += row[i] == 0
        below[i] += row[i] < low
        flags[i] = row.dtype.type(row[i] - low) < width


@kernel
def _count_bracket(levels, low, high, counts, zeros, below, flags, words):
    """Count exactly the levels from low to high; return how many are not 0, and how many of these are below low."""
    kind = levels.dtype.type
    least, width = kind(low), kind(high - low + 1)
    for value in range(low, high + 1):
        counts[value] = 0
    black, less = np.int64(0), np.int64(0)
    for i in range(flags.size):
        zeros[i], below[i], flags[i] = 0, 0, 0
    columns = levels.shape[1]
    for y in range(levels.shape[0]):
        row = levels[y]
        _mark_row(row, least, width, zeros, below, flags)
        for k in range((columns + 7) // 8):
            if words[k] != 0:
                for i in range(8 * k, min(8 * k + 8, columns)):
                    if flags[i]:
                        counts[row[i]] += 1
        if y & 0x7FFF == 0x7FFF or y == levels.shape[0] - 1:  # before they run over
            for i in range(columns):
                black += zeros[i]
                less += below[i]
                zeros[i], below[i] = 0, 0
    return levels.size - black, less - black
