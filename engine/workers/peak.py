"""A first guess at the largest band-passed value of a block, so that one pass over the frame is enough.

The scale of a frame needs its largest value, and the levels need the scale. Cells of 8 x 8 pixels are ranked by what
their brightest pixel is above the mean around them, and only the few best are band-passed. The pass that writes the
levels finds the true largest value as well; where it is another one, the levels are made once more. So the guess costs
time when it is wrong, and never changes an answer.
"""

from __future__ import annotations

# mypy: allow-untyped-defs, allow-untyped-calls
from engine.workers.compiled import kernel

CELL = 8
MARGIN = 2  # pixels around a cell that are band-passed too: noise may have shifted its brightest pixel
_CELLS_AT_LEAST = 4
_PIXELS_A_CELL = 1 << 16  # one more cell for so many pixels


def cells_of(height: int, width: int) -> int:
    """How many cells of a block are looked at."""
    return _CELLS_AT_LEAST + height * width // _PIXELS_A_CELL


@kernel
def _fill(row, value):
    for i in range(row.size):
        row[i] = value


@kernel
def _column_maxima_and_sums(row, flip, largest, sums):
    for i in range(row.size):
        value = row[i] ^ flip
        largest[i] = value if value > largest[i] else largest[i]
        sums[i] += value


@kernel
def _fold(columns, sums, count, largest_out, sums_out):
    """From columns to cells."""
    for cell in range((count + CELL - 1) // CELL):
        largest, total = columns[cell * CELL], sums[cell * CELL]
        for i in range(cell * CELL + 1, min(cell * CELL + CELL, count)):
            largest = max(largest, columns[i])
            total += sums[i]
        largest_out[cell] = largest
        sums_out[cell] = total


@kernel
def best_cells(pixels, flip, y0, y1, x0, x1, columns, column_sums, largest, sums, best, best_score):
    """Rank the cells of a block; `best` gets row and column of the first pixel of each, in no order.

    Work space: `columns` of the pixels' type and `column_sums`, uint32, a block's row long; `largest` and `sums`,
    int64, (cell rows, cell columns) of the block.
    """
    count = x1 - x0
    cells_y, cells_x = (y1 - y0 + CELL - 1) // CELL, (count + CELL - 1) // CELL
    for cy in range(cells_y):
        _fill(columns[:count], 0)
        _fill(column_sums[:count], 0)
        for y in range(y0 + cy * CELL, min(y0 + cy * CELL + CELL, y1)):
            _column_maxima_and_sums(pixels[y][x0:x1], flip, columns, column_sums)
        _fold(columns, column_sums, count, largest[cy], sums[cy])
    used, least = 0, 0
    for cy in range(cells_y):
        for cx in range(cells_x):
            around, cells = sums[cy, cx], 1
            for ny in range(max(cy - 1, 0), min(cy + 2, cells_y)):
                for nx in range(max(cx - 1, 0), min(cx + 2, cells_x)):
                    around += sums[ny, nx]
                    cells += 1
            # Eight times the excess of the brightest pixel, in integers; the cell itself counts twice.
            score = 8 * largest[cy, cx] - 8 * around // (cells * CELL * CELL)
            if used < best_score.size:
                slot = used
                used += 1
            elif score > best_score[least]:
                slot = least
            else:
                continue
            best[slot, 0], best[slot, 1] = y0 + cy * CELL, x0 + cx * CELL
            best_score[slot] = score
            if used == best_score.size:
                least = 0
                for i in range(1, used):
                    if best_score[i] < best_score[least]:
                        least = i
    return used
