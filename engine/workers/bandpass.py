"""Band-pass of integer frames: Gaussian low pass minus box mean, bit for bit that of `trackpy.bandpass`.

The *box mean* of a pixel is a mean over rows then over columns, each rounded down to an integer, the frame's edge
pixels repeated outside. The *low pass* is a Gaussian over rows then over columns, zero outside, added up from the
outermost tap inwards (scipy's order: another one rounds differently). The *levels* are `floor(scale * value)`, where
the scale makes the frame's largest value the largest of its type.

A block is swept in strips of columns that stay in the cache. Pixels are staged into a ring of padded rows; of every
few rows the Gaussian over rows is made first, column by column, even and odd columns apart, so that the Gaussian over
columns loads each number once for two of them; then the box means (engine.workers.box_means), and row by row the rest.
No float image is written to memory. The type of the taps decides the precision: float64 is trackpy's.
"""

from __future__ import annotations

# mypy: allow-untyped-defs, allow-untyped-calls
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from engine.workers import box_means
from engine.workers.box_means import Divisors, narrow_means, start_sums, wide_means
from engine.workers.compiled import kernel
from engine.workers.lanes import (
    as_i32,
    larger,
    load,
    load_like,
    plus_product,
    prefetch,
    select,
    splat,
    splat_like,
    store,
)
from engine.workers.lanes_halves import half_as_floats, joined_halves, load_halves
from engine.workers.layout import aligned_zeros
from engine.workers.overview import summarise
from engine.workers.parameters import LocateParameters

STRIP = 2048  # columns that are swept at a time: what is needed of them stays in a cache of 1 MiB
_ROWS = 8  # that are made at a time, an even number: their Gaussian over rows, then their box means, then the rest
_SLACK = 64  # columns behind the end of a row that vectors may touch
_BRIGHTEST = 32 + 1


