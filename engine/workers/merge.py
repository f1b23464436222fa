"""From the features of all tiles to the rows of a frame: order, the too-close rule, filters.

Order is the raster order of the maxima. Of every pair of features nearer than the separation the one with less mass
goes, all pairs judged at once; with equal mass the one with the smaller y/separation + x/separation, and of two at the
very same place the earlier one (trackpy.find.where_close). A feature too faint for `minmass` can only make others go
that are as faint: it takes no part.
"""

from __future__ import annotations

# mypy: allow-untyped-defs, allow-untyped-calls
import numpy as np

from engine.workers.compiled import kernel

CLOSE = 1 - 1e-7  # of the separation: pairs up to here are too close


@kernel
def raster_order(features, starts, counts, levels, threshold, least_mass, row_starts, order):
    """Fill `order` with the places of the features, in raster order of their maxima.

    Tile t has its features, in raster order, from starts[t] on; tiles come row after row of tiles. Those whose maximum
    is not above the threshold are none; those with no more than `least_mass` are only counted. Returns how many there
    are in `order`, and how many were too faint. `row_starts` is work space, one longer than the frame's height.
    """
    for y in range(row_starts.size):
        row_starts[y] = 0
    faint = np.int64(0)
    for t in range(starts.size):
        for k in range(starts[t], starts[t] + counts[t]):
            if features[k, 2] > least_mass:
                row = np.int64(features[k, 9])
                row_starts[row + 1] += threshold < 0 or levels[row, np.int64(features[k, 10])] > threshold
            else:
                faint += threshold < 0 or levels[np.int64(features[k, 9]), np.int64(features[k, 10])] > threshold
    for y in range(1, row_starts.size):
        row_starts[y] += row_starts[y - 1]
    total = row_starts[row_starts.size - 1]
    for t in range(starts.size):
        for k in range(starts[t], starts[t] + counts[t]):
            row = np.int64(features[k, 9])
            if features[k, 2] > least_mass and (threshold < 0 or levels[row, np.int64(features[k, 10])] > threshold):
                order[row_starts[row]] = k
                row_starts[row] += 1
    return total, faint


@kernel
def drop_close(features, order, total, separation_y, separation_x, heads, cells_x, follows):
    """Strike the features that are too close to a heavier one out of `order`; return how many are left.

    `heads` is work space of one word for each cell of a grid of at least one separation in size, with `cells_x` cells
    in a row; `follows` of two words for each feature.
    """
    for i in range(heads.size):
        heads[i] = -1
    cells_y = heads.size // cells_x
    cell_y, cell_x = max(separation_y, 1.0), max(separation_x, 1.0)
    limit = CLOSE * CLOSE
    following, dropped = follows[:total], follows[total : 2 * total]
    for n in range(total):
        k = order[n]
        y, x = features[k, 0] / separation_y, features[k, 1] / separation_x
        gy = min(np.int64(features[k, 0] / cell_y), cells_y - 1)
        gx = min(np.int64(features[k, 1] / cell_x), cells_x - 1)
        dropped[n] = 0
        # Pairs with all earlier features in this cell and the eight around it.
        for cy in range(max(gy - 1, 0), min(gy + 2, cells_y)):
            for cx in range(max(gx - 1, 0), min(gx + 2, cells_x)):
                m = heads[cy * cells_x + cx]
                while m >= 0:
                    other = order[m]
                    other_y, other_x = features[other, 0] / separation_y, features[other, 1] / separation_x
                    dy, dx = other_y - y, other_x - x
                    if dy * dy + dx * dx <= limit:
                        earlier, later = features[other, 2], features[k, 2]
                        if earlier > later or (earlier == later and other_y + other_x > y + x):
                            dropped[n] = 1
                        else:
                            dropped[m] = 1
                    m = following[m]
        following[n] = heads[gy * cells_x + gx]
        heads[gy * cells_x + gx] = n
    left = 0
    for n in range(total):
        if dropped[n] == 0:
            order[left] = order[n]
            left += 1
    return left


@kernel
def apply_filters(features, order, total, scale, limits, removed):
    """Strike features out of `order` by the six filters, one after another; return how many are left.

    limits and removed: minmass, maxmass, max_ecc, minsize, maxsize, min_signal; of all but the first, 0 is no limit.
    `removed` counts what each took from what the ones before it left.
    """
    for i in range(removed.size):
        removed[i] = 0
    left = 0
    for n in range(total):
        k = order[n]
        mass, signal = features[k, 2] / scale, features[k, 6] / scale
        size, ecc = features[k, 3], features[k, 5]
        if not mass > limits[0]:
            removed[0] += 1
        elif limits[1] > 0 and not mass < limits[1]:
            removed[1] += 1
        elif limits[2] > 0 and not ecc < limits[2]:
            removed[2] += 1
        elif limits[3] > 0 and not size > limits[3]:
            removed[3] += 1
        elif limits[4] > 0 and not size < limits[4]:
            removed[4] += 1
        elif limits[5] > 0 and not signal > limits[5]:
            removed[5] += 1
        else:
            order[left] = k
            left += 1
    return left


@kernel
def write_rows(features, order, total, frame, scale, black, noise, mask_pixels, error_factor, rows):
    """Write the features that are left as rows of the result; the linker fills in the identities."""
    for n in range(total):
        feature, row = features[order[n]], rows[n]
        row.frame = frame
        row.particle = -1
        row.x = feature[1]
        row.y = feature[0]
        row.mass = feature[2] / scale
        row.ecc = feature[5]
        row.size = feature[3]
        row.signal = feature[6] / scale
        row.raw_mass = feature[7]
        row.ep = noise / (feature[7] - mask_pixels * black) * error_factor
        row.vx = np.nan
        row.vy = np.nan
        row.age = 0
        row.saturated = np.int32(feature[8])
