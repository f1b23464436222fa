"""Local maxima: pixels brighter than the threshold that are the largest in a rectangle around them.

The rectangle is that of a grey dilation (scipy.ndimage): of n rows, (n - 1) // 2 lie above the pixel and n // 2 below,
the same for columns; outside the frame is 0. Pixels of a plateau are all maxima.

The largest of n neighbours comes from the largest of 1, 2, 4, 8, ... of them, first along rows, then down columns.
"""

from __future__ import annotations

# mypy: allow-untyped-defs, allow-untyped-calls
import numpy as np

from engine.workers.compiled import kernel
from engine.workers.lanes import larger, load_like, splat_like, store
from engine.workers.lanes_across import bits, trailing_zeros

ROWS, COLUMNS = 96, 512  # whose dilation is computed at a time, in the cache
_SLACK = 128  # columns behind a row of work space that vectors may touch


def columns_of(window_x: int) -> int:
    """Columns that the work space for levels needs."""
    return COLUMNS + window_x + _SLACK


@kernel
def _dilate_columns(levels, y0, y1, x0, x1, window, lines, work, lanes):
    """Largest of `window` levels around each pixel of its row, for rows y0 to y1, into work; 0 outside the frame."""
    height, width = levels.shape
    left = (window - 1) // 2
    count = x1 - x0
    lo, hi = max(0, x0 - left), min(width, x1 + window // 2)
    first = lo - (x0 - left)
    last = first + hi - lo
    powers = 0
    while 2 << powers <= window:
        powers += 1
    for i in range(count + window - 1):
        lines[0, i] = 0
    for y in range(y0, y1):
        if y < 0 or y >= height:
            for j in range(0, count, lanes):
                store(work, y - y0, j, splat_like(0, work))
            continue
        j = first
        while j + lanes <= last:
            store(lines, 0, j, load_like(levels, y, lo + j - first, levels))
            j += lanes
        for i in range(j, last):
            lines[0, i] = levels[y, lo + i - first]
        for k in range(powers):
            for j in range(0, count + window - (2 << k), lanes):
                store(
                    lines, k + 1, j, larger(load_like(lines, k, j, levels), load_like(lines, k, j + (1 << k), levels))
                )
        rest = window - (1 << powers)
        for j in range(0, count, lanes):
            value = larger(load_like(lines, powers, j, levels), load_like(lines, powers, j + rest, levels))
            store(work, y - y0, j, value)


@kernel
def _dilate_rows(work, used, window, count, lanes):
    """Largest of `window` rows from each on, in place; a few columns after another, whose rows stay in the cache."""
    for j in range(0, count, lanes):
        power = 1
        valid = used
        while power < window:
            step = power if 2 * power <= window else window - power
            valid -= step
            for i in range(valid):
                store(work, i, j, larger(load_like(work, i, j, work), load_like(work, i + step, j, work)))
            power += step


@kernel
def _mark_maxima(levels, y0, y1, x0, count, limit, work, hits, first_bit):
    """Set the bits of the maxima in rows y0 to y1, columns x0 to x0 + count; `first_bit` is that of column x0."""
    width = levels.shape[1]
    lanes = 64 // levels.itemsize
    least = splat_like(limit, levels)
    for y in range(y0, y1):
        for j in range(0, count, lanes):
            bit = first_bit + j
            if x0 + j + lanes <= width:
                value = load_like(levels, y, x0 + j, levels)
                found = bits((value == load_like(work, y - y0, j, levels)) & (value > least))
                if count - j < lanes:
                    found &= (np.uint64(1) << np.uint64(count - j)) - np.uint64(1)
            else:
                found = np.uint64(0)
                for i in range(count - j):
                    level = levels[y, x0 + j + i]
                    if level == work[y - y0, j + i] and level > limit:
                        found |= np.uint64(1) << np.uint64(i)
            if bit & 63 == 0:
                hits[y - y0, bit >> 6] = found
            else:
                hits[y - y0, bit >> 6] |= found << np.uint64(bit & 63)


@kernel
def find_maxima(levels, y0, y1, x0, x1, window_y, window_x, threshold, row_column, features, lines, work, hits):
    """Find the maxima in rows y0 to y1, columns x0 to x1, in raster order; return how many there are.

    Row and column of each go into features[n, row_column:row_column + 2], as far as there is room. Work space, of the
    levels' type: `lines`, one row more than the window's width has bits, and `work`, ROWS + window_y - 1 rows, both as
    long as columns_of(window_x); uint64: `hits`, ROWS rows of a bit for each column.
    """
    lanes = 64 // levels.itemsize
    above = (window_y - 1) // 2
    found = 0
    limit = np.int64(np.floor(threshold))  # of an integer: v > threshold is v > floor(threshold)
    for top in range(y0, y1, ROWS):
        end = min(top + ROWS, y1)
        used = end - top + window_y - 1
        for x in range(x0, x1, COLUMNS):
            count = min(COLUMNS, x1 - x)
            _dilate_columns(levels, top - above, top - above + used, x, x + count, window_x, lines, work, lanes)
            _dilate_rows(work, used, window_y, count, lanes)
            _mark_maxima(levels, top, end, x, count, limit, work, hits, x - x0)
        for y in range(top, end):
            for k in range((x1 - x0 + 63) // 64):
                word = hits[y - top, k]
                while word != 0:
                    if found < features.shape[0]:
                        features[found, row_column] = y
                        features[found, row_column + 1] = x0 + 64 * k + np.int64(trailing_zeros(word))
                    found += 1
                    word &= word - np.uint64(1)
    return found
