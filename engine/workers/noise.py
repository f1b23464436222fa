"""Noise of a frame: mean and deviation of the raw pixels that lie farther than a mask from anything bright.

*Bright* is a level that is not 0, which the sweep has marked. A tile adds up its background pixels in integers, so
that the sums of all tiles are those of the frame (trackpy.uncertainty.measure_noise).

A row of bright marks is kept as bits, 64 columns a word, and spread step by step: after w steps a bit says that
something bright lies within w columns. A pixel is near something bright if, in any row of the mask around it, the bit
after as many steps as the mask is wide there is set.
"""

from __future__ import annotations

# mypy: allow-untyped-defs, allow-untyped-calls
import numpy as np
from numba.extending import register_jitable

from engine.workers.compiled import inlined, kernel
from engine.workers.lanes import load, splat, store
from engine.workers.lanes_across import bits, count_ones, trailing_zeros
from engine.workers.lanes_integer import down_by, up_by

WORD = 64  # columns
_VECTOR = 8  # words
_APART = 3  # rows of the mask


def ring_rows(radius_y: int) -> int:
    """Rows of marks that are kept at a time: a power of two, no less than the mask has."""
    return 1 << (2 * radius_y).bit_length()


def row_words(columns: int, radius_x: int) -> int:
    """Words of a row of marks: the columns, in whole vectors, and as many vectors on either side as the mask needs."""
    words = -(-columns // WORD) + 1  # a block may begin and end within a word
    beside: int = _beside(radius_x)
    return -(-words // _VECTOR) * _VECTOR + 2 * beside


@register_jitable
def _beside(radius_x):
    """Words before the first column of a block, and behind the last."""
    return -(-radius_x // (WORD * _VECTOR)) * _VECTOR


@kernel
def _copy_row(bright, y, first, words, width, out, slot):
    """Marks of row y, from word `first` on; outside the frame nothing is bright."""
    whole = width // WORD
    k = 0
    while k < words:
        at = first + k
        if at >= 0 and at + _VECTOR <= whole and k + _VECTOR <= words:
            store(out, slot, k, load(bright, y, at, 8))
            k += _VECTOR
            continue
        word = np.uint64(0)
        if at >= 0 and WORD * at < width:
            word = bright[y, at] & _columns(at, 0, width)
        out[slot, k] = word
        k += 1


@inlined
def _columns(word, x0, x1):
    """The bits of a word of marks that lie in columns x0 to x1."""
    inside = ~np.uint64(0)
    if WORD * word < x0:
        inside <<= np.uint64(x0 - WORD * word)
    if WORD * (word + 1) > x1:
        inside &= (np.uint64(1) << np.uint64(x1 - WORD * word)) - np.uint64(1)
    return inside


@kernel
def _spread(marks, first, steps, begin, end):
    """Spread the bits of row `first`, words `begin` to `end`, by one column more for each row that follows.

    All come from the first, not each from the one before: what was just written is slow to read across words.
    """
    for k in range(begin, end, _VECTOR):
        spread = load(marks, first, k, 8)
        for far in range(steps // WORD + 1):
            before, left = load(marks, first, k - far - 1, 8), load(marks, first, k - far, 8)
            right, behind = load(marks, first, k + far, 8), load(marks, first, k + far + 1, 8)
            for w in range(max(WORD * far, 1), min(WORD * (far + 1), steps + 1)):
                near = splat(np.uint64(w & 63), 8)
                spread |= up_by(left, near) | down_by(right, near)
                if w & 63 != 0:
                    rest = splat(np.uint64(64 - (w & 63)), 8)
                    spread |= down_by(before, rest) | up_by(behind, rest)
                store(marks, first + w, k, spread)


@kernel
def background_sums(bright, pixels, flip, y0, y1, x0, x1, reach, radius_x, marks, near, sums, background):
    """Count, sum and sum of squares of the background pixels of a block, into sums[0:3].

    `bright` has a bit for each level of the frame that is not 0, uint64 (engine.workers.overview); `reach` is the
    mask's half width by row. Work space: `marks`, uint64, `ring_rows` x (radius_x + 1) rows of `row_words`; `near`, one
    such row. Where `background` is not empty, it is a mask of the frame to be filled for this block.
    """
    height, width = pixels.shape
    ry = reach.size // 2
    begin = _beside(radius_x)
    end = begin + (x1 + WORD - 1) // WORD - x0 // WORD
    first_word = x0 // WORD - begin  # of the frame, which is word 0 here
    depth = radius_x + 1
    wrap = marks.shape[0] // depth - 1
    everywhere = splat(~np.uint64(0), 8)
    total, first, second = np.int64(0), np.int64(0), np.int64(0)
    for y in range(y0 - ry, y1 + ry):
        if y >= 0 and y < height:
            _copy_row(bright, y, first_word, end + begin, width, marks, (y & wrap) * depth)
            _spread(marks, (y & wrap) * depth, radius_x, begin, end)
        centre = y - ry
        if centre < y0:
            continue
        # Every third row of the mask covers nearly all there is; the others are asked for the words that are left.
        for k in range(begin, end, _VECTOR):
            covered = splat(np.uint64(0), 8)
            for i in range(ry % _APART, reach.size, _APART):
                row = centre - ry + i
                if row >= 0 and row < height:
                    covered |= load(marks, (row & wrap) * depth + reach[i], k, 8)
            left = bits(covered != everywhere)
            if left == 0:
                continue
            store(near, 0, k, covered)
            while left != 0:
                at = k + np.int64(trailing_zeros(left))
                left &= left - np.uint64(1)
                word = first_word + at
                if WORD * word >= x1:
                    break
                dark = ~near[0, at] & _columns(word, x0, x1)
                for row in range(max(0, centre - ry), min(height, centre + ry + 1)):
                    dark &= ~marks[(row & wrap) * depth + reach[row - centre + ry], at]
                    if dark == 0:
                        break
                total += np.int64(count_ones(dark))
                while dark != 0:
                    column = WORD * word + np.int64(trailing_zeros(dark))
                    dark &= dark - np.uint64(1)
                    value = np.int64(pixels[centre, column])
                    first += value
                    second += value * value
                    if background.size:
                        background[centre, column] = 1
    if flip:
        largest = np.int64(flip)
        second += total * largest * largest - 2 * largest * first
        first = total * largest - first
    sums[0] = total
    sums[1] = first
    sums[2] = second


def noise_of(total: int, first: int, second: int) -> tuple[float, float]:
    """Black level and noise from exact sums; NaN where there are too few pixels (trackpy's rule)."""
    if total == 0:
        return float("nan"), float("nan")
    mean = first / total
    if total == 1:
        return mean, float("nan")
    # Around the integer next to the mean all terms are small and exact.
    middle = round(mean)
    offset = first - total * middle
    spread = second - 2 * middle * first + total * middle * middle
    return mean, float(np.sqrt(max(0.0, (spread - offset * offset / total) / total)))