@dataclass(frozen=True)
class Band:
    """The filter of some parameters, and work space for blocks of any size. For one thread."""

    box: tuple[int, int]
    taps: tuple[NDArray[Any], NDArray[Any]]
    threshold: float
    exact_single: bool  # a box sum divided in float32 and rounded down is exact
    staged: NDArray[Any]
    vertical: NDArray[Any]  # a row of even columns and one of odd ones for each
    divisors: Divisors
    narrow: NDArray[np.uint16]
    integers: NDArray[np.int32]
    means: NDArray[np.uint16]
    spare: NDArray[Any]
    ends: NDArray[Any]  # a vector of 1, a vector of 0
    largest: NDArray[Any]
    brightest: NDArray[Any]  # a vector, and one for what is left of a row

    @classmethod
    def of(cls, parameters: LocateParameters) -> Self:
        kind: Any = np.float32 if parameters.precision == "single" else np.float64
        lanes = 64 // np.dtype(kind).itemsize
        taps = (parameters.taps[0].astype(kind), parameters.taps[1].astype(kind))
        box_y, box_x = parameters.smoothing_size
        largest = 255 if parameters.dtype == "uint8" else 65535
        reach = max(box_y // 2, box_x // 2, len(taps[0]) - 1, len(taps[1]) - 1)
        columns = STRIP + 2 * reach + 2 * _SLACK
        ring = 1
        while ring < _ROWS + 2 * reach + 2:
            ring *= 2
        return cls(
            box=(box_y, box_x),
            taps=taps,
            threshold=float(kind(max(parameters.threshold, 0.0))),  # as vectors compare with it
            exact_single=2 * largest * max(box_y, box_x) < 2**23,
            staged=aligned_zeros((ring + 1, columns), parameters.dtype),
            vertical=aligned_zeros((2 * _ROWS, columns // 2 + 1), kind),
            divisors=Divisors.of(box_y, box_x),
            narrow=aligned_zeros((box_means.ROWS, columns), np.uint16),
            integers=aligned_zeros((box_means.ROWS, columns), np.int32),
            means=aligned_zeros((_ROWS, columns), np.uint16),
            spare=aligned_zeros((1, _SLACK), parameters.level_dtype),
            ends=np.repeat([[1.0, 0.0]], lanes, axis=1).astype(kind),
            largest=aligned_zeros((1, lanes), kind),
            brightest=aligned_zeros((1, _BRIGHTEST), parameters.dtype),
        )

    def run(
        self,
        pixels: NDArray[Any],
        flip: Any,
        blocks: NDArray[np.int64],
        scale: float,
        levels: NDArray[Any],
        overview: tuple[NDArray[np.uint32], NDArray[Any], NDArray[np.int32]],
    ) -> tuple[float, int, int]:
        """Sweep blocks of a frame (see `sweep`); `overview` is marks, cells and their sums."""
        offset = 0
        if self.taps[0].dtype == np.float32:
            # Of a few pixels of the frame, whatever the block.
            height, width = pixels.shape
            few = np.sort(pixels[:: height // 16 + 1, :: width // 16 + 1] ^ flip, axis=None)
            offset = int(few[few.size // 2])
        largest, brightest, lit = sweep(
            pixels, flip, blocks, *self.box, *self.taps, self.threshold, scale, self.exact_single, levels,
            self.staged, self.vertical, self.divisors, self.narrow, self.integers, self.means, self.spare, self.ends,
            self.largest, offset, self.brightest, *overview,
        )  # fmt: skip
        return largest, brightest, lit


# Kernels below work on blocks of rows: passing an array to a function costs two atomic counts of its references, too
# much for a call a row or a vector. Helpers for a vector take vectors and numbers alone.


@kernel
def _stage_rows(pixels, flip, y0, y1, x0, count, staged, brightest):
    """Copy rows y0 to y1, columns x0 to x0 + count, into the ring; the frame's edge pixels repeated outside of it.

    Updates the largest pixel in each lane, as the camera sent it.
    """
    width = pixels.shape[1]
    wrap = staged.shape[0] - 2
    lo, hi = max(x0, 0), min(x0 + count, width)
    mask, most = splat(flip, 32), load(brightest, 0, 0, 32)
    for y in range(y0, y1):
        slot = y & wrap
        x = lo
        while x + 32 <= hi:
            value = load(pixels, y, x, 32)
            most = larger(most, value)
            store(staged, slot, x - x0, value ^ mask)
            x += 32
        for i in range(x, hi):
            brightest[0, 32] = max(brightest[0, 32], pixels[y, i])
            staged[slot, i - x0] = pixels[y, i] ^ flip
        for i in range(x0, lo):
            staged[slot, i - x0] = pixels[y, lo] ^ flip
        for i in range(hi, x0 + count):
            staged[slot, i - x0] = pixels[y, hi - 1] ^ flip
    store(brightest, 0, 0, most)


@kernel
def _low_pass_rows(staged, y0, y1, height, start, count, taps, vertical, lanes, offset):
    """Gaussian over rows, for rows y0 to y1 of the strip.

    Column j of the result is that at start + j of the ring, and lies at j // 2 of its row of even or of odd columns.
    The last row of `staged` is all zero and stands for rows outside the frame.
    """
    nothing = staged.shape[0] - 1
    wrap = nothing - 1
    reach = taps.size - 1
    w0 = splat_like(taps[0], taps)
    w1 = w2 = w3 = w4 = w0
    if reach == 4:
        w1, w2 = splat_like(taps[1], taps), splat_like(taps[2], taps)
        w3, w4 = splat_like(taps[3], taps), splat_like(taps[4], taps)
    for n in range(0, count, 2 * lanes):
        at, j = start + n, n // 2
        for odd in range(2):
            if reach == 4:
                row = y0 - 4 & wrap if y0 >= 4 else nothing
                a = half_as_floats(load_halves(staged, row, at, taps), odd, offset, taps)
                row = y0 - 3 & wrap if y0 >= 3 else nothing
                b = half_as_floats(load_halves(staged, row, at, taps), odd, offset, taps)
                row = y0 - 2 & wrap if y0 >= 2 else nothing
                c = half_as_floats(load_halves(staged, row, at, taps), odd, offset, taps)
                row = y0 - 1 & wrap if y0 >= 1 else nothing
                d = half_as_floats(load_halves(staged, row, at, taps), odd, offset, taps)
                e = half_as_floats(load_halves(staged, y0 & wrap, at, taps), odd, offset, taps)
                row = y0 + 1 & wrap if y0 + 1 < height else nothing
                f = half_as_floats(load_halves(staged, row, at, taps), odd, offset, taps)
                row = y0 + 2 & wrap if y0 + 2 < height else nothing
                g = half_as_floats(load_halves(staged, row, at, taps), odd, offset, taps)
                row = y0 + 3 & wrap if y0 + 3 < height else nothing
                h = half_as_floats(load_halves(staged, row, at, taps), odd, offset, taps)
                for y in range(y0, y1, 2):  # two rows at a time: there is room for one too many
                    below, next_below = y + 4, y + 5
                    below = below & wrap if below < height else nothing
                    next_below = next_below & wrap if next_below < height else nothing
                    i = half_as_floats(load_halves(staged, below, at, taps), odd, offset, taps)
                    k = half_as_floats(load_halves(staged, next_below, at, taps), odd, offset, taps)
                    value = e * w0
                    value = plus_product(value, a + i, w4)
                    value = plus_product(value, b + h, w3)
                    value = plus_product(value, c + g, w2)
                    value = plus_product(value, d + f, w1)
                    store(vertical, 2 * (y - y0) + odd, j, value)
                    value = f * w0
                    value = plus_product(value, b + k, w4)
                    value = plus_product(value, c + i, w3)
                    value = plus_product(value, d + h, w2)
                    value = plus_product(value, e + g, w1)
                    store(vertical, 2 * (y - y0) + 2 + odd, j, value)
                    a, b, c, d, e, f, g, h = c, d, e, f, g, h, i, k
            else:
                for y in range(y0, y1):
                    value = half_as_floats(load_halves(staged, y & wrap, at, taps), odd, offset, taps) * w0
                    for step in range(reach, 0, -1):
                        above = y - step & wrap if y >= step else nothing
                        below = y + step & wrap if y + step < height else nothing
                        one = half_as_floats(load_halves(staged, above, at, taps), odd, offset, taps)
                        other = half_as_floats(load_halves(staged, below, at, taps), odd, offset, taps)
                        value = plus_product(value, one + other, splat_like(taps[step], taps))
                    store(vertical, 2 * (y - y0) + odd, j, value)


@kernel
def _clear_outside(vertical, rows, x, count, width, nothing):
    """Columns outside the frame are 0 for the Gaussian."""
    left, right = min(max(-x, 0), count), min(max(width - x, 0), count)
    for r in range(rows):
        for j in range(left):
            vertical[2 * r + j % 2, j // 2] = nothing
        for j in range(right, count):
            vertical[2 * r + j % 2, j // 2] = nothing


@kernel
def _finish_rows(
    vertical, means, y0, y1, height, taps, threshold, scale, count, largest, out, x0, spare, ends, lanes, offset,
    pixels, next_y, next_x, next_count,
):  # fmt: skip
    """Rows y0 to y1 of a strip: Gaussian over columns, and what is left of it without the box means.

    Updates the largest value in each lane, which may be below the threshold. Unless the scale is 0, writes the levels.
    Rows of pixels from `next_y` on are asked for.
    """
    reach = taps.size - 1
    limit, zero, factor = splat_like(threshold, taps), splat_like(0.0, taps), splat_like(scale, taps)
    w0 = splat_like(taps[0], taps)
    w1 = w2 = w3 = w4 = w0
    if reach == 4:
        w1, w2 = splat_like(taps[1], taps), splat_like(taps[2], taps)
        w3, w4 = splat_like(taps[3], taps), splat_like(taps[4], taps)
    biggest = load_like(largest, 0, 0, taps)
    for y in range(y0, y1):
        if next_y + y - y0 < height:
            for x in range(next_x, next_x + next_count, 64 // pixels.itemsize):
                prefetch(pixels, next_y + y - y0, x)
        even_row = 2 * (y - y0)
        odd_row = even_row + 1
        for n in range(0, count, 2 * lanes):
            j = n // 2
            if reach == 4:
                a, b = load_like(vertical, even_row, j, taps), load_like(vertical, odd_row, j, taps)
                c, d = load_like(vertical, even_row, j + 1, taps), load_like(vertical, odd_row, j + 1, taps)
                e, f = load_like(vertical, even_row, j + 2, taps), load_like(vertical, odd_row, j + 2, taps)
                g, h = load_like(vertical, even_row, j + 3, taps), load_like(vertical, odd_row, j + 3, taps)
                i, k = load_like(vertical, even_row, j + 4, taps), load_like(vertical, odd_row, j + 4, taps)
                even = e * w0
                even = plus_product(even, a + i, w4)
                even = plus_product(even, b + h, w3)
                even = plus_product(even, c + g, w2)
                even = plus_product(even, d + f, w1)
                odd = f * w0
                odd = plus_product(odd, b + k, w4)
                odd = plus_product(odd, c + i, w3)
                odd = plus_product(odd, d + h, w2)
                odd = plus_product(odd, e + g, w1)
            else:
                even = load_like(vertical, even_row + reach % 2, j + reach // 2, taps) * w0
                odd = load_like(vertical, even_row + (reach + 1) % 2, j + (reach + 1) // 2, taps) * w0
                for step in range(reach, 0, -1):
                    weight = splat_like(taps[step], taps)
                    low, high = reach - step, reach + step
                    before = load_like(vertical, even_row + low % 2, j + low // 2, taps)
                    after = load_like(vertical, even_row + high % 2, j + high // 2, taps)
                    even = plus_product(even, before + after, weight)
                    low, high = low + 1, high + 1
                    before = load_like(vertical, even_row + low % 2, j + low // 2, taps)
                    after = load_like(vertical, even_row + high % 2, j + high // 2, taps)
                    odd = plus_product(odd, before + after, weight)
            mean = load_halves(means, y - y0, n, taps)
            even -= half_as_floats(mean, 0, offset, taps)
            odd -= half_as_floats(mean, 1, offset, taps)
            inside = count - n
            if inside < 2 * lanes:  # what lies behind the end of the block is no part of it
                even *= load_like(ends, 0, lanes - (inside + 1) // 2, taps)
                odd *= load_like(ends, 0, lanes - inside // 2, taps)
            biggest = larger(larger(biggest, even), odd)
            if scale > 0:
                even = select(even >= limit, even * factor, zero)
                odd = select(odd >= limit, odd * factor, zero)
                value = joined_halves(as_i32(even), as_i32(odd), out)
                if inside >= 2 * lanes:
                    store(out, y, x0 + n, value)
                else:
                    store(spare, 0, 0, value)
                    for one in range(inside):
                        out[y, x0 + n + one] = spare[0, one]
    store(largest, 0, 0, biggest)


@kernel
def sweep(
    pixels, flip, blocks, box_y, box_x, taps_y, taps_x, threshold, scale, exact_single, levels, staged,
    vertical, divisors, narrow, integers, means, spare, ends, largest, offset, brightest, marks, cells,
    cell_sums,
):  # fmt: skip
    """Band-pass blocks (y0, y1, x0, x1) of a frame; return the largest value, and the largest pixel in or beside them.

    Unless the scale is 0, the levels of the blocks are written, and, unless `marks` is empty, what
    `engine.workers.overview` says of them; the third that is returned is then how many levels are not 0.
    """
    height, width = pixels.shape
    lanes = ends.shape[1] // 2
    ry, rx = box_y // 2, box_x // 2
    reach_y, reach_x = taps_y.size - 1, taps_x.size - 1
    around_y, around_x = max(ry + 1, reach_y), max(rx, reach_x)
    nothing = -offset if taps_y.itemsize == 4 else 0  # what a pixel of 0 is to the Gaussian
    lit = 0
    for i in range(lanes):
        largest[0, i] = 0.0
    for i in range(_BRIGHTEST):
        brightest[0, i] = 0
    for n in range(blocks.shape[0]):
        y0, y1, x0, x1 = blocks[n, 0], blocks[n, 1], blocks[n, 2], blocks[n, 3]
        for x in range(x0, x1, STRIP):
            count = min(STRIP, x1 - x)
            next_y = max(0, y0 - around_y)  # row to be staged
            wide = False
            for y in range(y0, y1, _ROWS):
                end = min(y + _ROWS, y1)
                staged_y, next_y = next_y, min(end + around_y, height)
                _stage_rows(pixels, flip, staged_y, next_y, x - around_x, count + 2 * around_x, staged, brightest)
                _low_pass_rows(
                    staged, y, end, height, around_x - reach_x, count + 2 * reach_x, taps_y, vertical, lanes, offset
                )
                if x < reach_x or x + count + reach_x > width:
                    _clear_outside(vertical, end - y, x - reach_x, count + 2 * reach_x, width, nothing)
                if y == y0:
                    sum_of_column = start_sums(staged, y, height, ry, around_x - rx, count + 2 * rx, integers, narrow)
                    wide = sum_of_column > divisors.largest_sum
                if not wide:
                    sum_of_column = narrow_means(
                        staged, y, end, height, around_x - rx, count, box_y, box_x, divisors, narrow, means
                    )
                    if sum_of_column > divisors.largest_sum:
                        wide = True
                        start_sums(staged, y, height, ry, around_x - rx, count + 2 * rx, integers, narrow)
                if wide:
                    wide_means(
                        staged, y, end, height, around_x - rx, count, box_y, box_x, exact_single, integers, means
                    )
                _finish_rows(
                    vertical, means, y, end, height, taps_x, threshold, scale, count, largest, levels, x, spare, ends,
                    lanes, offset, pixels, next_y if scale > 0 else height, max(x - around_x, 0), count + 2 * around_x,
                )  # fmt: skip
                if scale > 0 and marks.size > 0:
                    lit += summarise(levels, y, end, x, x + count, marks, cells, cell_sums)
    peak = 0.0
    for i in range(lanes):
        peak = max(peak, np.float64(largest[0, i]))
    if peak < threshold:
        peak = 0.0
    pixel = np.int64(0)
    for i in range(_BRIGHTEST):
        pixel = max(pixel, np.int64(brightest[0, i]))
    return peak, pixel, lit
