"""Local maxima by cells: the same pixels as `engine.workers.maxima`, for windows that are large enough.

The largest level of every cell (engine.workers.overview) is known. As many *rings* of cells around one as lie within
the window of any of its pixels put most cells out at once; of the others the brightest pixel is compared with all cells
that its window touches, and only where one of these has more to offer with the pixels of the window themselves. The
cells decide nothing.
"""

from __future__ import annotations

# mypy: allow-untyped-defs, allow-untyped-calls
import numpy as np

from engine.workers.compiled import inlined, kernel
from engine.workers.lanes import larger, load, load_like, prefetch, splat, splat_like, store
from engine.workers.lanes_across import bits, trailing_zeros
from engine.workers.overview import CELL, SLACK

_TOUCHED = 8  # cells that are looked at together


def rings_of(window_yx: tuple[int, int]) -> tuple[int, int]:
    """Rings of cells that lie within the window of any pixel of a cell, in rows and in columns; with 0 there is no use
    in cells."""
    rows, columns = (((size - 1) // 2 + 1) // CELL - 1 for size in window_yx)
    return (max(rows, 0), max(columns, 0))


def line_of(columns: int, rings_x: int) -> int:
    """Cells of a row of work space for a block so wide."""
    return columns // CELL + 2 * rings_x + 2 * SLACK


@inlined
def _is_largest(levels, cells, y, x, value, window_y, window_x):
    """Whether no level in the window of a pixel is above its own: pixels are looked at where a cell has one."""
    height, width = levels.shape
    top, left = max(0, y - (window_y - 1) // 2), max(0, x - (window_x - 1) // 2)
    bottom, right = min(height, y + window_y // 2 + 1), min(width, x + window_x // 2 + 1)
    own = splat(levels.dtype.type(value), _TOUCHED)
    last_x = (right - 1) // CELL
    for start in range(left // CELL, last_x + 1, _TOUCHED):
        inside = (np.uint64(1) << np.uint64(min(last_x + 1 - start, _TOUCHED))) - np.uint64(1)
        for row in range(top // CELL, (bottom - 1) // CELL + 1):
            above = bits(load(cells, row, start, _TOUCHED) > own) & inside
            while above != 0:
                cx = start + np.int64(trailing_zeros(above))
                above &= above - np.uint64(1)
                for i in range(max(top, row * CELL), min(bottom, row * CELL + CELL)):
                    for j in range(max(left, cx * CELL), min(right, cx * CELL + CELL)):
                        if levels[i, j] > value:
                            return False
    return True


@kernel
def find_maxima(
    levels, cells, y0, y1, x0, x1, inner, window_y, window_x, limit, row_column, features, rings_y, rings_x, line, hits,
    candidates, told,
):  # fmt: skip
    """Find the maxima above `limit` of a block that lie in `inner` (y0, y1, x0, x1); return how many there are.

    Row and column of each go into features[n, row_column:row_column + 2], in raster order, as far as there is room.
    Into told go, on top of what is there: maxima passed over because they are not above `limit`; the smallest level of
    a maximum. Work space: `line`, one row of line_of(x1 - x0, rings_x) levels;
    `hits`, uint64, CELL rows of a bit for each column; `candidates`, int64, as many as there are cells in a row.
    """
    height, width = levels.shape
    lanes = 64 // levels.itemsize
    cells_y, cells_x = (height + CELL - 1) // CELL, (width + CELL - 1) // CELL
    first_x, last_x = x0 // CELL, (x1 + CELL - 1) // CELL
    begin, end = max(0, first_x - rings_x), min(cells_x, last_x + rings_x)
    words = (x1 - x0 + 63) // 64
    passed_over, found = 0, 0
    smallest = told[1]
    zero = splat_like(0, levels)
    for i in range(line.shape[1]):
        line[0, i] = 0
    for cy in range(y0 // CELL, (y1 + CELL - 1) // CELL):
        # Column c of the cells lies at c - first_x + rings_x of the line.
        shift = rings_x - first_x
        for j in range(begin, end, lanes):
            most = zero
            for row in range(max(0, cy - rings_y), min(cells_y, cy + rings_y + 1)):
                most = larger(most, load_like(cells, row, j, levels))
            store(line, 0, j + shift, most)
        for i in range(end + shift, last_x + rings_x + shift):
            line[0, i] = 0
        top, bottom = cy * CELL, min(cy * CELL + CELL, height)
        any_here, waiting = False, 0
        for j in range(first_x, last_x, lanes):
            beside = zero
            for i in range(j - first_x, j - first_x + 2 * rings_x + 1):
                beside = larger(beside, load_like(line, 0, i, levels))
            value = load_like(cells, cy, j, levels)
            here = bits((value == beside) & (value != zero))
            while here != 0:
                cx = j + np.int64(trailing_zeros(here))
                here &= here - np.uint64(1)
                if cx >= last_x:
                    break
                candidates[waiting] = cx
                waiting += 1
                for y in range(top, bottom):
                    prefetch(levels, y, cx * CELL)
        for n in range(waiting):
            cx = candidates[n]
            level = cells[cy, cx]
            own = splat(level, CELL)
            left, right = min(max(inner[2] - cx * CELL, 0), CELL), min(max(inner[3] - cx * CELL, 0), CELL)
            inside = ((np.uint64(1) << np.uint64(right)) - np.uint64(1)) & ~(
                (np.uint64(1) << np.uint64(left)) - np.uint64(1)
            )
            for y in range(max(top, inner[0]), min(bottom, inner[1])):
                equal = bits(load(levels, y, cx * CELL, CELL) == own) & inside
                while equal != 0:
                    x = cx * CELL + np.int64(trailing_zeros(equal))
                    equal &= equal - np.uint64(1)
                    if not _is_largest(levels, cells, y, x, level, window_y, window_x):
                        continue
                    if level <= limit:
                        passed_over += 1
                        continue
                    if not any_here:
                        for row in range(CELL):
                            for k in range(words):
                                hits[row, k] = 0
                        any_here = True
                    bit = x - x0
                    hits[y - top, bit >> 6] |= np.uint64(1) << np.uint64(bit & 63)
                    smallest = min(smallest, np.int64(level))
        if any_here:
            for y in range(top, bottom):
                for k in range(words):
                    word = hits[y - top, k]
                    while word != 0:
                        if found < features.shape[0]:
                            features[found, row_column] = y
                            features[found, row_column + 1] = x0 + 64 * k + np.int64(trailing_zeros(word))
                        found += 1
                        word &= word - np.uint64(1)
    told[0] += passed_over
    told[1] = smallest
    return found
