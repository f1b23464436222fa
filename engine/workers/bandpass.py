"""Band-pass of integer frames: Gaussian low pass minus box mean, bit for bit that of `trackpy.bandpass`.

For every row of a block: the *box mean* is a mean over rows then over columns, each rounded down to an integer, the
frame's edge pixels repeated outside; the *low pass* is a Gaussian over rows then over columns in float64, zero outside,
added up from the outermost tap inwards (scipy's order: another one rounds differently). All work is done on whole rows
in buffers that stay in the cache; no float image is ever written to memory.

`peak` finds the largest value of a block. The *scale* of a frame makes its largest value the largest of the type;
`quantise` computes the block anew and writes the *levels*: `floor(scale * value)`.
"""

from __future__ import annotations

# mypy: allow-untyped-defs, allow-untyped-calls
import numpy as np

from engine.workers.compiled import kernel

COARSE_BINS = 256  # of the histogram of levels that every tile keeps
INTEGER_ROWS = 5  # rows of the integer work space that a sweep needs
FLOAT_ROWS = 3  # of the float one
COUNT_LANES = 4  # histograms side by side, so that equal neighbours need not wait for each other


def work_columns(tile_width: int, box: int, taps: int) -> int:
    """Columns that both work spaces of a sweep need."""
    return tile_width + max(box, 2 * taps) + 8


@kernel
def _fill(row, value):
    # A loop: numba's slice assignment compiles ten times longer.
    for i in range(row.size):
        row[i] = value


@kernel
def _add_rows(sums, row, flip):
    for i in range(sums.size):
        sums[i] += row[i] ^ flip


@kernel
def _slide_rows(sums, entering, leaving, flip):
    for i in range(sums.size):
        sums[i] += (entering[i] ^ flip) - (leaving[i] ^ flip)


@kernel
def _divide(sums, out, divisor):
    # floor(sum / divisor) by a multiplication: exact while sum * divisor < 2**40, as 65535 * 4095**2 is.
    factor = (np.uint64(1) << np.uint64(40)) // np.uint64(divisor) + np.uint64(1)
    for i in range(out.size):
        out[i] = (np.uint64(sums[i]) * factor) >> np.uint64(40)


@kernel
def _window_sums(values, spare, out, length):
    """Sums of `length` neighbours: out[i] = values[i] + ... + values[i + length - 1]. Destroys values and spare."""
    count = out.size
    current, other = values, spare
    valid = count + length - 1
    done = 0
    power = 1
    while True:
        if length & power:
            ahead = current[done:]
            if done == 0:
                for i in range(count):
                    out[i] = ahead[i]
            else:
                for i in range(count):
                    out[i] += ahead[i]
            done += power
        if done == length:
            return
        valid -= power
        ahead = current[power:]
        for i in range(valid):
            other[i] = current[i] + ahead[i]
        current, other = other, current
        power *= 2


@kernel
def _box_mean_row(pixels, flip, y, first, x0, x1, box_y, box_x, sums, integers):
    """Box mean of row y, columns x0 to x1, into integers[3]; `sums` slides along from row to row."""
    height, width = pixels.shape
    ry, rx = box_y // 2, box_x // 2
    lo, hi = max(0, x0 - rx), min(width, x1 + rx)
    columns = sums[: hi - lo]
    if first:
        _fill(columns, 0)
        for dy in range(-ry, ry + 1):
            _add_rows(columns, pixels[min(max(y + dy, 0), height - 1)][lo:hi], flip)
    else:
        _slide_rows(columns, pixels[min(y + ry, height - 1)][lo:hi], pixels[max(y - 1 - ry, 0)][lo:hi], flip)
    padded = integers[0]
    left = lo - (x0 - rx)
    right = left + hi - lo
    end = x1 - x0 + 2 * rx
    _divide(columns, padded[left:right], box_y)
    _fill(padded[:left], padded[left])
    _fill(padded[right:end], padded[right - 1])
    out = integers[3][: x1 - x0]
    _window_sums(padded, integers[1], integers[2][: x1 - x0], box_x)
    _divide(integers[2], out, box_x)


@kernel
def _scaled_row(row, out, weight, flip):
    for i in range(out.size):
        out[i] = np.float64(row[i] ^ flip) * weight


