"""Refinement: from a local maximum to the centroid of the feature around it.

The mask's centre walks at most one pixel on each axis per step towards the centroid of what it covers, until the
centroid is nearer than 0.6 pixels on both. The result is the last centroid that was evaluated (trackpy.refine_com).

A row of the mask is read as whole vectors. Where one would reach beyond the frame's right edge it begins further left,
and the weights, which are zero on either side of the mask, are read with the same shift. Sums over the rows of a column
come first: those of the levels, and, adding these up from row to row, those of the levels times their row. All sums are
of integers and exact, but for the two of the eccentricity, which are added up in lanes of fixed order.
"""

from __future__ import annotations

# mypy: allow-untyped-defs, allow-untyped-calls
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.workers.compiled import kernel
from engine.workers.lanes import (
    as_f64,
    as_i32,
    as_i64,
    as_sums,
    bits,
    count_ones,
    larger,
    load,
    most,
    select,
    splat,
    splat_of,
    total,
    zeros_of,
)
from engine.workers.layout import aligned_zeros
from engine.workers.masks import Mask

SHIFT_THRESHOLD = 0.6
_LANES = 16
_INSIDE, _COLUMN, _COLUMN_2 = range(3)  # integer weights, by row or for the columns
_COSINE, _SINE, _ROW_2 = range(3)  # the weights that are floats


class Refinement:
    """The weights of a mask, zero on either side. For one thread."""

    def __init__(self, mask: Mask, radius: tuple[int, int], shape_hw: tuple[int, int], dtypes: tuple[Any, Any]) -> None:
        columns = 2 * radius[1] + 1
        self.radius = radius
        self.vectors = -(-columns // _LANES)
        width = self.vectors * _LANES
        self.start = width  # column of the mask's first pixel in a row of weights
        y, x = np.mgrid[-radius[0] : radius[0] + 1, -radius[1] : radius[1] + 1]
        numbers = np.arange(columns)
        self.inside = self._laid_out([np.vstack([-mask.inside.astype(np.int64), numbers])], np.int32)[0]
        self.columns = aligned_zeros((2, self.inside.shape[1]), np.int64)
        self.columns[0, width : width + columns] = numbers
        self.columns[1, width : width + columns] = x[0] ** 2
        self.floats = self._laid_out([w * mask.inside for w in (mask.cosine, mask.sine, y**2)], np.float64)
        # A frame narrower than a row of vectors is copied into a wider one first.
        self.wide: tuple[NDArray[Any], NDArray[Any]] | None = None
        if shape_hw[1] < width:
            self.wide = (np.zeros((shape_hw[0], width), dtypes[0]), np.zeros((shape_hw[0], width), dtypes[1]))

    def _laid_out(self, weights: list[NDArray[Any]], dtype: Any) -> NDArray[Any]:
        rows, columns = weights[0].shape
        width = self.vectors * _LANES
        out = aligned_zeros((len(weights), rows, 3 * width), dtype)
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
        features: NDArray[np.float64],
        count: int,
    ) -> None:
        """Fill the first `count` rows of features, whose maxima are known; saturated pixels are those of `sensor`.

        Those with no more than `least_mass` get their position and mass alone.
        """
        width = levels.shape[1]
        if self.wide is not None:
            self.wide[0][:, :width], self.wide[1][:, :width] = levels, pixels
            raw, sensor = sensor, self.wide[1].copy()
            sensor[:, :width] = raw
            levels, pixels = self.wide[0], self.wide[1].view()
            pixels.flags.writeable = sensor.flags.writeable = False
        refine(
            levels, pixels, sensor, width, int(flip), saturation, *self.radius, self.vectors, self.start, self.inside,
            self.columns, self.floats, max_iterations, least_mass, features, count,
        )  # fmt: skip


