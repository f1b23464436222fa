"""The pixels of a feature: an elliptical mask of given radius, as one run of columns for each row.

The weights are trackpy's (trackpy.masks).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Mask:
    """An ellipse of radius (ry, rx) around a pixel; row dy of it reaches from -reach[dy + ry] to +reach[dy + ry]."""

    reach: NDArray[np.int64]
    inside: NDArray[np.bool_]
    cosine: NDArray[np.float64]  # cos 2θ of every pixel of the square around it
    sine: NDArray[np.float64]
    root_sum_x2: tuple[float, float]  # sqrt(Σ y²), sqrt(Σ x²) over the ellipse

    @classmethod
    def of(cls, radius: tuple[int, int]) -> Self:
        ry, rx = radius
        y, x = np.mgrid[-ry : ry + 1, -rx : rx + 1]
        inside = (y / ry) ** 2 + (x / rx) ** 2 <= 1
        theta = np.arctan2(y.astype(np.float64), x.astype(np.float64))
        return cls(
            reach=(inside.sum(axis=1).astype(np.int64) - 1) // 2,
            inside=inside,
            cosine=np.cos(2 * theta),
            sine=np.sin(2 * theta),
            root_sum_x2=(float(np.sqrt((y[inside] ** 2).sum())), float(np.sqrt((x[inside] ** 2).sum()))),
        )

    @cached_property
    def pixels(self) -> int:
        return int(self.inside.sum())
