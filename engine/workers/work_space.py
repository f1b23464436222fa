"""Arrays that a detector works in: made once in each process, reused for every unit, nothing that outlasts one."""

from __future__ import annotations

import numpy as np

from engine.rows import FILTERS
from engine.workers import cell_maxima, levels, maxima, noise, overview, peak
from engine.workers.bandpass import Band
from engine.workers.layout import aligned_zeros, zeros_on_a_line
from engine.workers.parameters import LocateParameters
from engine.workers.tiling import Tile

GRID_AT_LEAST = 8  # pixels of a cell of the too-close rule


class WorkSpace:
    """Work space of one detector in one process: made once, reused for every unit."""

    def __init__(self, parameters: LocateParameters, cores: tuple[Tile, ...], features: int) -> None:
        height, width = parameters.shape_hw
        tile_height = max(core.y1 - core.y0 for core in cores)
        tile_width = max(core.x1 - core.x0 for core in cores)
        window_y, window_x = parameters.window
        level = parameters.level_dtype
        self.band = Band.of(parameters)
        # step 1
        cells = (-(-tile_height // peak.CELL), peak.row_of(tile_width))
        self.cell_rows = aligned_zeros((2, cells[1] * peak.CELL), np.int32)
        self.cell_largest = np.zeros(cells, np.int32)
        self.cell_sums = np.zeros(cells, np.int32)
        self.best = np.zeros((peak.cells_of(tile_height, tile_width), 4), np.int64)
        self.cell_scores = np.zeros(len(self.best), np.int64)
        # step 3
        self.counts = np.zeros(levels.COUNTERS, np.int64)
        # step 4
        self.told = np.zeros(2, np.int64)
        self.candidates = np.zeros(tile_width // overview.CELL + 2, np.int64)
        rings = cell_maxima.rings_of(parameters.window)
        if min(rings) > 0:
            self.lines = aligned_zeros((1, cell_maxima.line_of(tile_width, rings[1])), level)
            self.dilated = np.zeros((0, 0), level)
            self.hits = np.zeros((overview.CELL, tile_width // 64 + 1), np.uint64)
        else:
            columns = maxima.columns_of(window_x)
            self.lines = aligned_zeros((window_x.bit_length() + 1, columns), level)
            self.dilated = aligned_zeros((min(maxima.ROWS, tile_height) + window_y - 1, columns), level, flow=-1)
            self.hits = np.zeros((maxima.ROWS, tile_width // 64 + 1), np.uint64)
        radius_y, radius_x = parameters.radius
        words = noise.row_words(tile_width, radius_x)
        self.marks = zeros_on_a_line((noise.ring_rows(radius_y) * (radius_x + 1), words), np.uint64)
        self.near = zeros_on_a_line((1, words), np.uint64)
        # frames of floats
        self.float_levels = np.zeros((0, 0), np.uint8)
        self.float_scale = 1.0
        self.background = np.zeros((height, width) if parameters.is_float else (0, 0), np.uint8)
        # step 5
        self.row_starts = np.zeros(height + 1, np.int64)
        self.order = np.zeros(features, np.int64)
        self.follows = np.zeros(2 * features, np.int64)
        self.removed = np.zeros(len(FILTERS), np.int64)
        grid_y, grid_x = (max(GRID_AT_LEAST, int(np.ceil(size))) for size in parameters.separation)
        self.cells_x = width // grid_x + 1
        self.cells = np.zeros((height // grid_y + 1) * self.cells_x, np.int64)
