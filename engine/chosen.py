"""Which particles pictures are kept of: `record.crop_particles`.

""                        all of them
"3, 7, 20-29"             these, by their identity as in /tracks
"inside 100:200, 300:400" those within these rows and columns of the frame (y0:y1, x0:x1, pixels)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.regions import are_inside, region_of

Chosen = Callable[[NDArray[Any]], NDArray[np.bool_]]
"""Given a frame's rows: which of them."""


def parse_chosen(text: str) -> Chosen:
    """The rule. Raises ValueError if it is not understood."""
    text = text.strip()
    if not text:
        return lambda rows: np.ones(len(rows), bool)
    kind, _, rest = text.partition(" ")
    if kind == "inside":
        y0, y1, x0, x1 = region_of(rest)
        if not (0 <= y0 < y1 and 0 <= x0 < x1):
            raise ValueError(text)
        return lambda rows: are_inside(rows, y0, y1, x0, x1)
    ranges = parse_ranges(text)
    lows, highs = (np.array(ends, np.int64) for ends in zip(*ranges))
    return lambda rows: _between(rows["particle"], lows, highs)


def parse_ranges(text: str) -> tuple[tuple[int, int], ...]:
    """ "3, 7, 10-20" as ranges, both ends included. Raises ValueError."""
    out = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        first, dash, last = part.partition("-")
        low, high = int(first), int(last) if dash else int(first)
        if not 0 <= low <= high:
            raise ValueError(part)
        out.append((low, high))
    if not out:
        raise ValueError(text)
    return tuple(out)


def _between(particles: NDArray[np.int64], lows: NDArray[np.int64], highs: NDArray[np.int64]) -> NDArray[np.bool_]:
    within: NDArray[np.bool_] = (particles[:, None] >= lows) & (particles[:, None] <= highs)
    return np.asarray(within.any(axis=1))
