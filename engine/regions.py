"""Parts of a frame as people write them: "y0:y1, x0:x1"."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def region_of(text: str) -> tuple[int, int, int, int]:
    """y0, y1, x0, x1 of "y0:y1, x0:x1"; an end of 0 is the frame's. Raises ValueError if it is not of that form."""
    if not text:
        return (0, 0, 0, 0)
    rows, _, columns = text.partition(",")
    (y0, _, y1), (x0, _, x1) = (part.strip().partition(":") for part in (rows, columns))
    return (int(y0 or 0), int(y1 or 0), int(x0 or 0), int(x1 or 0))


def part_of_frame(text: str, shape_hw: tuple[int, int]) -> tuple[int, int, int, int]:
    """`region_of` in a frame of that shape: every end is a number. Raises ValueError if it is not of that form."""
    y0, y1, x0, x1 = region_of(text)
    return y0, y1 or shape_hw[0], x0, x1 or shape_hw[1]


def are_inside(rows: NDArray[Any], y0: int, y1: int, x0: int, x1: int) -> NDArray[np.bool_]:
    """Which of a frame's rows are within it."""
    y, x = rows["y"], rows["x"]
    inside: NDArray[np.bool_] = (y >= y0) & (y < y1) & (x >= x0) & (x < x1)
    return inside
