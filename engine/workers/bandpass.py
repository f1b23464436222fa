"""Band-pass of integer frames: Gaussian low pass minus box mean, bit for bit that of `trackpy.bandpass`.

For every row of a block: the *box mean* is a mean over rows then over columns, each rounded down to an integer, the
frame's edge pixels repeated outside; the *low pass* is a Gaussian over rows then over columns, zero outside, added up
from the outermost tap inwards (scipy's order: another one rounds differently). The *levels* are `floor(scale * value)`,
where the scale makes the frame's largest value the largest of its type.

Written for vector units: whole rows at a time in buffers that stay in the cache, nothing carried from pixel to pixel,
no float image in memory. Window sums come from sums of 1, 2, 4, 8, ... neighbours. The type of the work space and of
the taps decides the precision: float64 is trackpy's.
"""

from __future__ import annotations

# mypy: allow-untyped-defs, allow-untyped-calls
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from engine.workers.compiled import kernel
from engine.workers.layout import aligned_zeros
from engine.workers.parameters import LocateParameters

_RING = 16  # rows of pixels as floats, at least; a power of two
_POWERS = 12  # sums of 1, 2, 4, ... 2048 neighbours
_SUMS, _MEAN, _EXTRA = _POWERS, _POWERS + 1, _POWERS + 2  # rows of the integer work space behind them
_INTEGER_ROWS = _POWERS + 3
_VERTICAL, _LOW, LARGEST = 0, 1, 2  # rows of floats


@dataclass(frozen=True)
class Band:
    """What a sweep needs beside the pixels: the filter of some parameters, and work space for blocks of some width."""

    box: tuple[int, int]
    taps: tuple[NDArray[Any], NDArray[Any]]
    threshold: float
    exact_single: bool  # a box sum divided in float32 and rounded down is exact
    integers: NDArray[np.int32]
    ring: NDArray[Any]
    floats: NDArray[Any]

    @classmethod
    def of(cls, parameters: LocateParameters, width: int) -> Self:
        kind = np.float64
        taps = (parameters.taps[0].astype(kind), parameters.taps[1].astype(kind))
        box_y, box_x = parameters.smoothing_size
        largest = 255 if parameters.dtype == "uint8" else 65535
        columns = width + max(box_x, 2 * len(taps[1])) + 16
        ring = _RING
        while ring < 2 * len(taps[0]) - 1:
            ring *= 2
        return cls(
            box=(box_y, box_x),
            taps=taps,
            threshold=max(float(parameters.threshold), 0.0),
            exact_single=2 * largest * max(box_y, box_x) < 2**23,
            integers=aligned_zeros((_INTEGER_ROWS, columns), np.int32),
            ring=aligned_zeros((ring, columns), kind),
            floats=aligned_zeros((3, columns), kind),
        )


# --- helpers on rows -----------------------------------------------------------------------------------------------
# Loops, not slice assignments: those compile ten times longer. At most eight rows a loop that may overlap with what is
# written: beyond, LLVM gives up vectors.


@kernel
def _fill(row, value):
    for i in range(row.size):
        row[i] = value


@kernel
def _add_row(sums, row, flip):
    for i in range(sums.size):
        sums[i] += np.int32(row[i] ^ flip)


@kernel
def _slide_rows(sums, entering, leaving, flip):
    for i in range(sums.size):
        sums[i] += np.int32(entering[i] ^ flip) - np.int32(leaving[i] ^ flip)


@kernel
def _mean_single(sums, out, inverse):
    # floor(sum / size): rounding errs by less than half of 1 / size, which is added (Band.exact_single).
    for i in range(out.size):
        out[i] = np.int32((np.float32(sums[i]) + np.float32(0.5)) * inverse)


@kernel
def _mean_integer(sums, out, factor):
    # floor(sum / size) by a multiplication: exact while sum * size < 2**40, as 65535 * 4095**2 is.
    for i in range(out.size):
        out[i] = np.int32((np.uint64(np.uint32(sums[i])) * factor) >> np.uint64(40))


