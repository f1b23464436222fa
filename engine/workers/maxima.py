"""Local maxima: pixels brighter than the threshold that are the largest in a rectangle around them.

The rectangle is that of a grey dilation (scipy.ndimage): of n rows, (n - 1) // 2 lie above the pixel and n // 2 below,
the same for columns; outside the frame is 0. Pixels of a plateau are all maxima.

The largest of n neighbours comes from the largest of 1, 2, 4, 8, ... of them: whole rows, no dependence from pixel to
pixel.
"""

from __future__ import annotations

# mypy: allow-untyped-defs, allow-untyped-calls
import numpy as np

from engine.workers.compiled import kernel

STRIP = 96  # rows whose dilation is computed at a time: they stay in the second-level cache


@kernel
def _fill_zero(row):
    # Loops, here and below: numba's slice assignment compiles ten times longer.
    for i in range(row.size):
        row[i] = 0


@kernel
def _copy(source, target):
    for i in range(source.size):
        target[i] = source[i]


@kernel
def _larger(current, ahead, out):
    for i in range(out.size):
        out[i] = current[i] if current[i] > ahead[i] else ahead[i]


@kernel
def _larger_rows(upper, lower):
    for i in range(upper.size):
        upper[i] = upper[i] if upper[i] > lower[i] else lower[i]


@kernel
def _window_maxima(lines, out, length):
    """Largest of `length` neighbours: out[i] = max(v[i], ..., v[i + length - 1]), where v is the first of the lines."""
    count = out.size
    valid = count + length - 1
    power, at = 1, 0
    while 2 * power <= length:
        valid -= power
        _larger(lines[at], lines[at][power:], lines[1 - at][:valid])
        at = 1 - at
        power *= 2
    _larger(lines[at], lines[at][length - power :], out)


@kernel
def _dilate_rows(rows, count, used, length):
    """Largest of `length` consecutive rows, in place: row i becomes the maximum of rows i to i + length - 1.

    `count` columns of `used` rows.
    """
    power = 1
    valid = used
    while 2 * power <= length:
        valid -= power
        for i in range(valid):
            _larger_rows(rows[i][:count], rows[i + power])
        power *= 2
    if length > power:
        for i in range(used - length + 1):
            _larger_rows(rows[i][:count], rows[i + length - power])


@kernel
def _mark_maxima(row, dilated, threshold, flags):
    for i in range(row.size):
        flags[i] = (row[i] == dilated[i]) & (row[i] > threshold)


@kernel
def find_maxima(levels, y0, y1, x0, x1, window_y, window_x, threshold, row_column, features, lines, work, flags, words):
    """Find the maxima in rows y0 to y1, columns x0 to x1, in raster order; return how many there are.

    Row and column of each go into features[n, row_column:row_column + 2], as far as there is room. Work space: `lines`
    of 2 rows, `work` of STRIP + window_y - 1 rows; `flags`, uint8, of one row in whole words, which are `words`.
    """
    height, width = levels.shape
    above, left = (window_y - 1) // 2, (window_x - 1) // 2
    count = x1 - x0
    found = 0
    if count <= 0:
        return 0
    limit = levels.dtype.type(np.floor(threshold))  # of an integer: v > threshold is v > floor(threshold)
    _fill_zero(flags)
    for strip in range(y0, y1, STRIP):
        end = min(strip + STRIP, y1)
        used = end - strip + window_y - 1
        for i in range(used):
            dilated = work[i][:count]
            y = strip - above + i
            if y < 0 or y >= height:
                _fill_zero(dilated)
                continue
            lo, hi = max(0, x0 - left), min(width, x1 + window_x // 2)
            padded = lines[0]
            first = lo - (x0 - left)
            last = first + hi - lo
            _fill_zero(padded[:first])
            _copy(levels[y][lo:hi], padded[first:last])
            _fill_zero(padded[last : count + window_x - 1])
            _window_maxima(lines, dilated, window_x)
        _dilate_rows(work, count, used, window_y)
        for y in range(strip, end):
            _mark_maxima(levels[y][x0:x1], work[y - strip], limit, flags)
            for k in range((count + 7) // 8):
                if words[k] != 0:
                    for i in range(8 * k, min(8 * k + 8, count)):
                        if flags[i]:
                            if found < features.shape[0]:
                                features[found, row_column] = y
                                features[found, row_column + 1] = x0 + i
                            found += 1
    return found
