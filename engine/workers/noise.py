"""Noise of a frame: mean and deviation of the raw pixels that lie farther than a mask from anything bright.

*Bright* is a level that is not 0. A tile adds up its background pixels in integers, so that the sums of all tiles are
those of the frame (trackpy.uncertainty.measure_noise).

A background pixel has nothing bright within the mask's radius in its own row; that is quickly told for whole rows.
Where few pixels are left, each is looked at; where many are, the mask is spread over whole rows.
"""

from __future__ import annotations

# mypy: allow-untyped-defs, allow-untyped-calls
import numpy as np

from engine.workers.compiled import kernel

NOISE_ROWS = 4  # of the work space beyond the rows of a mask
_FEW = 16  # one pixel in so many left: each is looked at


@kernel
def _fill_zero(row):
    # A loop: numba's slice assignment compiles ten times longer.
    for i in range(row.size):
        row[i] = 0


@kernel
def _mark_bright(levels, out):
    for i in range(out.size):
        out[i] = levels[i] != 0


@kernel
def _either(here, ahead, out):
    for i in range(out.size):
        out[i] = here[i] | ahead[i]


@kernel
def _is_zero(here, ahead, out):
    for i in range(out.size):
        out[i] = (here[i] | ahead[i]) == 0


@kernel
def _load_marks(row, x0, x1, radius, marks):
    """Marks of the bright levels of a row, columns x0 - radius to x1 + radius, none outside the frame."""
    lo, hi = max(0, x0 - radius), min(row.size, x1 + radius)
    first = lo - (x0 - radius)
    last = first + hi - lo
    _fill_zero(marks[:first])
    _mark_bright(row[lo:hi], marks[first:last])
    _fill_zero(marks[last : x1 - x0 + 2 * radius])


@kernel
def _dark_in_row(row, x0, x1, radius, marks, spare, dark):
    """Mark the pixels that have nothing bright within `radius` columns."""
    length, count = 2 * radius + 1, x1 - x0
    _load_marks(row, x0, x1, radius, marks)
    current, other = marks, spare
    power, valid = 1, count + length - 1
    while 2 * power <= length:
        valid -= power
        _either(current, current[power:], other[:valid])
        current, other = other, current
        power *= 2
    _is_zero(current, current[length - power :], dark[:count])


@kernel
def _all_dark_around(levels, y, x, reach):
    height, width = levels.shape
    ry = reach.size // 2
    for i in range(reach.size):
        row = y - ry + i
        if row >= 0 and row < height:
            for column in range(max(0, x - reach[i]), min(width, x + reach[i] + 1)):
                if levels[row, column] != 0:
                    return False
    return True


@kernel
def background_sums(levels, pixels, flip, y0, y1, x0, x1, reach, radius_x, work, words, sums, background):
    """Count, sum and sum of squares of the background pixels of a block, into sums[0:3].

    `reach` is the mask's half width by row. `work` is uint8 of len(reach) + NOISE_ROWS rows of whole words, which are
    `words`. Where `background` is not empty, it is a mask of the frame to be filled for this block.
    """
    count = x1 - x0
    rows = reach.size
    marks, spare, dark = work[rows], work[rows + 1], work[rows + 2]
    dark_words = words[rows + 2]
    _fill_zero(dark)
    total, first, second = np.int64(0), np.int64(0), np.int64(0)
    for y in range(y0, y1):
        _dark_in_row(levels[y], x0, x1, radius_x, marks, spare, dark)
        left = np.int64(0)
        for k in range((count + 7) // 8):
            left += np.int64((dark_words[k] * np.uint64(0x0101010101010101)) >> np.uint64(56))
        if left * _FEW > count:
            _clear_covered(levels, y, x0, x1, reach, radius_x, marks, spare, work[rows + 3], dark)
        elif left > 0:
            for k in range((count + 7) // 8):
                if dark_words[k] != 0:
                    for i in range(8 * k, min(8 * k + 8, count)):
                        if dark[i] and not _all_dark_around(levels, y, x0 + i, reach):
                            dark[i] = 0
        if left > 0:
            raw = pixels[y]
            for k in range((count + 7) // 8):
                if dark_words[k] != 0:
                    for i in range(8 * k, min(8 * k + 8, count)):
                        if dark[i]:
                            value = np.int64(raw[x0 + i])
                            total += 1
                            first += value
                            second += value * value
        if background.size:
            for i in range(count):
                background[y, x0 + i] = dark[i]
    if flip:
        largest = np.int64(flip)
        second += total * largest * largest - 2 * largest * first
        first = total * largest - first
    sums[0] = total
    sums[1] = first
    sums[2] = second


@kernel
def _clear_covered(levels, y, x0, x1, reach, radius_x, marks, spare, near, dark):
    """Clear the marks of pixels that a mask around them shows to be near something bright, for a whole row."""
    height = levels.shape[0]
    ry = reach.size // 2
    count = x1 - x0
    for i in range(reach.size):
        row = y - ry + i
        if i != ry and row >= 0 and row < height:
            _dark_in_row(levels[row], x0, x1, reach[i], marks, spare, near)
            for k in range(count):
                dark[k] &= near[k]


def noise_of(total: int, first: int, second: int) -> tuple[float, float]:
    """Black level and noise from exact sums; NaN where there are too few pixels (trackpy's rule)."""
    if total == 0:
        return float("nan"), float("nan")
    mean = first / total
    if total == 1:
        return mean, float("nan")
    # Around the integer next to the mean all terms are small and exact.
    middle = round(mean)
    offset = first - total * middle
    spread = second - 2 * middle * first + total * middle * middle
    return mean, float(np.sqrt(max(0.0, (spread - offset * offset / total) / total)))