@kernel
def _add_scaled_row(row, out, weight, flip):
    for i in range(out.size):
        out[i] += np.float64(row[i] ^ flip) * weight


@kernel
def _add_scaled_pair(above, below, out, weight, flip):
    for i in range(out.size):
        out[i] += np.float64((above[i] ^ flip) + (below[i] ^ flip)) * weight


@kernel
def _low_pass_row(pixels, flip, y, x0, x1, taps_y, taps_x, floats):
    """Low pass of row y, columns x0 to x1, into floats[1]."""
    height, width = pixels.shape
    reach = taps_x.size - 1
    lo, hi = max(0, x0 - reach), min(width, x1 + reach)
    padded = floats[0]
    left = lo - (x0 - reach)
    right = left + hi - lo
    end = x1 - x0 + 2 * reach
    _fill(padded[:left], 0.0)
    _fill(padded[right:end], 0.0)
    vertical = padded[left:right]
    _scaled_row(pixels[y][lo:hi], vertical, taps_y[0], flip)
    for step in range(taps_y.size - 1, 0, -1):
        above, below = y - step, y + step
        if above >= 0 and below < height:
            _add_scaled_pair(pixels[above][lo:hi], pixels[below][lo:hi], vertical, taps_y[step], flip)
        elif above >= 0:
            _add_scaled_row(pixels[above][lo:hi], vertical, taps_y[step], flip)
        elif below < height:
            _add_scaled_row(pixels[below][lo:hi], vertical, taps_y[step], flip)
    count = x1 - x0
    out = floats[1][:count]
    centre = padded[reach:]
    for i in range(count):
        out[i] = centre[i] * taps_x[0]
    for step in range(reach, 0, -1):
        before, after, weight = padded[reach - step :], padded[reach + step :], taps_x[step]
        for i in range(count):
            out[i] += (before[i] + after[i]) * weight


@kernel
def _band_row(low, background, threshold):
    for i in range(low.size):
        value = low[i] - np.float64(background[i])
        low[i] = value if value >= threshold else 0.0


@kernel
def _quantise_row(band, levels, scale):
    for i in range(band.size):
        levels[i] = np.int32(scale * band[i])


@kernel
def _count_row(levels, counts):
    """Add a row to the histogram; return how many of its levels are not 0."""
    shift = np.uint8(8 * (levels.itemsize - 1))
    bright = 0
    for i in range(levels.size):
        counts[i & (COUNT_LANES - 1), levels[i] >> shift] += 1
        bright += levels[i] != 0
    return bright


@kernel
def _keep_largest(values, largest):
    for i in range(values.size):
        largest[i] = values[i] if values[i] > largest[i] else largest[i]


@kernel
def sweep(
    pixels, flip, y0, y1, x0, x1, box, taps_y, taps_x, threshold, scale, levels, coarse, integers, floats, counts
):
    """Band-pass rows y0 to y1, columns x0 to x1 of a frame, one row after another.

    With scale 0 only the largest value is found and returned. Else the levels of the block are written, `coarse`
    becomes the histogram of their upper eight bits (`counts` is its work space), and the number of levels that are
    not 0 is returned.
    """
    box_y, box_x = box
    count = x1 - x0
    low, largest = floats[1][:count], floats[2][:count]
    _fill(largest, 0.0)
    for lane in range(COUNT_LANES):
        _fill(counts[lane], 0)
    bright = 0
    for y in range(y0, y1):
        _box_mean_row(pixels, flip, y, y == y0, x0, x1, box_y, box_x, integers[4], integers)
        _low_pass_row(pixels, flip, y, x0, x1, taps_y, taps_x, floats)
        _band_row(low, integers[3], threshold)
        if scale > 0:
            row = levels[y][x0:x1]
            _quantise_row(low, row, scale)
            bright += _count_row(row, counts)
        else:
            _keep_largest(low, largest)
    if scale > 0:
        for i in range(COARSE_BINS):
            coarse[i] = counts[0, i] + counts[1, i] + counts[2, i] + counts[3, i]
        return np.float64(bright)
    peak = 0.0
    for i in range(count):
        peak = max(peak, largest[i])
    return peak
