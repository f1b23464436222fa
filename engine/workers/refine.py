"""Refinement: from a local maximum to the centroid of the feature around it.

The mask's centre walks at most one pixel on each axis per step towards the centroid of what it covers, until the
centroid is nearer than 0.6 pixels on both. The result is the last centroid that was evaluated (trackpy.refine_com).
What is sure to stay too faint for `minmass` is left where it is: noise makes many maxima, and they walk the longest.
Levels and pixels of the next few features are fetched meanwhile, for their rows lie far from each other.

A row of the mask is read as whole vectors. Where one would reach beyond the frame's right edge it begins further left,
and the weights, which are zero on either side of the mask, are read with the same shift; they lie close together, or
their pages would be too many. Levels of 16 bits are taken less 32768, so that products with small weights are made and
added up in pairs by one instruction; over the mask, the weights of a position add up to 0 and those of the mass to its
pixels. All sums are of integers and exact, but for the two of the eccentricity, which are added up in lanes of fixed
order.
"""

from __future__ import annotations

# mypy: allow-untyped-defs, allow-untyped-calls
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.workers.compiled import inlined, kernel
from engine.workers.lanes import (
    as_elements_of,
    as_f64,
    as_i16,
    as_i32,
    as_i64,
    as_sums,
    larger,
    load,
    numbered,
    plus_fused,
    prefetch,
    select,
    splat,
    splat_of,
    zeros_of,
)
from engine.workers.lanes_across import bits, count_ones, masked_sums, most, pair_sums, total
from engine.workers.layout import zeros_on_a_line
from engine.workers.masks import Mask
from engine.workers.overview import CELL, DROPPED, SPARE_SUMS

SHIFT_THRESHOLD = 0.6
_LANES = 32
_INSIDE, _ROW, _COLUMN, _ROW_2, _COLUMN_2, _BOTH_2 = range(6)  # integers; the first is -1, all bits, inside
_COSINE, _SINE = range(2)  # floats
_AHEAD = 3  # features whose pixels are fetched before they are needed


