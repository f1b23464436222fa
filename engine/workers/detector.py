"""Detection as units of work: what a tracker process drives, for any detector.

A *step* is done by one unit for each tile, or by one for the whole frame; it starts when all units of the step before
are done. A *unit* reads the frame and what earlier steps published in the frame's scratch memory, and writes only its
own area: doing it again, in any process, writes the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Step:
    """One pass over a frame."""

    name: str
    whole: bool  # one unit for the frame; else one for each tile


class Detector(Protocol):
    """Finds the features of frames of one shape, type and setting. One instance serves one thread."""

    steps: tuple[Step, ...]  # in order
    tiles: int
    scratch_bytes: int  # of shared memory for one frame in work

    def run(
        self, step: int, tile: int, pixels: NDArray[Any], scratch: NDArray[np.uint8], rows: NDArray[Any], meta: Any
    ) -> None:
        """Do one unit of a frame.

        pixels: (height, width) of the camera's type, read only. scratch: uint8, `scratch_bytes` long, the areas of the
        frame's other units included; zero at first, then as the frame before left it. rows (ROW, as many as are kept)
        and meta (one RESULT_META record that already holds what the frame says of itself) are written by the last
        step alone, and only its own fields: found, rows, overflow, removed_*, saturated.
        """


def units_of_steps(detector: Detector) -> tuple[int, ...]:
    """How many units of work the steps of a frame are. A frame of one tile is one unit: nobody could share its steps,
    and each hand-over costs time (more, five times, than a small frame itself)."""
    if detector.tiles == 1:
        return (1,)
    return tuple(1 if step.whole else detector.tiles for step in detector.steps)
