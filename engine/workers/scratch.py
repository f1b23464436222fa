"""What the units of a frame publish for each other: the areas of its scratch memory, and who writes them when.

Steps are those of `engine.workers.centroids`. A unit writes the part of its own tile; whoever does it again writes the
same bytes. Nothing counts on zeros: the memory is as the frame before left it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.workers import overview
from engine.workers.features import COLUMNS
from engine.workers.layout import Layout
from engine.workers.parameters import LocateParameters

Overview = tuple[NDArray[np.uint32], NDArray[Any], NDArray[np.int32]]  # marks, cells, cell sums


def scratch_layout(parameters: LocateParameters, tiles: int, features: int) -> Layout:
    """The areas for frames that are cut into so many tiles, with room for so many features."""
    height, width = parameters.shape_hw
    layout = Layout()
    layout.add("guesses", np.float64, tiles, 8)  # step 1: peak
    layout.add("peaks", np.float64, tiles, 8)  # step 2: the true one, saturated pixels, levels that are not 0
    layout.add("levels", parameters.level_dtype, height, width)  # step 2, or step 3 if the guess was wrong
    # With the levels, or in step 3 (engine.workers.overview).
    layout.add("marks", np.uint64, height, -(-width // 64))
    cells = (-(-height // overview.CELL), -(-width // overview.CELL) + overview.SLACK)
    layout.add("cells", parameters.level_dtype, *cells)
    sums = (-(-height // overview.CELL), -(-width // overview.CELL) + overview.SPARE_SUMS)
    layout.add("cell_sums", np.int32, *sums)
    layout.add("frame", np.float64, 8)  # step 3: scale, threshold, levels that are not 0
    layout.add("sums", np.int64, tiles, 8)  # step 4: TileSums
    layout.add("features", np.float64, features, COLUMNS)  # step 4
    return layout


class TileSums(NamedTuple):
    """The area `sums` by column, a number for each tile: a frame has few, and Python adds them up sooner than numpy."""

    background: tuple[int, ...]  # pixels
    first: tuple[int, ...]  # Σ of these
    second: tuple[int, ...]  # Σ²
    features: tuple[int, ...]
    passed_over: tuple[int, ...]  # maxima that are not above the threshold
    faintest: tuple[int, ...]  # level of a maximum


def tile_sums(areas: dict[str, NDArray[Any]]) -> TileSums:
    """What step 4 said of each tile."""
    return TileSums(*zip(*areas["sums"][:, : len(TileSums._fields)].tolist()))


def overview_of(areas: dict[str, NDArray[Any]]) -> Overview:
    """What `engine.workers.overview` fills in."""
    return areas["marks"].view(np.uint32), areas["cells"], areas["cell_sums"]
