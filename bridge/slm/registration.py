"""Registration: from camera pixels to orders of the modulator, by an affine map of three or more points."""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Optics(msgspec.Struct, frozen=True, kw_only=True):
    """What a registration is good for; with another one it is refused."""

    objective: str = ""
    binning: int = 1
    region: tuple[int, int, int, int] = (0, 0, 0, 0)  # y, x, height, width on the sensor


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """orders = matrix (x_px, y_px) + offset."""

    matrix: tuple[tuple[float, float], tuple[float, float]]
    offset: tuple[float, float]
    residual_px: float  # rms of the points, in camera pixels; NaN for three points, which fit exactly
    points: int
    t_utc_ns: int
    optics: Optics = Optics()

    def orders(self, at_px: Array) -> Array:
        """Points `(n, 2)` of the camera (x, y) as orders."""
        out: Array = at_px @ np.array(self.matrix).T + np.array(self.offset)
        return out

    def pixels(self, orders: Array) -> Array:
        """The way back."""
        out: Array = np.linalg.solve(np.array(self.matrix), (orders - np.array(self.offset)).T).T
        return out

    def refusal(self, optics: Optics, now_utc_ns: int, *, worst_px: float = 1.0, oldest_s: float = 7 * 86400) -> str:
        """Why it must not be used; "" if it may."""
        if optics != self.optics:
            return f"it was made with {self.optics}, now there is {optics}"
        if self.residual_px > worst_px:
            return f"its residual is {self.residual_px:.2f} px, at most {worst_px:g} are allowed"
        age_s = (now_utc_ns - self.t_utc_ns) / 1e9
        if age_s > oldest_s:
            return f"it is {age_s / 86400:.1f} days old, at most {oldest_s / 86400:g} are allowed"
        return ""


def register(camera_px: Array, orders: Array, t_utc_ns: int, optics: Optics | None = None) -> Registration:
    """Least squares through points `(n, 2)` seen where traps at `orders` stand. Raises ValueError."""
    count = len(camera_px)
    if count < 3 or camera_px.shape != orders.shape:
        raise ValueError(f"{count} points: three or more are needed, one trap for each")
    design = np.column_stack([camera_px, np.ones(count)])
    if np.linalg.svd(camera_px - camera_px.mean(0), compute_uv=False)[1] < 1e-3 * np.ptp(camera_px):
        raise ValueError("the points lie on a line")
    solution = np.linalg.lstsq(design, orders, rcond=None)[0]
    matrix, offset = solution[:2].T, solution[2]
    misses = np.linalg.solve(matrix, (orders - design @ solution).T)
    residual = math.sqrt(float(np.sum(misses**2)) / (count - 3)) if count > 3 else math.nan
    (a, b), (c, d) = matrix.tolist()
    return Registration(
        matrix=((a, b), (c, d)), offset=(float(offset[0]), float(offset[1])), residual_px=residual, points=count,
        t_utc_ns=t_utc_ns, optics=optics or Optics(),
    )  # fmt: skip
