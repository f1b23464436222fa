"""Refinement: from a local maximum to the centroid of the feature around it.

The mask's centre walks at most one pixel on each axis per step towards the centroid of what it covers, until the
centroid is nearer than 0.6 pixels on both. The result is the last centroid that was evaluated (trackpy.refine_com).

All sums are of integers and exact, but for the two of the eccentricity, which are added up column by column. A row of
the mask is widened to whole vectors of pixels, with weight 0 outside the mask; the kernels are compiled for that width.
Where such a row would reach beyond the end of the frame, the pixels are copied first.
"""

from __future__ import annotations

# mypy: allow-untyped-defs, allow-untyped-calls
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.workers.compiled import kernel
from engine.workers.layout import aligned_zeros
from engine.workers.masks import Mask

SHIFT_THRESHOLD = 0.6
_LANES = 8


class Refinement:
    """The weights of a mask, in rows of whole vectors, and the kernel for that width. For one thread."""

    def __init__(self, mask: Mask, radius: tuple[int, int], level_dtype: Any, pixel_dtype: Any) -> None:
        rows, columns = 2 * radius[0] + 1, 2 * radius[1] + 1
        width = -(-columns // _LANES) * _LANES
        y, x = np.mgrid[-radius[0] : radius[0] + 1, -radius[1] : radius[1] + 1]
        self.inside = aligned_zeros((rows, width), np.int32)
        self.weights = aligned_zeros((4, rows * width), np.float64)  # cos 2θ, sin 2θ, y², x²
        self.inside[:, :columns] = mask.inside
        for k, values in enumerate((mask.cosine, mask.sine, y**2, x**2)):
            weights = np.zeros((rows, width))
            weights[:, :columns] = values * mask.inside
            self.weights[k, : rows * width] = weights.ravel()
        self.sums = aligned_zeros((4, width), np.float64)
        self.patch = np.zeros(rows * width, level_dtype)
        self.raw_patch = np.zeros(rows * width, pixel_dtype)
        self.raw_patch_view = self.raw_patch.view()  # read only, like a frame
        self.raw_patch_view.flags.writeable = False
        self.radius = radius
        self._refine = _kernel(width, np.dtype(pixel_dtype).kind == "u")

    def run(
        self,
        levels: NDArray[Any],
        pixels: NDArray[Any],
        flip: Any,
        saturation: int,
        max_iterations: int,
        features: NDArray[np.float64],
        count: int,
    ) -> None:
        """Fill the first `count` rows of features, whose maxima are known."""
        self._refine(
            levels, levels.reshape(-1), pixels, pixels.reshape(-1), flip, saturation, *self.radius, self.inside,
            self.weights, self.sums, self.patch, self.raw_patch, self.raw_patch_view, max_iterations, features, count,
        )  # fmt: skip


@kernel
def _copy_patch(image, y, x, rows, columns, width, patch):
    for i in range(rows):
        for j in range(columns):
            patch[i * width + j] = image[y + i, x + j]


@lru_cache
def _kernel(width: int, integers: bool) -> Any:
    """The kernel for rows of `width` pixels: a constant, so that the loops over a row are straight vector code.

    Sums of one row stay below 2**31 up to parameters.LARGEST_DIAMETER.
    """

    @kernel
    def refine(
        levels, flat, pixels, raw_flat, flip, saturation, ry, rx, inside, weights, sums, patch, raw_patch,
        raw_patch_view, max_iterations, features, count,
    ):  # fmt: skip
        height, columns = levels.shape
        rows = 2 * ry + 1
        limit = np.int32(saturation)
        for n in range(count):
            y, x = np.int64(features[n, 9]), np.int64(features[n, 10])
            at_y, at_x = y, x
            centre_y = centre_x = 0.0
            mass = np.int64(0)
            for _ in range(max_iterations):
                at_y, at_x = y, x
                source, base, stride = flat, (y - ry) * columns + x - rx, columns
                if (y + ry) * columns + x - rx + width > flat.size:
                    _copy_patch(levels, y - ry, x - rx, rows, 2 * rx + 1, width, patch)
                    source, base, stride = patch, 0, width
                mass, sum_y, sum_x = np.int64(0), np.int64(0), np.int64(0)
                for i in range(rows):
                    row, weight = source[base + i * stride : base + i * stride + width], inside[i]
                    in_row, moment = np.int32(0), np.int32(0)
                    for j in range(width):
                        level = np.int32(np.int32(row[j]) * weight[j])
                        in_row = np.int32(in_row + level)
                        moment = np.int32(moment + np.int32(level * np.int32(j)))
                    mass += in_row
                    sum_x += moment
                    sum_y += i * np.int64(in_row)
                in_mask_y, in_mask_x = np.float64(ry), np.float64(rx)
                if mass > 0:
                    in_mask_y, in_mask_x = np.float64(sum_y) / np.float64(mass), np.float64(sum_x) / np.float64(mass)
                off_y, off_x = in_mask_y - ry, in_mask_x - rx
                centre_y, centre_x = off_y + y, off_x + x
                if abs(off_y) < SHIFT_THRESHOLD and abs(off_x) < SHIFT_THRESHOLD:
                    break
                y += (off_y > SHIFT_THRESHOLD) - np.int64(off_y < -SHIFT_THRESHOLD)
                x += (off_x > SHIFT_THRESHOLD) - np.int64(off_x < -SHIFT_THRESHOLD)
                y = min(max(y, ry), height - ry - 1)
                x = min(max(x, rx), columns - rx - 1)
            # What is at the last place that was looked at.
            source, base, stride = flat, (at_y - ry) * columns + at_x - rx, columns
            raw_source = raw_flat
            if (at_y + ry) * columns + at_x - rx + width > flat.size:
                _copy_patch(levels, at_y - ry, at_x - rx, rows, 2 * rx + 1, width, patch)
                _copy_patch(pixels, at_y - ry, at_x - rx, rows, 2 * rx + 1, width, raw_patch)
                source, base, stride = patch, 0, width
                raw_source = raw_patch_view
            ecc_cosine, ecc_sine, square_y, square_x = sums[0], sums[1], sums[2], sums[3]
            for j in range(width):
                ecc_cosine[j], ecc_sine[j], square_y[j], square_x[j] = 0.0, 0.0, 0.0, 0.0
            raw_mass, signal, saturated, covered = 0.0, np.int32(0), np.int64(0), np.int64(0)
            for i in range(rows):
                start, at = base + i * stride, i * width
                row, raw, weight = source[start : start + width], raw_source[start : start + width], inside[i]
                w_cosine, w_sine = weights[0][at : at + width], weights[1][at : at + width]
                w_y, w_x = weights[2][at : at + width], weights[3][at : at + width]
                for j in range(width):
                    bright = np.float64(np.int32(row[j]))
                    ecc_cosine[j] += bright * w_cosine[j]
                    ecc_sine[j] += bright * w_sine[j]
                    square_y[j] += bright * w_y[j]
                    square_x[j] += bright * w_x[j]
                for j in range(width):
                    signal = max(signal, np.int32(np.int32(row[j]) * weight[j]))
                if integers:
                    in_raw, full, wide = np.int32(0), np.int32(0), np.int32(0)
                    for j in range(width):
                        value = np.int32(raw[j])
                        in_raw = np.int32(in_raw + np.int32(value * weight[j]))
                        full = np.int32(full + np.int32(np.int32(value >= limit) * weight[j]))
                        wide = np.int32(wide + weight[j])
                    raw_mass += in_raw
                    saturated += full
                    covered += wide
                else:
                    for j in range(width):
                        raw_mass += raw[j] * np.float64(weight[j])  # one after another
            cosine, sine, moment_y, moment_x = 0.0, 0.0, 0.0, 0.0
            for j in range(width):
                cosine += ecc_cosine[j]
                sine += ecc_sine[j]
                moment_y += square_y[j]
                moment_x += square_x[j]
            if flip:
                raw_mass = np.float64(covered) * np.float64(flip) - raw_mass
            feature = features[n]
            feature[0], feature[1], feature[2] = centre_y, centre_x, mass
            if ry == rx:
                feature[3] = np.sqrt((moment_y + moment_x) / np.float64(mass))
                feature[4] = feature[3]
            else:
                feature[3] = np.sqrt(2 * moment_y / np.float64(mass))
                feature[4] = np.sqrt(2 * moment_x / np.float64(mass))
            middle = np.float64(levels[at_y, at_x])
            feature[5] = np.sqrt(cosine * cosine + sine * sine) / (np.float64(mass) - middle + 1e-6)
            feature[6], feature[7], feature[8] = np.float64(signal), raw_mass, saturated

    return refine
