"""A detector that sees corrected frames: one more step in front, in scratch memory of its own."""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.rows import RESULT_META, ROW
from engine.workers.centroids import CentroidDetector
from engine.workers.correction import Correction
from engine.workers.detector import Step
from engine.workers.layout import Layout
from engine.workers.parameters import LocateParameters
from engine.workers.tiling import cut


class CorrectedDetector:
    """Corrects tile by tile, then detects in what it wrote (engine.workers.detector.Detector)."""

    def __init__(
        self, parameters: LocateParameters, correction: Correction, tile_hw: tuple[int, int] | None = None
    ) -> None:
        self.parameters = parameters
        self._inner = CentroidDetector(parameters, tile_hw)
        self._correction = correction
        self._cores = cut(parameters.shape_hw, tile_hw or parameters.shape_hw)
        layout = Layout()
        layout.add("corrected", parameters.dtype, *parameters.shape_hw)
        layout.add("inner", np.uint8, self._inner.scratch_bytes)
        self._layout = layout
        self.tiles = self._inner.tiles
        self.steps: tuple[Step, ...] = (Step("correct", whole=False), *self._inner.steps)
        self.scratch_bytes = layout.size

    def run(
        self, step: int, tile: int, pixels: NDArray[Any], scratch: NDArray[np.uint8], rows: NDArray[Any], meta: Any
    ) -> None:
        """Do one unit."""
        areas = self._layout.views(scratch)
        if step == 0:
            view = pixels.view()
            view.flags.writeable = False
            self._correction.apply(view, self._cores[tile], areas["corrected"])
        else:
            self._inner.run(step - 1, tile, areas["corrected"], areas["inner"], rows, meta, sensor=pixels)

    def with_background(self, background: NDArray[np.float32], offset: float) -> CorrectedDetector:
        """The same with another background. Both share their work space: they serve one thread."""
        other = copy(self)
        other._correction = self._correction.with_background(background, offset)
        return other

    def warm(self) -> None:
        """Compile, or load, every kernel: those of detection, then all of a small frame."""
        self._inner.warm()
        small = self.parameters.small()
        detector = CorrectedDetector(small, self._correction.cut(*small.shape_hw))
        pixels = np.random.default_rng(0).integers(0, 100, small.shape_hw).astype(small.dtype)
        scratch, rows, meta = np.zeros(detector.scratch_bytes, np.uint8), np.zeros(1, ROW), np.zeros((), RESULT_META)
        for step in range(len(detector.steps)):
            detector.run(step, 0, pixels, scratch, rows, meta)
