"""What the levels of a block are from afar: made in the same sweep that writes them, while they are in the cache.

- *marks*: a bit for each level that is not 0, 32 columns a word;
- *cells*: the largest level of every CELL x CELL;
- *cell sums*: their sum, of 16 bits without the lowest DROPPED, which would not fit on the way.

The search for maxima looks at cells, the noise at marks, and the refinement asks sums where there is too little to
walk: none of them reads all levels again. All lie on one grid for the whole frame, whatever the tiles.
"""

from __future__ import annotations

# mypy: allow-untyped-defs, allow-untyped-calls
import numpy as np

from engine.workers.compiled import kernel
from engine.workers.lanes import as_u16, larger, load, splat, store
from engine.workers.lanes_across import bits, count_ones, largest_of_fours, sums_of_fours
from engine.workers.lanes_integer import down_by

CELL = 4
DROPPED = 2
WORD = 32  # columns of a word of marks
GRID_Y, GRID_X = CELL, 64  # blocks begin at multiples of so many rows and columns
SLACK = 64  # cells behind the end of a row that vectors may touch
SPARE_SUMS = 16  # behind the end of a row: zeros that a vector may touch


def fits(y0: int, x0: int) -> bool:
    """Whether a block that begins there may be summed up on its own."""
    return y0 % GRID_Y == 0 and x0 % GRID_X == 0


@kernel
def summarise(levels, y0, y1, x0, x1, marks, cells, cell_sums):
    """Fill in marks, cells and sums of a block that begins on the grid, and ends on it or with the frame.

    marks: uint32, a row for each of the frame. cells: of the levels' type. cell_sums: int32. Returns how many levels
    are not 0.
    """
    lit = np.uint64(0)
    dropped = np.uint16(DROPPED if levels.itemsize == 2 else 0)
    places, zero = splat(dropped, WORD), splat(levels.dtype.type(0), WORD)
    for top in range(y0, y1, CELL):
        row = top // CELL
        j = x0
        while j + WORD <= x1:
            most, added = zero, splat(np.uint16(0), WORD)
            for y in range(top, min(top + CELL, y1)):
                value = load(levels, y, j, WORD)
                here = bits(value != zero)
                lit += count_ones(here)
                marks[y, j // WORD] = np.uint32(here)
                most = larger(most, value)
                added += down_by(as_u16(value), places)
            store(cells, row, j // CELL, largest_of_fours(most))
            store(cell_sums, row, j // CELL, sums_of_fours(added))
            j += WORD
        if j < x1:
            lit += _summarise_rest(levels, top, min(top + CELL, y1), j, x1, marks, cells, cell_sums, dropped)
        if x1 == levels.shape[1]:
            store(cell_sums, row, (x1 + CELL - 1) // CELL, splat(np.int32(0), SPARE_SUMS))
    return np.int64(lit)


@kernel
def _summarise_rest(levels, y0, y1, x0, x1, marks, cells, cell_sums, dropped):
    """The same for the last columns of a frame, fewer than a word, of one row of cells."""
    lit = np.uint64(0)
    for y in range(y0, y1):
        word = np.uint32(0)
        for x in range(x0, x1):
            word |= np.uint32(levels[y, x] != 0) << np.uint32(x - x0)
        marks[y, x0 // WORD] = word
        lit += count_ones(np.uint64(word))
    for left in range(x0, x1, CELL):
        most, added = levels[y0, left], np.int32(0)
        for y in range(y0, y1):
            for x in range(left, min(left + CELL, x1)):
                most = max(most, levels[y, x])
                added += np.int32(np.uint16(levels[y, x]) >> dropped)
        cells[y0 // CELL, left // CELL] = most
        cell_sums[y0 // CELL, left // CELL] = added
    return lit