@kernel
def refine(
    levels, pixels, sensor, width, flip, saturation, ry, rx, vectors, start, inside, columns, floats, max_iterations,
    least_mass, features, count,
):  # fmt: skip
    """Refine and characterise the first `count` features; `width` is the frame's, which its arrays may exceed."""
    height = levels.shape[0]
    last_x = levels.shape[1] - _LANES * vectors
    cosine_of, sine_of, row_2_of = floats[_COSINE], floats[_SINE], floats[_ROW_2]
    middle_row = 2 * ry + 1  # of `inside`: the columns' numbers
    limit = splat_of(saturation, as_sums(load(pixels, 0, 0, 16)))
    for n in range(count):
        y, x = np.int64(features[n, 9]), np.int64(features[n, 10])
        at_y, at_x = y, x
        centre_y = centre_x = 0.0
        mass = np.int64(0)
        for _ in range(max_iterations):
            at_y, at_x = y, x
            top, left = y - ry, min(x - rx, last_x)
            weight = start - (x - rx - left)
            mass, sum_y, sum_x = np.int64(0), np.int64(0), np.int64(0)
            if vectors <= 2:
                # Of so few columns all sums fit in 32 bits.
                masses, rows, moments = splat(np.int32(0), 16), splat(np.int32(0), 16), splat(np.int32(0), 16)
                for v in range(vectors):
                    column = splat(np.int32(0), 16)
                    for i in range(2 * ry, -1, -1):
                        column += as_i32(load(levels, top + i, left + 16 * v, 16)) & load(
                            inside, i, weight + 16 * v, 16
                        )
                        rows += column  # in the end: the level of row i, i + 1 times
                    masses += column
                    moments += column * load(inside, middle_row, weight + 16 * v, 16)
                mass, sum_y, sum_x = np.int64(total(masses)), np.int64(total(rows)), np.int64(total(moments))
            else:
                for v in range(vectors):
                    column, rows = splat(np.int32(0), 16), splat(np.int32(0), 16)
                    for i in range(2 * ry, -1, -1):
                        column += as_i32(load(levels, top + i, left + 16 * v, 16)) & load(
                            inside, i, weight + 16 * v, 16
                        )
                        rows += column
                    wide = as_i64(column)
                    mass += total(wide)
                    sum_y += total(as_i64(rows))
                    sum_x += total(wide * load(columns, 0, weight + 16 * v, 16))
            sum_y -= mass
            in_mask_y, in_mask_x = np.float64(ry), np.float64(rx)
            if mass > 0:
                in_mask_y, in_mask_x = np.float64(sum_y) / np.float64(mass), np.float64(sum_x) / np.float64(mass)
            off_y, off_x = in_mask_y - ry, in_mask_x - rx
            centre_y, centre_x = off_y + y, off_x + x
            if abs(off_y) < SHIFT_THRESHOLD and abs(off_x) < SHIFT_THRESHOLD:
                break
            y += np.int64(off_y > SHIFT_THRESHOLD) - np.int64(off_y < -SHIFT_THRESHOLD)
            x += np.int64(off_x > SHIFT_THRESHOLD) - np.int64(off_x < -SHIFT_THRESHOLD)
            y = min(max(y, ry), height - ry - 1)
            x = min(max(x, rx), width - rx - 1)
        features[n, 0], features[n, 1], features[n, 2] = centre_y, centre_x, mass
        if mass <= least_mass:
            continue
        # What is at the last place that was looked at.
        top, left = at_y - ry, min(at_x - rx, last_x)
        weight = start - (at_x - rx - left)
        # Vectors of eight that lie behind the mask add nothing.
        used_columns = at_x + rx + 1 - left
        square_x = np.int64(0)
        for v in range(vectors):
            column = splat(np.int32(0), 16)
            for i in range(2 * ry + 1):
                column += as_i32(load(levels, top + i, left + 16 * v, 16)) & load(inside, i, weight + 16 * v, 16)
            square_x += total(as_i64(column) * load(columns, 1, weight + 16 * v, 16))
        cosine, sine, square_y = splat(0.0, 8), splat(0.0, 8), splat(0.0, 8)
        for i in range(2 * ry + 1):
            for j in range(0, used_columns, 8):
                value = as_f64(as_i32(load(levels, top + i, left + j, 8)))
                cosine += value * load(cosine_of, i, weight + j, 8)
                sine += value * load(sine_of, i, weight + j, 8)
                square_y += value * load(row_2_of, i, weight + j, 8)
        brightest = splat(np.int32(0), 16)
        raw = zeros_of(as_sums(load(pixels, top, left, 16)))
        full, covered = np.uint64(0), np.uint64(0)
        for i in range(2 * ry + 1):
            for j in range(0, 16 * vectors, 16):
                mask = load(inside, i, weight + j, 16)
                brightest = larger(brightest, as_i32(load(levels, top + i, left + j, 16)) & mask)
                value = as_sums(load(pixels, top + i, left + j, 16))
                within = mask != splat(np.int32(0), 16)
                raw += select(within, value, zeros_of(value))
                full += count_ones(bits(within & (as_sums(load(sensor, top + i, left + j, 16)) >= limit)))
                covered += count_ones(bits(within))
        raw_mass = total(as_f64(raw))
        if flip:
            raw_mass = np.float64(covered) * np.float64(flip) - raw_mass
        ecc_cosine, ecc_sine, moment_y, moment_x = total(cosine), total(sine), total(square_y), np.float64(square_x)
        if ry == rx:
            features[n, 3] = np.sqrt((moment_y + moment_x) / np.float64(mass))
            features[n, 4] = features[n, 3]
        else:
            features[n, 3] = np.sqrt(2 * moment_y / np.float64(mass))
            features[n, 4] = np.sqrt(2 * moment_x / np.float64(mass))
        middle = np.float64(levels[at_y, at_x])
        features[n, 5] = np.sqrt(ecc_cosine * ecc_cosine + ecc_sine * ecc_sine) / (np.float64(mass) - middle + 1e-6)
        features[n, 6], features[n, 7], features[n, 8] = most(brightest), raw_mass, full
