"""Local maxima by cells: the same pixels as `engine.workers.maxima`, for windows that are large enough.

A *cell* is so small that two neighbouring ones lie within the window of any of their pixels. So a maximum is the
largest pixel of its own cell and of the eight around it. One pass folds a block into the largest pixel of each cell;
most cells are out at once by their neighbours, and only the brightest pixels of the others are compared with their
whole window. The cells decide nothing: they may lie anywhere, and a block's neighbours need not be seen.
"""

from __future__ import annotations

# mypy: allow-untyped-defs, allow-untyped-calls
import numpy as np

from engine.workers.compiled import inlined, kernel
from engine.workers.lanes import larger, load_like, splat_like, store
from engine.workers.lanes_across import bits, count_ones, trailing_zeros

SMALLEST = 3  # rows or columns of a cell; for smaller windows the dilation is faster
_SLACK = 160  # columns behind a row of work space that vectors may touch


def cell_of(window_yx: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of a cell for a window; below SMALLEST there is no use in cells."""
    height, width = (((size - 1) // 2 + 1) // 2 for size in window_yx)
    return (height, width)


def columns_of(columns: int) -> int:
    """Length of the rows of work space for a block so wide."""
    return columns + _SLACK


@kernel
def _fold(levels, y0, y1, x0, x1, cell_y, cell_x, first, last, line, largest, marks):
    """Largest level of every cell of a block, for the rows of cells from first to last; returns how many levels are
    not 0. In `largest` the cells of the block begin one row and one column later. Which levels are not 0 goes into
    row y - y0 of `marks`, a bit for each column from x0 on.
    """
    count = x1 - x0
    cells_x = (count + cell_x - 1) // cell_x
    lanes = 64 // levels.itemsize
    zero = splat_like(0, levels)
    bright = np.uint64(0)
    powers = 0
    while 2 << powers <= cell_x:
        powers += 1
    rest = cell_x - (1 << powers)
    for i in range(line.shape[1]):
        line[0, i] = 0
    for cell in range(first, last):
        top = y0 + cell * cell_y
        bottom = min(top + cell_y, y1)
        j = 0
        while j + lanes <= count:
            most = zero
            for y in range(top, bottom):
                value = load_like(levels, y, x0 + j, levels)
                here = bits(value != zero)
                bright += count_ones(here)
                if lanes == 64 or j & 63 == 0:
                    marks[y - y0, j >> 6] = here
                else:
                    marks[y - y0, j >> 6] |= here << np.uint64(j & 63)
                most = larger(most, value)
            store(line, 0, j, most)
            j += lanes
        for i in range(j, count):
            line[0, i] = 0
            for y in range(top, bottom):
                here = np.uint64(levels[y, x0 + i] != 0)
                bright += here
                if i & 63 == 0:
                    marks[y - y0, i >> 6] = here
                else:
                    marks[y - y0, i >> 6] |= here << np.uint64(i & 63)
                line[0, i] = max(line[0, i], levels[y, x0 + i])
        for i in range(count, count + cell_x):
            line[0, i] = 0
        # The largest of 2, 4, ... neighbours, in place: what is read lies at or behind what is written.
        for k in range(powers):
            for j in range(0, count, lanes):
                store(line, 0, j, larger(load_like(line, 0, j, levels), load_like(line, 0, j + (1 << k), levels)))
        if rest > 0:
            for j in range(0, count, lanes):
                store(line, 0, j, larger(load_like(line, 0, j, levels), load_like(line, 0, j + rest, levels)))
        largest[cell + 1, 0] = 0
        largest[cell + 1, cells_x + 1] = 0
        for cx in range(cells_x):
            largest[cell + 1, cx + 1] = line[0, cx * cell_x]
    return np.int64(bright)


@inlined
def _is_largest(levels, y, x, value, window_y, window_x):
    """Whether no level in the window of a pixel is above its own."""
    height, width = levels.shape
    top, left = max(0, y - (window_y - 1) // 2), max(0, x - (window_x - 1) // 2)
    bottom, right = min(height, y + window_y // 2 + 1), min(width, x + window_x // 2 + 1)
    lanes = 64 // levels.itemsize
    if width < lanes:
        for row in range(top, bottom):
            for i in range(left, right):
                if levels[row, i] > value:
                    return False
        return True
    own, everywhere = splat_like(value, levels), ~np.uint64(0) >> np.uint64(64 - lanes)
    for start in range(left, right, lanes):
        j = min(start, width - lanes)
        brightest = own
        for row in range(top, bottom):
            brightest = larger(brightest, load_like(levels, row, j, levels))
        before, behind = start - j, max(0, j + lanes - right)
        if bits(brightest > own) & (everywhere << np.uint64(before)) & (everywhere >> np.uint64(behind)) != 0:
            return False
    return True


@kernel
def find_maxima(
    levels, y0, y1, x0, x1, inner, window_y, window_x, limit, row_column, features, cell_y, cell_x, line, largest, hits,
    told, marks,
):  # fmt: skip
    """Find the maxima above `limit` of a block that lie in `inner` (y0, y1, x0, x1); return how many there are.

    Row and column of each go into features[n, row_column:row_column + 2], in raster order, as far as there is room.
    Into told go, on top of what is there: levels of the block that are not 0; maxima passed over because they are not
    above `limit`; the smallest level of a maximum. Work space: `line`, one row of columns_of(x1 - x0) levels;
    `largest`, levels, two more rows and columns than the block has cells; `hits`, uint64, a bit for each pixel of a
    row of cells. `marks` see `_fold`.
    """
    cells_y, cells_x = (y1 - y0 + cell_y - 1) // cell_y, (x1 - x0 + cell_x - 1) // cell_x
    words = (x1 - x0 + 63) // 64
    lanes, width = 64 // levels.itemsize, levels.shape[1]
    passed_over, found = 0, 0
    smallest = told[2]
    zero = splat_like(0, levels)
    bright, folded = np.int64(0), 0
    for i in range(cells_x + 2):
        largest[0, i] = 0
        largest[cells_y + 1, i] = 0
    # Windows reach so many rows of cells further down: these are still in the cache when they are compared.
    ahead = window_y // 2 // cell_y + 2
    for cy in range(1, cells_y + 1):
        last = min(cy + ahead, cells_y)
        bright += _fold(levels, y0, y1, x0, x1, cell_y, cell_x, folded, last, line, largest, marks)
        folded = last
        top = y0 + (cy - 1) * cell_y
        bottom = min(top + cell_y, y1)
        any_here = False
        for j in range(1, cells_x + 1, lanes):
            value = load_like(largest, cy, j, levels)
            beside = larger(load_like(largest, cy, j - 1, levels), load_like(largest, cy, j + 1, levels))
            for row in (cy - 1, cy + 1):
                beside = larger(beside, load_like(largest, row, j - 1, levels))
                beside = larger(beside, load_like(largest, row, j, levels))
                beside = larger(beside, load_like(largest, row, j + 1, levels))
            candidates = bits((value >= beside) & (value != zero))
            while candidates != 0:
                cx = j + np.int64(trailing_zeros(candidates))
                candidates &= candidates - np.uint64(1)
                if cx > cells_x:
                    break
                level = largest[cy, cx]
                left = max(x0 + (cx - 1) * cell_x, inner[2])
                right = min(x0 + cx * cell_x, inner[3])
                own = splat_like(level, levels)
                for start in range(left, right, lanes):
                    pixels = min(lanes, right - start)
                    at = min(start, max(width - lanes, 0))
                    within = ~np.uint64(0) >> np.uint64(64 - pixels)
                    together = 64 // pixels  # rows whose pixels are bits of one word
                    for first in range(max(top, inner[0]), min(bottom, inner[1]), together):
                        equal = np.uint64(0)
                        for y in range(first, min(first + together, bottom, inner[1])):
                            if width >= lanes:
                                here = bits(load_like(levels, y, at, levels) == own) >> np.uint64(start - at)
                            else:
                                here = np.uint64(0)
                                for i in range(pixels):
                                    here |= np.uint64(levels[y, start + i] == level) << np.uint64(i)
                            equal |= (here & within) << np.uint64((y - first) * pixels)
                        while equal != 0:
                            bit = np.int64(trailing_zeros(equal))
                            equal &= equal - np.uint64(1)
                            y, x = first + bit // pixels, start + bit % pixels
                            if not _is_largest(levels, y, x, level, window_y, window_x):
                                continue
                            if level <= limit:
                                passed_over += 1
                                continue
                            if not any_here:
                                for row in range(cell_y):
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
    told[0] += bright
    told[1] += passed_over
    told[2] = smallest
    return found
