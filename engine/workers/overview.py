"""What the levels of a block are from afar: made in the same sweep that writes them, while they are in the cache.

- *marks*: a bit for each level that is not 0, 32 columns a word;
- *cells*: the largest level of every CELL x CELL;
- *squares*: the sum of every SQUARE x SQUARE, of 16 bits without the lowest DROPPED, which would not fit on the way.

The search for maxima looks at cells, the noise at marks, and the refinement asks squares where there is too little to
walk: none of them reads all levels again. All lie on one grid for the whole frame, whatever the tiles.
"""

from __future__ import annotations

# mypy: allow-untyped-defs, allow-untyped-calls
import numpy as np

from engine.workers.compiled import kernel
from engine.workers.lanes import as_i32, as_u16, larger, load, splat, store
from engine.workers.lanes_across import bits, count_ones, largest_of_fours, total
from engine.workers.lanes_integer import down_by

CELL = 4
SQUARE = 8
DROPPED = 3
WORD = 32  # columns of a word of marks
GRID_Y, GRID_X = SQUARE, 64  # blocks begin at multiples of so many rows and columns
SLACK = 64  # cells behind the end of a row that vectors may touch


def fits(y0: int, x0: int) -> bool:
    """Whether a block that begins there may be summed up on its own."""
    return y0 % GRID_Y == 0 and x0 % GRID_X == 0


@kernel
def summarise(levels, y0, y1, x0, x1, marks, cells, squares, line):
    """Fill in marks, cells and squares of a block that begins on the grid, and ends on it or with the frame.

    marks: uint32, a row for each of the frame. cells: of the levels' type. squares: int32. `line` is work space, one
    row of uint16 as long as the block is wide. Returns how many levels are not 0.
    """
    lit = np.uint64(0)
    dropped = np.uint16(DROPPED if levels.itemsize == 2 else 0)
    places, zero = splat(dropped, WORD), splat(levels.dtype.type(0), WORD)
    for top in range(y0, y1, SQUARE):
        bottom = min(top + SQUARE, y1)
        j = x0
        while j + WORD <= x1:
            added = splat(np.uint16(0), WORD)
            for first in range(top, bottom, CELL):
                most = zero
                for y in range(first, min(first + CELL, bottom)):
                    value = load(levels, y, j, WORD)
                    here = bits(value != zero)
                    lit += count_ones(here)
                    marks[y, j // WORD] = np.uint32(here)
                    most = larger(most, value)
                    added += down_by(as_u16(value), places)
                store(cells, first // CELL, j // CELL, largest_of_fours(most))
            store(line, 0, j - x0, added)
            j += WORD
        if j < x1:
            lit += _summarise_rest(levels, top, bottom, j, x1, marks, cells, line, j - x0, dropped)
        for i in range(0, x1 - x0, SQUARE):
            squares[top // SQUARE, (x0 + i) // SQUARE] = total(as_i32(load(line, 0, i, SQUARE)))
    return np.int64(lit)


@kernel
def _summarise_rest(levels, y0, y1, x0, x1, marks, cells, line, at, dropped):
    """The same for the last columns of a frame, fewer than a word, up to the sums of columns."""
    lit = np.uint64(0)
    for y in range(y0, y1):
        word = np.uint32(0)
        for x in range(x0, x1):
            word |= np.uint32(levels[y, x] != 0) << np.uint32(x - x0)
        marks[y, x0 // WORD] = word
        lit += count_ones(np.uint64(word))
    for first in range(y0, y1, CELL):
        for left in range(x0, x1, CELL):
            most = levels[first, left]
            for y in range(first, min(first + CELL, y1)):
                for x in range(left, min(left + CELL, x1)):
                    most = max(most, levels[y, x])
            cells[first // CELL, left // CELL] = most
    for i in range((x1 - x0 + SQUARE - 1) // SQUARE * SQUARE):
        one = np.uint16(0)
        for y in range(y0, y1 if x0 + i < x1 else y0):
            one += np.uint16(levels[y, x0 + i]) >> dropped
        line[0, at + i] = one
    return lit