class Refinement:
    """The weights of a mask, zero on either side. For one thread."""

    def __init__(self, mask: Mask, radius: tuple[int, int], shape_hw: tuple[int, int], dtypes: tuple[Any, Any]) -> None:
        columns = 2 * radius[1] + 1
        self.radius = radius
        self.vectors = -(-columns // _LANES)
        width = self.vectors * _LANES
        self.start = width  # column of the mask's first pixel in a row of weights
        y, x = np.mgrid[-radius[0] : radius[0] + 1, -radius[1] : radius[1] + 1]
        integers = (-np.ones_like(y), y, x, y**2, x**2, y**2 + x**2)
        self.integers = self._laid_out([weights * mask.inside for weights in integers], np.int16)
        floats = (mask.cosine, mask.sine)
        self.floats = self._laid_out([weights * mask.inside for weights in floats], np.float64)
        # A frame narrower than a row of vectors is copied into a wider one first.
        self.wide: tuple[NDArray[Any], NDArray[Any]] | None = None
        if shape_hw[1] < width:
            self.wide = (np.zeros((shape_hw[0], width), dtypes[0]), np.zeros((shape_hw[0], width), dtypes[1]))

    def _laid_out(self, weights: list[NDArray[Any]], dtype: Any) -> NDArray[Any]:
        rows, columns = weights[0].shape
        width = self.vectors * _LANES
        out = zeros_on_a_line((len(weights), rows, 3 * width), dtype)
        for k, values in enumerate(weights):
            out[k, :, width : width + columns] = values
        return out

    def run(
        self,
        levels: NDArray[Any],
        pixels: NDArray[Any],
        sensor: NDArray[Any],
        flip: Any,
        saturation: int,
        max_iterations: int,
        least_mass: float,
        cell_sums: NDArray[np.int32],
        features: NDArray[np.float64],
        count: int,
    ) -> None:
        """Fill the first `count` rows of features, whose maxima are known; saturated pixels are those of `sensor`.

        Those with no more than `least_mass` get their position and mass alone; not even these where `cell_sums`
        (see `engine.workers.overview`) are given and say that this is what they will have.
        """
        width = levels.shape[1]
        if self.wide is not None:
            self.wide[0][:, :width], self.wide[1][:, :width] = levels, pixels
            raw, sensor = sensor, self.wide[1].copy()
            sensor[:, :width] = raw
            levels, pixels = self.wide[0], self.wide[1].view()
            pixels.flags.writeable = sensor.flags.writeable = False
        refine(
            levels, pixels, sensor, width, int(flip), saturation, *self.radius, self.vectors, self.start, self.integers,
            self.floats, max_iterations, least_mass, cell_sums, features, count,
        )  # fmt: skip


@inlined
def _may_have(cell_sums, y, x, ry, rx, steps, dropped, mass):
    """Whether a mask may meet more than this anywhere on its way: the largest sum over the cells that it may touch."""
    rows = cell_sums.shape[0]
    down, across = (CELL - 1 + 2 * ry) // CELL + 1, (CELL - 1 + 2 * rx) // CELL + 1
    first_y, last_y = max(0, y - ry - steps) // CELL, min(max(0, y - ry + steps) // CELL, rows - 1)
    first_x, last_x = max(0, x - rx - steps) // CELL, max(0, x - rx + steps) // CELL
    end_x = min(first_x + across, cell_sums.shape[1] - SPARE_SUMS + 1)
    around = splat(np.int32(0), SPARE_SUMS)  # lane k: where the mask begins in cell first_x + k
    for i in range(first_y, min(first_y + down, rows)):
        for j in range(first_x, end_x):
            around += load(cell_sums, i, j, SPARE_SUMS)
    largest = around
    for above in range(first_y, last_y):
        for j in range(first_x, end_x):
            around -= load(cell_sums, above, j, SPARE_SUMS)
        if above + down < rows:
            for j in range(first_x, end_x):
                around += load(cell_sums, above + down, j, SPARE_SUMS)
        largest = larger(largest, around)
    largest = select(numbered(largest) <= splat(np.int32(last_x - first_x), SPARE_SUMS), largest, zeros_of(largest))
    rest = ((1 << dropped) - 1) * CELL * CELL * down * across  # what was dropped, at most
    return np.float64((np.int64(most(largest)) << dropped) + rest) > mass


@inlined
def _fetch_next(array, features, ahead, count, column, least_mass, ry, rx):
    """Ask for what lies around the next feature, from `ahead` on, with more mass than this; the one behind it.

    Its row and column are in features[n, column:column + 2].
    """
    while ahead < count:
        n = ahead
        ahead += 1
        if features[n, 2] > least_mass:
            left = np.int64(features[n, column + 1]) - rx
            for y in range(np.int64(features[n, column]) - ry, np.int64(features[n, column]) + ry + 1):
                prefetch(array, y, left)
                prefetch(array, y, left + 2 * rx)
            break
    return ahead


@kernel
def refine(
    levels, pixels, sensor, width, flip, saturation, ry, rx, vectors, start, integers, floats, max_iterations,
    least_mass, cell_sums, features, count,
):  # fmt: skip
    """Refine and characterise the first `count` features; `width` is the frame's, which its arrays may exceed."""
    height, rows = levels.shape[0], 2 * ry + 1
    last_x = levels.shape[1] - _LANES * vectors
    inside, row_of, column_of = integers[_INSIDE], integers[_ROW], integers[_COLUMN]
    row_2_of, column_2_of, both_2_of = integers[_ROW_2], integers[_COLUMN_2], integers[_BOTH_2]
    cosine_of, sine_of = floats[_COSINE], floats[_SINE]
    limit = splat_of(saturation, as_sums(load(pixels, 0, 0, 32)))
    # What masked_sums leaves out of integers, and their sign.
    middle_raw = np.float64(1 << 15 if pixels.itemsize == 2 else 0)
    sign_raw = 1.0 if pixels.itemsize > 2 else -1.0
    middle = 1 << 15 if levels.itemsize == 2 else 0
    sign = splat_of(middle, load(levels, 0, 0, 32))
    # Rows whose sums fit in 32 bits; the first, of all columns together.
    together = max(1, 65535 // (max(ry, rx, 1) * (2 * rx + 1)))
    together_2 = 32767 // max(ry, rx) ** 2
    covered, covered_y, covered_x = 0, 0, 0
    for i in range(rows):
        for j in range(start, start + 2 * rx + 1):
            covered -= inside[i, j]
            covered_y += row_2_of[i, j]
            covered_x += column_2_of[i, j]
    steps = max_iterations - 1
    dropped = DROPPED if levels.itemsize == 2 else 0
    all_around = (2 * ry + 2 * CELL) * (2 * rx + 2 * CELL) << (8 * levels.itemsize - dropped)  # has to fit in 32 bits
    sparing = cell_sums.size > 0 and 2 * steps // CELL + 2 <= SPARE_SUMS and all_around < 1 << 31
    for n in range(count):
        y, x = np.int64(features[n, 9]), np.int64(features[n, 10])
        walks = not sparing or _may_have(cell_sums, y, x, ry, rx, steps, dropped, least_mass)
        features[n, 0], features[n, 1], features[n, 2] = y, x, 1.0 if walks else 0.0
    ahead = 0
    for _ in range(_AHEAD):
        ahead = _fetch_next(levels, features, ahead, count, 9, 0.0, ry, rx)
    for n in range(count):
        if features[n, 2] == 0.0:
            continue
        ahead = _fetch_next(levels, features, ahead, count, 9, 0.0, ry, rx)
        y, x = np.int64(features[n, 9]), np.int64(features[n, 10])
        at_y, at_x = y, x
        centre_y = centre_x = 0.0
        mass = np.int64(0)
        for _ in range(max_iterations):
            at_y, at_x = y, x
            top, left = y - ry, min(x - rx, last_x)
            weight = start - (x - rx - left)
            mass, sum_y, sum_x = np.int64(middle * covered), np.int64(0), np.int64(0)
            for first in range(0, rows, together):
                for v in range(0, _LANES * vectors, 32):
                    masses, lines, moments = splat(np.int32(0), 16), splat(np.int32(0), 16), splat(np.int32(0), 16)
                    for i in range(first, min(first + together, rows)):
                        level = as_i16(load(levels, top + i, left + v, 32) ^ sign)
                        masses -= pair_sums(level, load(inside, i, weight + v, 32))
                        lines += pair_sums(level, load(row_of, i, weight + v, 32))
                        moments += pair_sums(level, load(column_of, i, weight + v, 32))
                    mass += np.int64(total(masses))
                    sum_y += np.int64(total(lines))
                    sum_x += np.int64(total(moments))
            in_mask_y, in_mask_x = np.float64(ry), np.float64(rx)
            if mass > 0:  # from the corner of the mask, as trackpy does: these quotients are rounded
                in_mask_y = np.float64(sum_y + ry * mass) / np.float64(mass)
                in_mask_x = np.float64(sum_x + rx * mass) / np.float64(mass)
            off_y, off_x = in_mask_y - ry, in_mask_x - rx
            centre_y, centre_x = off_y + y, off_x + x
            if abs(off_y) < SHIFT_THRESHOLD and abs(off_x) < SHIFT_THRESHOLD:
                break
            y += np.int64(off_y > SHIFT_THRESHOLD) - np.int64(off_y < -SHIFT_THRESHOLD)
            x += np.int64(off_x > SHIFT_THRESHOLD) - np.int64(off_x < -SHIFT_THRESHOLD)
            y = min(max(y, ry), height - ry - 1)
            x = min(max(x, rx), width - rx - 1)
        features[n, 0], features[n, 1], features[n, 2] = centre_y, centre_x, mass
        features[n, 3], features[n, 4] = at_y, at_x  # until they are needed
    # What is at the last place that was looked at. Vectors that lie behind the mask add nothing.
    ahead = 0
    for _ in range(_AHEAD):
        ahead = _fetch_next(pixels, features, ahead, count, 3, least_mass, ry, rx)
    for n in range(count):
        mass = features[n, 2]
        if mass <= least_mass:
            continue
        ahead = _fetch_next(pixels, features, ahead, count, 3, least_mass, ry, rx)
        at_y, at_x = np.int64(features[n, 3]), np.int64(features[n, 4])
        top, left = at_y - ry, min(at_x - rx, last_x)
        weight = start - (at_x - rx - left)
        used_columns = at_x + rx + 1 - left
        moment_y, moment_x = np.int64(middle * covered_y), np.int64(middle * covered_x)
        if ry == rx:
            moment_y += moment_x
        brightest = zeros_of(sign)
        for first in range(0, rows, together_2):
            for j in range(0, used_columns, 32):
                squares_y, squares_x = splat(np.int32(0), 16), splat(np.int32(0), 16)
                for i in range(first, min(first + together_2, rows)):
                    value = load(levels, top + i, left + j, 32)
                    brightest = larger(brightest, value & as_elements_of(load(inside, i, weight + j, 32), levels))
                    level = as_i16(value ^ sign)
                    if ry == rx:  # together they are enough
                        squares_y += pair_sums(level, load(both_2_of, i, weight + j, 32))
                    else:
                        squares_y += pair_sums(level, load(row_2_of, i, weight + j, 32))
                        squares_x += pair_sums(level, load(column_2_of, i, weight + j, 32))
                moment_y += total(as_i64(squares_y))
                moment_x += total(as_i64(squares_x))
        ecc_cosine = ecc_sine = 0.0
        for j in range(0, used_columns, 8):
            cosine, sine = splat(0.0, 8), splat(0.0, 8)
            for i in range(rows):
                value = as_f64(as_i32(load(levels, top + i, left + j, 8)))
                cosine = plus_fused(cosine, value, load(cosine_of, i, weight + j, 8))
                sine = plus_fused(sine, value, load(sine_of, i, weight + j, 8))
            ecc_cosine += total(cosine)
            ecc_sine += total(sine)
        raw = zeros_of(masked_sums(load(pixels, top, left, 32), load(inside, 0, 0, 32)))
        fullest = zeros_of(load(sensor, top, left, 32))
        for i in range(rows):
            for j in range(0, used_columns, 32):
                weights = load(inside, i, weight + j, 32)
                raw += masked_sums(load(pixels, top + i, left + j, 32), weights)
                value = load(sensor, top + i, left + j, 32)
                fullest = larger(fullest, select(weights != splat(np.int16(0), 32), value, zeros_of(value)))
        raw_mass = middle_raw * covered + sign_raw * total(as_f64(raw))
        full = np.uint64(0)
        if bits(as_sums(fullest) >= limit) != 0:
            for i in range(rows):
                for j in range(0, used_columns, 32):
                    within = load(inside, i, weight + j, 32) != splat(np.int16(0), 32)
                    full += count_ones(bits(within & (as_sums(load(sensor, top + i, left + j, 32)) >= limit)))
        if flip:
            raw_mass = np.float64(covered) * np.float64(flip) - raw_mass
        if ry == rx:
            features[n, 3] = np.sqrt(np.float64(moment_y) / mass)
            features[n, 4] = features[n, 3]
        else:
            features[n, 3] = np.sqrt(np.float64(2 * moment_y) / mass)
            features[n, 4] = np.sqrt(np.float64(2 * moment_x) / mass)
        centre = np.float64(levels[at_y, at_x])
        features[n, 5] = np.sqrt(ecc_cosine * ecc_cosine + ecc_sine * ecc_sine) / (mass - centre + 1e-6)
        features[n, 6], features[n, 7], features[n, 8] = most(brightest), raw_mass, full
