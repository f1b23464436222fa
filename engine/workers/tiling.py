"""Cutting a frame into tiles.

A *tile* is a rectangle of the frame (its *core*) that one worker computes at a time; cores cover the frame and do not
overlap. The *overlap* is how far around its core a tile has to see. Workers read pixels in the frame itself and what
their neighbours published in shared memory, so the overlap is not computed twice; it still says how large a tile's
view must be, and settings that promise less are refused.

The answer never depends on the tiles.
"""

from __future__ import annotations

from typing import NamedTuple

from engine.errors import SettingsError
from engine.workers.overview import GRID_Y
from engine.workers.parameters import LocateParameters

ROWS_AT_LEAST = 64  # of a chosen strip; below it the rows summed up anew at a strip's top start to cost
PIXELS_AT_LEAST = 1 << 18  # of a chosen strip; below it handing over costs more than sharing saves
# Two workers that share a frame save a third of its latency, and pay a tenth of all CPU time for it (2048 x 2048 on two
# cores; three were not measured).
WHOLE_UP_TO = 2  # workers
STRIPS_A_WORKER = 2  # so that a worker that finished first finds something left to do


class Tile(NamedTuple):
    """A core: rows y0 to y1 and columns x0 to x1 of the frame, the ends not included."""

    y0: int
    y1: int
    x0: int
    x1: int

    def inside(self, shape_hw: tuple[int, int], margin_yx: tuple[int, int]) -> Tile:
        """What of it is no nearer to the edges of the frame than a margin; nothing where an end is before its start."""
        height, width = shape_hw
        y0, x0 = max(self.y0, margin_yx[0]), max(self.x0, margin_yx[1])
        return Tile(y0, min(self.y1, height - margin_yx[0]), x0, min(self.x1, width - margin_yx[1]))


def cut(shape_hw: tuple[int, int], tile_hw: tuple[int, int]) -> tuple[Tile, ...]:
    """Cover a frame with tiles, row after row; the last ones of a row or column may be smaller."""
    height, width = shape_hw
    rows, columns = min(tile_hw[0], height), min(tile_hw[1], width)
    return tuple(
        Tile(y, min(y + rows, height), x, min(x + columns, width))
        for y in range(0, height, rows)
        for x in range(0, width, columns)
    )


def choose_tile(shape_hw: tuple[int, int], workers: int) -> tuple[int, int]:
    """Height and width of a tile where the settings say 0: strips of whole rows.

    The whole frame for one or two workers, and for small frames: workers then take one each.
    """
    height, width = shape_hw
    if workers <= WHOLE_UP_TO:
        return (height, width)
    most = min(height // ROWS_AT_LEAST, height * width // PIXELS_AT_LEAST)
    strips = min(STRIPS_A_WORKER * workers, max(1, most))
    return (min(height, -(-height // (strips * GRID_Y)) * GRID_Y), width)


def overlap_needed(parameters: LocateParameters) -> int:
    """How far around its core a tile has to see, in pixels.

    The band-pass reaches as far as its box or its Gaussian. On the band-passed image a maximum is compared with its
    window, a feature walks at most `max_iterations - 1` steps and covers its radius from there, and the noise is
    measured one radius away from anything bright.
    """
    reaches = []
    for axis in (0, 1):
        band = max(parameters.smoothing_size[axis] // 2, len(parameters.taps[axis]) - 1) if parameters.preprocess else 0
        radius = parameters.radius[axis]
        walk = parameters.max_iterations - 1 + radius
        reaches.append(band + max(parameters.window[axis] // 2, walk))
    return max(reaches)


def check_overlap(given: int, parameters: LocateParameters) -> None:
    """Refuse an overlap that is too small, naming the one that is needed; 0 stands for that one.

    Raises SettingsError.
    """
    needed = overlap_needed(parameters)
    if 0 < given < needed:
        raise SettingsError(
            f"tracking.tile_overlap: {given} is too small; diameter {max(parameters.diameter)} and separation "
            f"{max(parameters.separation):g} need {needed}. Try {needed}, or 0 to have it chosen."
        )