@kernel
def _mean(sums, out, size, exact_single):
    if exact_single:
        _mean_single(sums, out, np.float32(1.0) / np.float32(size))
    else:
        _mean_integer(sums, out, (np.uint64(1) << np.uint64(40)) // np.uint64(size) + np.uint64(1))


@kernel
def _add_shifted(values, ahead, out):
    for i in range(out.size):
        out[i] = values[i] + ahead[i]


@kernel
def _add_to(ahead, out):
    for i in range(out.size):
        out[i] += ahead[i]


@kernel
def _window_sums(powers, out, length):
    """Sums of `length` neighbours: out[i] = v[i] + ... + v[i + length - 1], where v is the first row of powers."""
    count = out.size
    done, k = 0, 0
    while True:
        power = 1 << k
        if length & power:
            if done == 0:
                first = k
                done = power
            elif first >= 0:
                _add_shifted(powers[first], powers[k][done:], out)
                first = -1
                done += power
            else:
                _add_to(powers[k][done:], out)
                done += power
        if done == length:
            break
        valid = count + length - 2 * power
        _add_shifted(powers[k], powers[k][power:], powers[k + 1][:valid])
        k += 1
    if first >= 0:
        for i in range(count):
            out[i] = powers[first][i]


@kernel
def _box_mean_row(pixels, flip, y, first, x0, x1, box, exact_single, integers):
    """Box mean of row y, columns x0 to x1, into integers[_MEAN]; the sums of columns slide along from row to row."""
    height, width = pixels.shape
    box_y, box_x = box
    ry, rx = box_y // 2, box_x // 2
    lo, hi = max(0, x0 - rx), min(width, x1 + rx)
    sums = integers[_SUMS][: hi - lo]
    if first:
        _fill(sums, 0)
        for dy in range(-ry, ry + 1):
            _add_row(sums, pixels[min(max(y + dy, 0), height - 1)][lo:hi], flip)
    else:
        _slide_rows(sums, pixels[min(y + ry, height - 1)][lo:hi], pixels[max(y - 1 - ry, 0)][lo:hi], flip)
    padded = integers[0]
    left = lo - (x0 - rx)
    right = left + hi - lo
    _mean(sums, padded[left:right], box_y, exact_single)
    _fill(padded[:left], padded[left])
    _fill(padded[right : x1 - x0 + 2 * rx], padded[right - 1])
    _window_sums(integers, integers[_EXTRA][: x1 - x0], box_x)
    _mean(integers[_EXTRA], integers[_MEAN][: x1 - x0], box_x, exact_single)


@kernel
def _to_floats(row, out, flip):
    for i in range(out.size):
        out[i] = np.int32(row[i] ^ flip)


@kernel
def _load_row(pixels, flip, y, x0, x1, reach, ring):
    """Row y as floats, columns x0 - reach to x1 + reach, zero outside the frame, into its place in the ring."""
    height, width = pixels.shape
    out = ring[y & (ring.shape[0] - 1)]
    if y < 0 or y >= height:
        _fill(out[: x1 - x0 + 2 * reach], 0.0)
        return
    lo, hi = max(0, x0 - reach), min(width, x1 + reach)
    left = lo - (x0 - reach)
    right = left + hi - lo
    _fill(out[:left], 0.0)
    _to_floats(pixels[y][lo:hi], out[left:right], flip)
    _fill(out[right : x1 - x0 + 2 * reach], 0.0)


@kernel
def _tap_centre(centre, out, weight):
    for i in range(out.size):
        out[i] = centre[i] * weight


@kernel
def _tap_centre_and_two(centre, weight, before, after, w1, before2, after2, w2, out):
    for i in range(out.size):
        value = centre[i] * weight
        value += (before[i] + after[i]) * w1
        value += (before2[i] + after2[i]) * w2
        out[i] = value


@kernel
def _tap_two(before, after, w1, before2, after2, w2, out):
    for i in range(out.size):
        value = out[i] + (before[i] + after[i]) * w1
        value += (before2[i] + after2[i]) * w2
        out[i] = value


@kernel
def _tap_one(before, after, weight, out):
    for i in range(out.size):
        out[i] += (before[i] + after[i]) * weight


@kernel
def _low_pass_rows(ring, y, taps, out):
    """Gaussian over the rows around y, from the ring."""
    wrap = ring.shape[0] - 1
    step = taps.size - 1
    if step >= 2:
        _tap_centre_and_two(
            ring[y & wrap], taps[0],
            ring[(y - step) & wrap], ring[(y + step) & wrap], taps[step],
            ring[(y - step + 1) & wrap], ring[(y + step - 1) & wrap], taps[step - 1], out,
        )  # fmt: skip
        step -= 2
    else:
        _tap_centre(ring[y & wrap], out, taps[0])
    while step >= 2:
        _tap_two(
            ring[(y - step) & wrap], ring[(y + step) & wrap], taps[step],
            ring[(y - step + 1) & wrap], ring[(y + step - 1) & wrap], taps[step - 1], out,
        )  # fmt: skip
        step -= 2
    if step == 1:
        _tap_one(ring[(y - 1) & wrap], ring[(y + 1) & wrap], taps[1], out)


@kernel
def _low_pass_columns(padded, taps, out):
    """Gaussian along a row that is padded by the reach of the taps on either side."""
    reach = taps.size - 1
    _tap_centre(padded[reach:], out, taps[0])
    for step in range(reach, 0, -1):
        _tap_one(padded[reach - step :], padded[reach + step :], taps[step], out)


@kernel
def _low_pass_nine(p, w0, w1, w2, w3, w4, out):
    """The same for the nine taps of a noise size of 1, in one go."""
    p1, p2, p3, p4, p5, p6, p7, p8 = p[1:], p[2:], p[3:], p[4:], p[5:], p[6:], p[7:], p[8:]
    for i in range(out.size):
        value = p4[i] * w0
        value += (p[i] + p8[i]) * w4
        value += (p1[i] + p7[i]) * w3
        value += (p2[i] + p6[i]) * w2
        value += (p3[i] + p5[i]) * w1
        out[i] = value


@kernel
def _keep_largest(low, mean, threshold, largest):
    for i in range(largest.size):
        value = low[i] - mean[i]
        value = value if value >= threshold else low.dtype.type(0.0)
        largest[i] = value if value > largest[i] else largest[i]


@kernel
def _quantise(low, mean, threshold, scale, largest, levels):
    for i in range(levels.size):
        value = low[i] - mean[i]
        value = value if value >= threshold else low.dtype.type(0.0)
        largest[i] = value if value > largest[i] else largest[i]
        levels[i] = np.int32(value * scale)


@kernel
def sweep(
    pixels, flip, y0, y1, x0, x1, box, taps_y, taps_x, threshold, scale, exact_single, levels, integers, ring, floats
):
    """Band-pass rows y0 to y1, columns x0 to x1 of a frame, one row after another; return the largest value.

    Unless the scale is 0, the levels of the block are written.
    """
    count = x1 - x0
    reach_y, reach_x = taps_y.size - 1, taps_x.size - 1
    kind = floats.dtype.type
    limit, factor = kind(threshold), kind(scale)
    vertical = floats[_VERTICAL][: count + 2 * reach_x]
    low, largest = floats[_LOW][:count], floats[LARGEST][:count]
    _fill(largest, 0.0)
    for y in range(y0 - reach_y, y0 + reach_y):
        _load_row(pixels, flip, y, x0, x1, reach_x, ring)
    for y in range(y0, y1):
        _load_row(pixels, flip, y + reach_y, x0, x1, reach_x, ring)
        _low_pass_rows(ring, y, taps_y, vertical)
        if reach_x == 4:
            _low_pass_nine(vertical, taps_x[0], taps_x[1], taps_x[2], taps_x[3], taps_x[4], low)
        else:
            _low_pass_columns(vertical, taps_x, low)
        _box_mean_row(pixels, flip, y, y == y0, x0, x1, box, exact_single, integers)
        if scale > 0:
            _quantise(low, integers[_MEAN], limit, factor, largest, levels[y][x0:x1])
        else:
            _keep_largest(low, integers[_MEAN], limit, largest)
    peak = 0.0
    for i in range(count):
        peak = max(peak, np.float64(largest[i]))
    return peak
