"""A first guess at the largest band-passed value of a block, so that one pass over the frame is enough.

The scale of a frame needs its largest value, and the levels need the scale. Cells of 8 x 8 pixels are ranked by what
their brightest pixel is above the mean around them, after smoothing (of many particles alike the one with the brightest
pixel is mostly not the one with the largest value), and only the few best are band-passed. The pass that writes the
levels finds the true largest value as well; where it is another one, the levels are made once more. So the guess costs
time when it is wrong, and never changes an answer.
"""

from __future__ import annotations

# mypy: allow-untyped-defs, allow-untyped-calls
import numpy as np

from engine.workers.compiled import inlined, kernel
from engine.workers.lanes import as_i32, larger, load, splat, store
from engine.workers.lanes_across import bits, even_lanes, most, odd_lanes, trailing_zeros
from engine.workers.lanes_integer import up_by

CELL = 8
_MARGIN = 2  # pixels around a cell that are band-passed too: noise may have shifted its brightest pixel
_CELLS_AT_LEAST = 4
_PIXELS_A_CELL = 1 << 16  # one more cell for so many pixels
_TOGETHER = 16  # cells of a row that are folded at once


def rows_apart(diameter_y: int) -> int:
    """Of so many rows one is looked at: a particle is seen in several all the same."""
    return 1 if diameter_y < 9 else 2 if diameter_y < 17 else 4


