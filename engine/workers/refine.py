"""Refinement: from a local maximum to the centroid of the feature around it.

The mask's centre walks at most one pixel on each axis per step towards the centroid of what it covers, until the
centroid is nearer than 0.6 pixels on both. The result is the last centroid that was evaluated (trackpy.refine_com).
Sums are of integers and exact; the two that are not (eccentricity, raw mass of float frames) run in trackpy's order.
"""

from __future__ import annotations

# mypy: allow-untyped-defs, allow-untyped-calls
import numpy as np

from engine.workers.compiled import kernel

SHIFT_THRESHOLD = 0.6


@kernel
def refine(levels, pixels, flip, saturation, reach, radius_x, cosine, sine, max_iterations, features, count):
    """Fill the first `count` rows of features, whose maxima are known."""
    height, width = levels.shape
    ry, rx = reach.size // 2, radius_x
    isotropic = ry == rx
    for n in range(count):
        y, x = np.int64(features[n, 9]), np.int64(features[n, 10])
        centre_y = centre_x = 0.0
        at_y, at_x = y, x
        mass = np.int64(0)
        for _ in range(max_iterations):
            at_y, at_x = y, x
            mass, sum_y, sum_x = np.int64(0), np.int64(0), np.int64(0)
            for i in range(2 * ry + 1):
                half = reach[i]
                row = levels[y - ry + i][x - half : x + half + 1]
                in_row = np.int64(0)
                for j in range(2 * half + 1):
                    in_row += row[j]
                    sum_x += np.int64(row[j]) * (j + rx - half)
                mass += in_row
                sum_y += in_row * i
            in_mask_y, in_mask_x = np.float64(ry), np.float64(rx)
            if mass > 0:
                in_mask_y, in_mask_x = np.float64(sum_y) / np.float64(mass), np.float64(sum_x) / np.float64(mass)
            centre_y, centre_x = in_mask_y - ry + y, in_mask_x - rx + x
            off_y, off_x = in_mask_y - ry, in_mask_x - rx
            if abs(off_y) < SHIFT_THRESHOLD and abs(off_x) < SHIFT_THRESHOLD:
                break
            if off_y > SHIFT_THRESHOLD:
                y += 1
            elif off_y < -SHIFT_THRESHOLD:
                y -= 1
            if off_x > SHIFT_THRESHOLD:
                x += 1
            elif off_x < -SHIFT_THRESHOLD:
                x -= 1
            y = min(max(y, ry), height - ry - 1)
            x = min(max(x, rx), width - rx - 1)
        _characterise(levels, pixels, flip, saturation, reach, isotropic, cosine, sine, at_y, at_x, mass, features[n])
        features[n, 0] = centre_y
        features[n, 1] = centre_x
        features[n, 2] = mass


@kernel
def _characterise(levels, pixels, flip, saturation, reach, isotropic, cosine, sine, y, x, mass, feature):
    ry = reach.size // 2
    moment_y, moment_x = np.int64(0), np.int64(0)
    ecc_cosine = ecc_sine = raw_mass = 0.0
    signal = np.int64(0)
    saturated = np.int64(0)
    k = 0
    for i in range(2 * ry + 1):
        half = reach[i]
        row = levels[y - ry + i][x - half : x + half + 1]
        raw = pixels[y - ry + i][x - half : x + half + 1]
        for j in range(2 * half + 1):
            level = np.int64(row[j])
            moment_y += (i - ry) ** 2 * level
            moment_x += (j - half) ** 2 * level
            ecc_cosine += cosine[k] * level
            ecc_sine += sine[k] * level
            signal = max(signal, level)
            raw_mass += raw[j]
            saturated += raw[j] >= saturation
            k += 1
    if flip:
        raw_mass = np.float64(k) * np.float64(flip) - raw_mass
    if isotropic:
        feature[3] = np.sqrt(np.float64(moment_y + moment_x) / np.float64(mass))
        feature[4] = feature[3]
    else:
        feature[3] = np.sqrt(np.float64(2 * moment_y) / np.float64(mass))
        feature[4] = np.sqrt(np.float64(2 * moment_x) / np.float64(mass))
    feature[5] = np.sqrt(ecc_cosine**2 + ecc_sine**2) / (mass - np.float64(levels[y, x]) + 1e-6)
    feature[6] = signal
    feature[7] = raw_mass
    feature[8] = saturated
