"""The detector: the features that `trackpy.locate` finds in the whole frame, whatever the tiles.

Steps of a frame:

1. *peak* (tile): a guess at the largest band-passed value of the core.
2. *quantise* (tile): the levels of the core, scaled by the largest guess of all tiles, and the true largest value;
   pixels at the sensor's limit.
3. *threshold* (frame): where the guess was wrong, the levels once more; a level that the percentile is sure to reach.
4. *refine* (tile): maxima in the core above that, refined and characterised; sums of the background pixels.
5. *finish* (frame): raster order, too-close rule, filters, rows.

The percentile itself is counted only where it decides something. Maxima are far brighter than most pixels: mostly some
rows hold enough pixels below the faintest of them, and none was passed over. Otherwise the last step counts exactly,
and strikes out what is too faint or looks for what is missing. For small windows step 3 counts at once.

A tile's features have room for twice what a dense random image has; where plateaus make more, the tile says how many,
and the last step does that tile once more with room enough: slower, never less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.rows import FILTERS, RESULT_META, ROW
from engine.workers import cell_maxima, levels, maxima, merge, noise, overview, peak
from engine.workers.detector import Step
from engine.workers.features import COLUMNS, Column
from engine.workers.masks import Mask
from engine.workers.parameters import LocateParameters
from engine.workers.refine import Refinement
from engine.workers.scratch import Overview, TileSums, overview_of, scratch_layout, tile_sums
from engine.workers.tiling import Tile, cut
from engine.workers.work_space import WorkSpace

PEAK, QUANTISE, THRESHOLD, REFINE, FINISH = range(5)
STEPS = (
    Step("peak", whole=False),
    Step("quantise", whole=False),
    Step("threshold", whole=True),
    Step("refine", whole=False),
    Step("finish", whole=True),
)
SPARE_FEATURES = 64  # a tile has room for at least so many


@dataclass(frozen=True)
class Found:
    """Features of a frame after the too-close rule: rows `order` of `features` (columns: features.Column).

    A detector that is sparing leaves those too faint for `minmass` out and counts them in `faint`.
    """

    features: NDArray[np.float64]
    order: NDArray[np.int64]
    faint: int
    scale: float
    black: float
    noise: float


class CentroidDetector:
    """Crocker and Grier's centroids (J. Colloid Interface Sci. 179, 298, 1996), as trackpy computes them."""

    steps: tuple[Step, ...] = STEPS

    def __init__(
        self, parameters: LocateParameters, tile_hw: tuple[int, int] | None = None, *, sparing: bool = True
    ) -> None:
        """Lay out the scratch memory for tiles of the given size; None: one tile, the whole frame.

        Not `sparing`, features too faint for `minmass` are refined and sorted like the others, up to the filters.
        """
        self.parameters = parameters
        self._sparing = sparing and parameters.minmass > 0
        self._cores = cut(parameters.shape_hw, tile_hw or parameters.shape_hw)
        self._blocks = np.array(self._cores, np.int64)
        self.tiles = len(self._cores)
        if parameters.is_float and self.tiles > 1:
            raise ValueError("frames of floats are tracked whole")
        self._mask = Mask.of(parameters.radius)
        self._flip = np.dtype(parameters.dtype if not parameters.is_float else np.uint8).type(parameters.flip)
        self._limits = np.array([getattr(parameters, name) for name in FILTERS], np.float64)
        window = parameters.window
        self._searched = [core.inside(parameters.shape_hw, parameters.margin) for core in self._cores]
        capacities = [self._capacity(core, window) for core in self._cores]
        self._starts = np.cumsum([0, *capacities[:-1]], dtype=np.int64)
        self._capacities = capacities
        self._layout = scratch_layout(parameters, self.tiles, int(sum(capacities)))
        swept = parameters.preprocess and not parameters.is_float
        self._with_levels = swept and all(overview.fits(core.y0, core.x0) for core in self._cores)
        self._sensor: NDArray[Any] = _NO_ROWS
        self._seen: tuple[NDArray[np.uint8], dict[str, NDArray[Any]]] | None = None
        self._saturation = parameters.saturation
        self._largest_level = int(np.iinfo(parameters.level_dtype).max)
        self._rings = cell_maxima.rings_of(window)
        self._by_cells = min(self._rings) > 0
        self.scratch_bytes = self._layout.size
        self._work = WorkSpace(parameters, self._cores, int(sum(capacities)))
        self._refinement = Refinement(
            self._mask, parameters.radius, parameters.shape_hw, (parameters.level_dtype, np.dtype(parameters.dtype))
        )

    @staticmethod
    def _capacity(core: Tile, window: tuple[int, int]) -> int:
        area = (core.y1 - core.y0) * (core.x1 - core.x0)
        return min(area, 2 * area // (window[0] * window[1]) + SPARE_FEATURES)

    # --- units ---------------------------------------------------------------------------------------------------

    def run(
        self,
        step: int,
        tile: int,
        pixels: NDArray[Any],
        scratch: NDArray[np.uint8],
        rows: NDArray[Any],
        meta: Any,
        sensor: NDArray[Any] | None = None,
    ) -> None:
        """Do one unit (engine.workers.detector.Detector).

        Where `pixels` are corrected ones, `sensor` are those of the camera, in which saturated pixels are counted.
        """
        pixels = _read_only(pixels)
        self._sensor = pixels if sensor is None else _read_only(sensor)
        areas = self._areas_of(scratch)
        if step == PEAK:
            self._peak(tile, pixels, areas)
        elif step == QUANTISE:
            self._quantise(tile, pixels, areas)
        elif step == THRESHOLD:
            self._threshold(pixels, areas)
        elif step == REFINE:
            self._refine(tile, pixels, areas)
        else:
            self._finish(pixels, areas, rows, meta)
            self._seen = None

    def _areas_of(self, scratch: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Views of the scratch memory, kept until the frame is finished: who does all its steps asks once."""
        if self._seen is None or self._seen[0] is not scratch:
            self._seen = scratch, self._layout.views(scratch)
        return self._seen[1]

    def warm(self) -> None:
        """Compile, or load, every kernel that a frame of this kind needs: run a small one through."""
        small = self.parameters.small()
        detector = CentroidDetector(small)
        # Noise on which maxima are found and refined: a frame without a feature would leave those kernels cold.
        pixels = np.random.default_rng(0).integers(0, 100, small.shape_hw).astype(small.dtype)
        scratch, rows, meta = np.zeros(detector.scratch_bytes, np.uint8), np.zeros(1, ROW), np.zeros((), RESULT_META)
        for step in range(len(STEPS)):
            detector.run(step, 0, pixels, scratch, rows, meta)
        # What few frames need.
        areas = detector._layout.views(scratch)
        levels.percentile_of(areas["levels"], 50.0, detector._work.counts)
        levels.percentile_is_below(areas["levels"], 50.0, 1, 1)

    def found(self, pixels: NDArray[Any], scratch: NDArray[np.uint8]) -> Found:
        """Do all steps of a frame but the filters and the rows; the arrays are good until the next frame."""
        for number, step in enumerate(STEPS[:FINISH]):
            for tile in range(1 if step.whole else self.tiles):
                self.run(number, tile, pixels, scratch, _NO_ROWS, None)
        return self._merge(_read_only(pixels), self._layout.views(scratch))

    def levels_of(self, scratch: NDArray[np.uint8]) -> NDArray[Any]:
        """The levels of a frame that was done, (height, width)."""
        return self._layout.views(scratch)["levels"]

    def brightest(self, scratch: NDArray[np.uint8]) -> tuple[int, float]:
        """Largest level of a frame that was done, and the threshold for maxima (NaN: the frame is black)."""
        areas = self._layout.views(scratch)
        threshold = levels.percentile_of(areas["levels"], float(self.parameters.percentile), self._work.counts)
        return int(areas["levels"].max(initial=0)), float(threshold)

    def _peak(self, tile: int, pixels: NDArray[Any], areas: dict[str, NDArray[Any]]) -> None:
        core, parameters, work = self._cores[tile], self.parameters, self._work
        guess = 0.0
        if parameters.is_float:
            from engine.workers.float_band import levels_of  # only engine.locate has float frames

            work.float_levels, work.float_scale = levels_of(pixels, parameters)
        elif parameters.preprocess:
            best = work.best[: peak.cells_of(core.y1 - core.y0, core.x1 - core.x0)]
            cells = peak.best_cells(
                pixels, self._flip, *core, peak.rows_apart(parameters.diameter[0]), work.cell_rows, work.cell_largest,
                work.cell_sums, best, work.cell_scores,
            )  # fmt: skip
            guess, _, _ = self._sweep(best[:cells], pixels, 0.0, areas)
        areas["guesses"][tile, 0] = guess

    def _quantise(self, tile: int, pixels: NDArray[Any], areas: dict[str, NDArray[Any]]) -> None:
        core, parameters = self._cores[tile], self.parameters
        largest, brightest, lit = 0.0, self._saturation, 0
        if parameters.is_float:
            areas["levels"][:] = self._work.float_levels
        elif parameters.preprocess:
            blocks = self._blocks[tile : tile + 1]
            largest, brightest, lit = self._sweep(blocks, pixels, self._scale(areas["guesses"]), areas)
        else:
            levels.copy_levels(pixels, self._flip, *core, areas["levels"])
        saturated = 0
        if brightest >= self._saturation or self._sensor is not pixels:
            view = self._sensor[core.y0 : core.y1, core.x0 : core.x1]
            saturated = int(np.count_nonzero(view >= self._saturation))
        areas["peaks"][tile, :3] = largest, saturated, lit

    def _sweep(
        self, blocks: NDArray[np.int64], pixels: NDArray[Any], scale: float, areas: dict[str, NDArray[Any]]
    ) -> tuple[float, int, int]:
        """Band-pass blocks; the largest value, the brightest pixel, and, if noted, how many levels are not 0."""
        marks, cells, cell_sums = overview_of(areas)
        noted: Overview = (marks if self._with_levels else marks[:0], cells, cell_sums)
        return self._work.band.run(pixels, self._flip, blocks, scale, areas["levels"], noted)

    def _scale(self, peaks: NDArray[np.float64]) -> float:
        """What makes the largest value of the frame the largest of its type; 1 where nothing is scaled."""
        if self.parameters.is_float:
            return self._work.float_scale
        if not self.parameters.preprocess:
            return 1.0
        largest = max(peaks[:, 0].tolist())
        return self._largest_level / largest if largest > 0 else 1.0

    def _threshold(self, pixels: NDArray[Any], areas: dict[str, NDArray[Any]]) -> None:
        work, scale = self._work, self._scale(areas["peaks"])
        lit = int(sum(areas["peaks"][:, 2].tolist()))
        if scale != self._scale(areas["guesses"]) and not self.parameters.is_float:  # of a NaN: not equal to itself
            _, _, lit = self._sweep(self._blocks, pixels, scale, areas)
        if not self._with_levels:
            whole = (0, pixels.shape[0], 0, pixels.shape[1])
            lit = overview.summarise(areas["levels"], *whole, *overview_of(areas))
        areas["frame"][0], areas["frame"][2] = scale, lit
        percentile = float(self.parameters.percentile)
        if self._by_cells:
            areas["frame"][1] = levels.surely_below(areas["levels"], percentile, work.counts)
        else:
            areas["frame"][1] = levels.percentile_of(areas["levels"], percentile, work.counts)

    def _refine(self, tile: int, pixels: NDArray[Any], areas: dict[str, NDArray[Any]]) -> None:
        core, work = self._cores[tile], self._work
        start = self._starts[tile]
        room = areas["features"][start : start + self._capacities[tile]]
        areas["sums"][tile, 3] = self._features_of(tile, pixels, areas, room, float(areas["frame"][1]))
        areas["sums"][tile, 4:6] = work.told
        work.background[:] = 0
        noise.background_sums(
            areas["marks"], pixels, self._flip, *core, self._mask.reach, self.parameters.radius[1], work.marks,
            work.near, areas["sums"][tile], work.background,
        )  # fmt: skip

    def _features_of(
        self,
        tile: int,
        pixels: NDArray[Any],
        areas: dict[str, NDArray[Any]],
        room: NDArray[np.float64],
        threshold: float,
    ) -> int:
        """Find and refine what lies in a core, as far as there is room; how many there are."""
        parameters, core, work = self.parameters, self._cores[tile], self._work
        inner = self._searched[tile]
        work.told[:] = 0, 1 << 62
        if math.isnan(threshold) or inner.y0 >= inner.y1 or inner.x0 >= inner.x1:
            return 0
        count: int
        if self._by_cells:
            limit = math.floor(threshold)  # of an integer: v > threshold is v > floor(threshold)
            count = cell_maxima.find_maxima(
                areas["levels"], areas["cells"], *core, tuple(inner), *parameters.window, limit, int(Column.ROW), room,
                *self._rings, work.lines, work.hits, work.candidates, work.told,
            )  # fmt: skip
        else:
            count = maxima.find_maxima(
                areas["levels"], *inner, *parameters.window, threshold, int(Column.ROW), room, work.lines,
                work.dilated, work.hits,
            )  # fmt: skip
        cell_sums = areas["cell_sums"] if self._sparing else areas["cell_sums"][:0]
        self._refinement.run(
            areas["levels"], pixels, self._sensor, self._flip, self._saturation, parameters.max_iterations,
            self._least_mass(areas), cell_sums, room, min(count, len(room)),
        )  # fmt: skip
        return count

    def _least_mass(self, areas: dict[str, NDArray[Any]]) -> float:
        """Mass, in levels, at which a feature is sure to be filtered: what else it is need not be known."""
        return self.parameters.minmass * float(areas["frame"][0]) * (1 - 1e-9)

    # --- the whole frame -----------------------------------------------------------------------------------------

    def _merge(self, pixels: NDArray[Any], areas: dict[str, NDArray[Any]]) -> Found:
        work, parameters, sums = self._work, self.parameters, tile_sums(areas)
        features, starts, counts = areas["features"], self._starts, np.array(sums.features, np.int64)
        order, follows = work.order, work.follows
        used = float(areas["frame"][1])
        exact = self._exact_threshold(areas, sums)
        anew = exact is not None and exact < used and any(sums.passed_over)
        if anew or any(count > room for count, room in zip(sums.features, self._capacities)):
            threshold = exact if anew and exact is not None else used
            features, starts, counts = self._with_room(pixels, areas, counts, threshold, anew)
            order, follows = np.empty(len(features), np.int64), np.empty(2 * len(features), np.int64)
        total, faint = merge.raster_order(
            features, starts, counts, areas["levels"], exact if exact is not None and exact > used else -1.0,
            self._least_mass(areas) if self._sparing else -1.0, work.row_starts, order,
        )  # fmt: skip
        separation_y, separation_x = parameters.separation
        if separation_y > 0 and separation_x > 0:
            total = merge.drop_close(
                features, order, total, separation_y, separation_x, work.cells, work.cells_x, follows
            )
        black, deviation = self._black_and_noise(pixels, sums)
        return Found(features, order[:total], int(faint), float(areas["frame"][0]), black, deviation)

    def _exact_threshold(self, areas: dict[str, NDArray[Any]], sums: TileSums) -> float | None:
        """The percentile, if it might be above or below what the features were found with; None: it is neither."""
        bright, percentile = int(areas["frame"][2]), float(self.parameters.percentile)
        if not self._by_cells or bright == 0:
            return None
        if not any(sums.passed_over) and (
            not any(sums.features)
            or levels.percentile_is_below(areas["levels"], percentile, bright, min(sums.faintest))
        ):
            return None
        return float(levels.percentile_of(areas["levels"], percentile, self._work.counts))

    def _with_room(
        self,
        pixels: NDArray[Any],
        areas: dict[str, NDArray[Any]],
        counts: NDArray[np.int64],
        threshold: float,
        anew: bool,
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
        """All features of a frame, their starts and counts, where tiles have to be done again: for want of room, or
        all of them `anew`, with another threshold."""
        if anew:
            nothing = np.empty((0, COLUMNS))
            counts = np.array([self._features_of(t, pixels, areas, nothing, threshold) for t in range(self.tiles)])
        starts = np.cumsum(np.concatenate([[0], counts[:-1]]), dtype=np.int64)
        features = np.empty((int(counts.sum()), COLUMNS))
        for tile in range(self.tiles):
            room = features[starts[tile] : starts[tile] + counts[tile]]
            here = self._starts[tile]
            if counts[tile] <= self._capacities[tile] and not anew:
                room[:] = areas["features"][here : here + counts[tile]]
            else:
                self._features_of(tile, pixels, areas, room, threshold)
        return features, starts, counts

    def _black_and_noise(self, pixels: NDArray[Any], sums: TileSums) -> tuple[float, float]:
        if self.parameters.is_float:
            dark = pixels[self._work.background.view(bool)]
            if dark.size == 0:
                return float("nan"), float("nan")
            return float(dark.mean()), float(dark.std()) if dark.size > 1 else float("nan")
        return noise.noise_of(sum(sums.background), sum(sums.first), sum(sums.second))

    def _finish(self, pixels: NDArray[Any], areas: dict[str, NDArray[Any]], rows: NDArray[Any], meta: Any) -> None:
        found = self._merge(pixels, areas)
        removed = self._work.removed
        order = found.order
        kept = merge.apply_filters(found.features, order, len(order), found.scale, self._limits, removed)
        order = order[:kept]
        overflow = max(0, kept - len(rows))
        if overflow:
            # The weakest go; of equal ones the later.
            mass = found.features[order, Column.MASS]
            order = order[np.sort(np.argsort(-mass, kind="stable")[: len(rows)])]
        merge.write_rows(
            found.features, order, len(order), int(np.ravel(meta["frame"])[0]), found.scale, found.black, found.noise,
            self._mask.pixels, self.parameters.noise_size[0] * self._mask.root_sum_x2[0], rows,
        )  # fmt: skip
        removed[0] += found.faint
        meta["found"] = len(found.order) + found.faint
        meta["rows"] = len(order)
        meta["overflow"] = overflow
        meta["saturated"] = int(sum(areas["peaks"][:, 1].tolist()))
        for name, count in zip(FILTERS, removed):
            meta[f"removed_{name}"] = count


_NO_ROWS: NDArray[Any] = np.zeros(0)


def _read_only(pixels: NDArray[Any]) -> NDArray[Any]:
    """The same pixels as an array that cannot be written: one type for the compiled kernels."""
    view = pixels.view()
    view.flags.writeable = False
    return view