def row_of(columns: int) -> int:
    """Cells of a row of work space for a block so wide."""
    return -(-columns // (_TOGETHER * CELL)) * _TOGETHER


def cells_of(height: int, width: int) -> int:
    """How many cells of a block are looked at."""
    return _CELLS_AT_LEAST + height * width // _PIXELS_A_CELL


@inlined
def _largest_of_twos(one, other):
    return larger(even_lanes(one, other), odd_lanes(one, other))


@inlined
def _sums_of_twos(one, other):
    return even_lanes(one, other) + odd_lanes(one, other)


@kernel
def _fold_cells(pixels, flip, y0, y1, x0, x1, apart, rows, largest, sums):
    """Largest pixel and sum of every cell of a block, of rows so far `apart`.

    Work space of int32: two `rows` of row_of(x1 - x0) * CELL, and `largest` and `sums` of as many rows as there are
    cells, row_of(x1 - x0) long.
    """
    count = x1 - x0
    mask = splat(np.int32(flip), 16)
    for cell_y in range((y1 - y0 + CELL - 1) // CELL):
        top = y0 + cell_y * CELL
        bottom = min(top + CELL, y1)
        j = 0
        while j + 16 <= count:
            brightest, total = splat(np.int32(0), 16), splat(np.int32(0), 16)
            for y in range(top, bottom, apart):
                value = as_i32(load(pixels, y, x0 + j, 16)) ^ mask
                brightest = larger(brightest, value)
                total += value
            store(rows, 0, j, brightest)
            store(rows, 1, j, total)
            j += 16
        for i in range(j, count):
            rows[0, i] = 0
            rows[1, i] = 0
            for y in range(top, bottom, apart):
                level = np.int32(pixels[y, x0 + i] ^ flip)
                rows[0, i] = max(rows[0, i], level)
                rows[1, i] += level
        cells = (count + CELL * _TOGETHER - 1) // (CELL * _TOGETHER) * _TOGETHER
        for i in range(count, cells * CELL):
            rows[0, i] = 0
            rows[1, i] = 0
        for cell in range(0, cells, _TOGETHER):
            at = cell * CELL
            a = _largest_of_twos(load(rows, 0, at, 16), load(rows, 0, at + 16, 16))
            b = _largest_of_twos(load(rows, 0, at + 32, 16), load(rows, 0, at + 48, 16))
            c = _largest_of_twos(load(rows, 0, at + 64, 16), load(rows, 0, at + 80, 16))
            d = _largest_of_twos(load(rows, 0, at + 96, 16), load(rows, 0, at + 112, 16))
            store(largest, cell_y, cell, _largest_of_twos(_largest_of_twos(a, b), _largest_of_twos(c, d)))
            a = _sums_of_twos(load(rows, 1, at, 16), load(rows, 1, at + 16, 16))
            b = _sums_of_twos(load(rows, 1, at + 32, 16), load(rows, 1, at + 48, 16))
            c = _sums_of_twos(load(rows, 1, at + 64, 16), load(rows, 1, at + 80, 16))
            d = _sums_of_twos(load(rows, 1, at + 96, 16), load(rows, 1, at + 112, 16))
            store(sums, cell_y, cell, _sums_of_twos(_sums_of_twos(a, b), _sums_of_twos(c, d)))


@inlined
def _smoothed(pixels, mask, y, x):
    """Sixteen times the brightest pixel of a cell, smoothed with weights 1, 2, 1 in both directions."""
    double = splat(np.int32(1), CELL)
    most_of_all = above = here = splat(np.int32(0), CELL)
    for row in range(y - 1, y + CELL + 1):
        middle = as_i32(load(pixels, row, x, CELL)) ^ mask
        below = as_i32(load(pixels, row, x - 1, CELL)) ^ mask
        below += up_by(middle, double) + (as_i32(load(pixels, row, x + 1, CELL)) ^ mask)
        if row > y:
            most_of_all = larger(most_of_all, above + up_by(here, double) + below)
        above, here = here, below
    return np.int64(most(most_of_all))


@inlined
def _around(sums, cy, cx, cells_y, cells_x):
    """Sum of a cell and of those beside it, and how many there are."""
    around, cells = np.int64(0), 0
    for ny in range(max(cy - 1, 0), min(cy + 2, cells_y)):
        for nx in range(max(cx - 1, 0), min(cx + 2, cells_x)):
            around += sums[ny, nx]
            cells += 1
    return around, cells


@kernel
def best_cells(pixels, flip, y0, y1, x0, x1, apart, rows, largest, sums, best, scores):
    """Rank the cells of a block; `best` gets the blocks (y0, y1, x0, x1) around the most promising, in no order.

    Returns how many. Work space: see `_fold_cells`; `scores` as long as `best`.
    """
    _fold_cells(pixels, flip, y0, y1, x0, x1, apart, rows, largest, sums)
    cells_y, cells_x = (y1 - y0 + CELL - 1) // CELL, (x1 - x0 + CELL - 1) // CELL
    used, least = 0, 0
    floor = np.int64(0)
    mask = splat(np.int32(flip), CELL)
    with_neighbours = y1 - y0 >= CELL + 2 and x1 - x0 >= CELL + 2
    for cy in range(cells_y):
        for first in range(0, cells_x, _TOGETHER):
            here = np.uint64((1 << min(_TOGETHER, cells_x - first)) - 1)
            if used == scores.size:  # a score is hardly more than this
                here &= bits(load(largest, cy, first, 16) > splat(np.int32(floor >> 4), 16))
            while here != 0:
                cx = first + np.int64(trailing_zeros(here))
                here &= here - np.uint64(1)
                around, cells = _around(sums, cy, cx, cells_y, cells_x)
                y, x = y0 + cy * CELL, x0 + cx * CELL
                value = 16 * np.int64(largest[cy, cx])
                if with_neighbours:
                    inside_y = min(max(y, y0 + 1), y1 - CELL - 1)
                    value = _smoothed(pixels, mask, inside_y, min(max(x, x0 + 1), x1 - CELL - 1))
                score = value - 16 * around * apart // (cells * CELL * CELL)
                slot = least
                if used < scores.size:
                    slot = used
                    used += 1
                elif score <= floor:
                    continue
                best[slot, 0], best[slot, 1] = max(y0, y - _MARGIN), min(y1, y + CELL + _MARGIN)
                best[slot, 2], best[slot, 3] = max(x0, x - _MARGIN), min(x1, x + CELL + _MARGIN)
                scores[slot] = score
                if used == scores.size:
                    least = 0
                    for i in range(1, used):
                        if scores[i] < scores[least]:
                            least = i
                    floor = scores[least]
    return used
