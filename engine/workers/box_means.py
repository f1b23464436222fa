"""Box means of a strip: over rows then over columns, each rounded down to an integer.

Sums of columns slide down row by row; sums of windows are differences of sums from the left. They are made in 16 bits,
32 at a time, as long as sums of columns fit: what does not is noticed, and made again in 32 bits, like all that follows
of the strip.

A *strip* lies in a ring of padded rows, whose last two are no part of it (engine.workers.bandpass).
"""

from __future__ import annotations

# mypy: allow-untyped-defs, allow-untyped-calls
from typing import NamedTuple, Self

import numpy as np

from engine.workers.compiled import inlined, kernel
from engine.workers.lanes import as_f32, as_f64, as_i32, as_u16, larger, load, splat, store
from engine.workers.lanes_across import last_in_all, most, moved_up
from engine.workers.lanes_integer import down_by, plus_at_most, upper_product

ROWS = 2  # of the work spaces `integers` and `narrow`
_SUMS, _FROM_LEFT = range(ROWS)
_FIRST = 32  # column in which the sums from the left begin, behind a vector of zeros


class Divisors(NamedTuple):
    """floor(sum / size) as (sum * factor >> 16) >> places, over rows (y) and over columns (x)."""

    factor_y: int
    places_y: int
    factor_x: int
    places_x: int
    largest_sum: int  # of a column, up to which both are exact

    @classmethod
    def of(cls, box_y: int, box_x: int) -> Self:
        """Granlund and Montgomery, PLDI 1994: sum times the factor's error, in units of 1 / size, has to stay below
        2^(16 + places)."""
        factor_y, places_y, largest_y = _divisor(box_y)
        factor_x, places_x, largest_x = _divisor(box_x)
        return cls(factor_y, places_y, factor_x, places_x, min(largest_y, largest_x * box_y // box_x))


def _divisor(size: int) -> tuple[int, int, int]:
    """Factor, places, and the largest sum for which they are exact; 65535 stands for sums that did not fit."""
    places = size.bit_length() - 1
    one = 1 << (16 + places)
    factor = min(-(-one // size), 65535)
    error = factor * size - one
    if error < 0:  # a size of 1 needs no division, and has no factor of 16 bits
        return factor, places, 0
    return factor, places, min(65534, (one - 1) // error) if error else 65534


@kernel
def start_sums(staged, y, height, radius, offset, count, integers, narrow):
    """Sums of columns over the rows around y - 1: the first slide brings them to y. Returns the largest."""
    wrap = staged.shape[0] - 2
    most_of_all = splat(np.int32(0), 16)
    for j in range(0, count, 16):
        total = splat(np.int32(0), 16)
        for dy in range(-radius - 1, radius):
            total += as_i32(load(staged, min(max(y + dy, 0), height - 1) & wrap, offset + j, 16))
        store(integers, _SUMS, j, total)
        store(narrow, _SUMS, j, as_u16(total))
        most_of_all = larger(most_of_all, total)
    return most(most_of_all)


@kernel
def narrow_means(staged, y0, y1, height, start, count, box_y, box_x, divisors, narrow, means):
    """Box means of rows y0 to y1 of a strip, in 16 bits. Returns the largest sum of a column: too large, and they are
    not to be used."""
    wrap = staged.shape[0] - 2
    ry = box_y // 2
    factor_y, places_y = splat(np.uint16(divisors.factor_y), 32), splat(np.uint16(divisors.places_y), 32)
    factor_x, places_x = splat(np.uint16(divisors.factor_x), 32), splat(np.uint16(divisors.places_x), 32)
    most_of_all = splat(np.uint16(0), 32)
    for y in range(y0, y1):
        entering, leaving = min(y + ry, height - 1) & wrap, max(y - 1 - ry, 0) & wrap
        so_far = splat(np.uint16(0), 32)
        for j in range(0, count + box_x - 1, 32):
            total = load(narrow, _SUMS, j, 32) - as_u16(load(staged, leaving, start + j, 32))
            total = plus_at_most(total, as_u16(load(staged, entering, start + j, 32)))
            store(narrow, _SUMS, j, total)
            most_of_all = larger(most_of_all, total)
            value = down_by(upper_product(total, factor_y), places_y)
            value += moved_up(value, 1)
            value += moved_up(value, 2)
            value += moved_up(value, 4)
            value += moved_up(value, 8)
            value += moved_up(value, 16)
            so_far = last_in_all(so_far) + value  # modulo 2^16, like the differences
            store(narrow, _FROM_LEFT, _FIRST + j, so_far)
        for j in range(0, count, 32):
            before = load(narrow, _FROM_LEFT, _FIRST - 1 + j, 32)
            total = load(narrow, _FROM_LEFT, _FIRST - 1 + j + box_x, 32) - before
            store(means, y - y0, j, down_by(upper_product(total, factor_x), places_x))
    return most(most_of_all)


@inlined
def _mean(total, inverse, exact_single):
    """floor(total / size): rounding errs by less than half of 1 / size, which is added (Band.exact_single)."""
    if exact_single:
        return as_i32((as_f32(total) + splat(np.float32(0.5), 16)) * splat(np.float32(inverse), 16))
    return as_i32((as_f64(total) + splat(0.5, 16)) * splat(inverse, 16))


@kernel
def wide_means(staged, y0, y1, height, start, count, box_y, box_x, exact_single, integers, means):
    """Box means of rows y0 to y1 of a strip, in 32 bits."""
    wrap = staged.shape[0] - 2
    ry = box_y // 2
    inverse_y, inverse_x = 1.0 / box_y, 1.0 / box_x
    for y in range(y0, y1):
        # Sums of columns move on by a row, and are divided; then they are added up from the left.
        entering, leaving = min(y + ry, height - 1) & wrap, max(y - 1 - ry, 0) & wrap
        so_far = splat(np.int32(0), 16)
        for j in range(0, count + box_x - 1, 16):
            entered, left = load(staged, entering, start + j, 16), load(staged, leaving, start + j, 16)
            total = load(integers, _SUMS, j, 16) + as_i32(entered) - as_i32(left)
            store(integers, _SUMS, j, total)
            value = _mean(total, inverse_y, exact_single)
            value += moved_up(value, 1)
            value += moved_up(value, 2)
            value += moved_up(value, 4)
            value += moved_up(value, 8)
            so_far = last_in_all(so_far) + value
            store(integers, _FROM_LEFT, _FIRST + j, so_far)
        for j in range(0, count, 16):
            before = load(integers, _FROM_LEFT, _FIRST - 1 + j, 16)
            total = load(integers, _FROM_LEFT, _FIRST - 1 + j + box_x, 16) - before
            store(means, y - y0, j, as_u16(_mean(total, inverse_x, exact_single)))
