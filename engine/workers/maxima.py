"""Local maxima: pixels brighter than the threshold that are the largest in a rectangle around them.

The rectangle is that of a grey dilation (scipy.ndimage): of n rows, (n - 1) // 2 lie above the pixel and n // 2 below,
the same for columns; outside the frame is 0. Pixels of a plateau are all maxima.
"""

from __future__ import annotations

# mypy: allow-untyped-defs, allow-untyped-calls
from engine.workers.compiled import kernel

STRIP = 64  # rows whose dilation is computed at a time: they stay in the cache


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
def _window_maxima(values, spare, out, length):
    """Largest of `length` neighbours: out[i] = max(values[i], ..., values[i + length - 1]). Destroys both inputs."""
    count = out.size
    current, other = values, spare
    valid = count + length - 1
    power = 1
    while 2 * power <= length:
        valid -= power
        ahead = current[power:]
        for i in range(valid):
            other[i] = current[i] if current[i] > ahead[i] else ahead[i]
        current, other = other, current
        power *= 2
    ahead = current[length - power :]
    for i in range(count):
        out[i] = current[i] if current[i] > ahead[i] else ahead[i]


@kernel
def _larger_rows(upper, lower):
    for i in range(upper.size):
        upper[i] = upper[i] if upper[i] > lower[i] else lower[i]


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
def find_maxima(levels, y0, y1, x0, x1, window_y, window_x, threshold, row_column, features, lines, work):
    """Find the maxima in rows y0 to y1, columns x0 to x1, in raster order.

    Row and column of each go into features[n, row_column:row_column + 2], as far as there is room. Returns how many
    there are. `lines` is work space of 2 rows, `work` of STRIP + window_y - 1 rows.
    """
    height, width = levels.shape
    above, left = (window_y - 1) // 2, (window_x - 1) // 2
    count = x1 - x0
    found = 0
    if count <= 0:
        return 0
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
            _window_maxima(padded, lines[1], dilated, window_x)
        _dilate_rows(work, count, used, window_y)
        for y in range(strip, end):
            row, dilated = levels[y][x0:x1], work[y - strip][:count]
            for i in range(count):
                if row[i] == dilated[i] and row[i] > threshold:
                    if found < features.shape[0]:
                        features[found, row_column] = y
                        features[found, row_column + 1] = x0 + i
                    found += 1
    return found
