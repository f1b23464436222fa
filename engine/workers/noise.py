"""Noise of a frame: mean and deviation of the raw pixels that lie farther than a mask from anything bright.

*Bright* is a level that is not 0. A tile adds up its background pixels in integers, so that the sums of all tiles are
those of the frame (trackpy.uncertainty.measure_noise).
"""

from __future__ import annotations

# mypy: allow-untyped-defs, allow-untyped-calls
import numpy as np

from engine.workers.compiled import kernel

NOISE_ROWS = 4  # of the work space beyond the rows of a mask


@kernel
def _fill_zero(row):
    # A loop: numba's slice assignment compiles ten times longer.
    for i in range(row.size):
        row[i] = 0


@kernel
def _mark_bright(levels, out):
    for i in range(out.size):
        out[i] = np.uint8(levels[i] != 0)


@kernel
def _widen(before, here, after, out, distance):
    """Spread marks by one column on either side, and count up the distance of every pixel that has none yet."""
    for i in range(out.size):
        out[i] = before[i] | here[i] | after[i]
        distance[i] += np.uint8(1) - here[i]


@kernel
def _nearest_bright(row, x0, x1, radius, marks, spare, distance):
    """How many columns away the nearest bright level of a row is, radius + 1 if farther than radius."""
    width = row.size
    count = x1 - x0
    lo, hi = max(0, x0 - radius), min(width, x1 + radius)
    first = lo - (x0 - radius)
    size = count + 2 * radius
    _fill_zero(marks[: size + 2])
    _mark_bright(row[lo:hi], marks[1 + first : 1 + first + hi - lo])
    _fill_zero(spare[: size + 2])
    _fill_zero(distance[:size])
    current, other = marks, spare
    for _ in range(radius + 1):
        _widen(current[:size], current[1 : size + 1], current[2 : size + 2], other[1 : size + 1], distance[:size])
        current, other = other, current


@kernel
def _cover(distance, reach, covered):
    for i in range(covered.size):
        covered[i] |= np.uint8(distance[i] <= reach)


@kernel
def background_sums(levels, pixels, flip, y0, y1, x0, x1, reach, radius_x, work, sums, background):
    """Count, sum and sum of squares of the background pixels of a block, into sums[0:3].

    `reach` is the mask's half width by row. `work` is uint8 of len(reach) + NOISE_ROWS rows. Where `background` is not
    empty, it is a mask of the frame to be filled for this block.
    """
    height = levels.shape[0]
    rows = reach.size
    ry = rows // 2
    count = x1 - x0
    total, first, second = np.int64(0), np.int64(0), np.int64(0)
    marks, spare, covered = work[rows], work[rows + 1], work[rows + 2][:count]
    for y in range(y0 - ry, y1 + ry):
        if y >= 0 and y < height:
            _nearest_bright(levels[y], x0, x1, radius_x, marks, spare, work[(y + rows) % rows])
        centre = y - ry
        if centre < y0:
            continue
        _fill_zero(covered)
        for i in range(rows):
            source = centre + i - ry
            if source >= 0 and source < height:
                _cover(work[(source + rows) % rows][radius_x : radius_x + count], np.uint8(reach[i]), covered)
        raw = pixels[centre][x0:x1]
        for i in range(count):
            if covered[i] == 0:
                value = np.int64(raw[i])
                total += 1
                first += value
                second += value * value
        if background.size:
            for i in range(count):
                background[centre, x0 + i] = covered[i] == 0
    if flip:
        largest = np.int64(flip)
        second += total * largest * largest - 2 * largest * first
        first = total * largest - first
    sums[0] = total
    sums[1] = first
    sums[2] = second


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
