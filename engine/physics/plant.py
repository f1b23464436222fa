"""Beads in movable traps, simulated without time-step error: what feedback and calibration are tested on.

A trap is harmonic within its reach and does nothing beyond. In a frame time the traps stand still; a bead's motion over
idle time and exposure is drawn from its exact joint distribution (Ornstein-Uhlenbeck; free diffusion outside): the
position at the end and the mean over the exposure, which is what the camera sees.

With e = exp(-w), w = E/τ, given the position y at the start (seen from the trap's centre):
mean of the end e y, of the average (1-e)/w y; variances s² (1-e²) and s² (2w - 3 + 4e - e²)/w², covariance s² (1-e)²/w.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from engine.physics.bead import Array, Bead

EXPOSED, SHORT = 1e-9, 1e-2
"""Exposures in relaxation times: below, there is none; below, the formulas' differences have no digits left."""


class Plant:
    """Beads `(n, axes)` in µm; a pure function of its seed and of the traps it was given."""

    def __init__(self, bead: Bead, positions_um: Array, *, seed: int = 0, reach_um: float = 0.8) -> None:
        """`reach_um`: a bead farther than this from every trap is in none."""
        self.bead = bead
        self.at = np.array(positions_um, float)
        self.reach_um = reach_um
        self._chance = np.random.default_rng(seed)

    def held_by(self, traps_um: Array) -> NDArray[np.int64]:
        """The trap that holds each bead: the nearest within reach, -1 if there is none."""
        if not len(traps_um):
            return np.full(len(self.at), -1)
        distance = np.linalg.norm(self.at[:, None] - traps_um[None], axis=2)
        nearest = distance.argmin(axis=1)
        return np.where(distance[np.arange(len(self.at)), nearest] <= self.reach_um, nearest, -1)

    def frame(self, traps_um: Array, stiffness: Array | float, dt_s: float, exposure_s: float = 0.0) -> Array:
        """Go on by one frame time with the traps `(m, axes)` standing still; the positions that the camera sees.

        The exposure is the last part of the frame time. `stiffness`: pN/µm, of each trap or of all.
        """
        if not 0 <= exposure_s <= dt_s:
            raise ValueError(f"exposure {exposure_s:g} s in a frame time of {dt_s:g} s")
        held = self.held_by(traps_um)
        k = np.broadcast_to(np.asarray(stiffness, float), (len(traps_um),))
        seen = np.empty_like(self.at)
        free = held < 0
        if free.any():
            seen[free] = self._free(free, dt_s, exposure_s)
        taken = np.sort(held[~free])
        if len(taken) and (taken[1:] != taken[:-1]).all():  # at most one in each: all at once, with the same numbers
            bead = np.argsort(held, kind="stable")[free.sum() :]
            seen[bead] = self._each_held(bead, traps_um[taken], k[taken], dt_s, exposure_s)
            return seen
        for trap in np.unique(taken):
            here = held == trap
            seen[here] = self._held(here, traps_um[trap], float(k[trap]), dt_s, exposure_s)
        return seen

    def _each_held(self, bead: NDArray[np.int64], centre: Array, k: Array, dt_s: float, exposure_s: float) -> Array:
        """As `_held` for one bead after the other, each in a trap of its own."""
        k = k[:, None]
        variance, tau = self.bead.kT / k, self.bead.drag / k
        y = self.at[bead] - centre
        exposed = bool((exposure_s / tau >= EXPOSED).all())
        chance = self._chance.standard_normal((len(bead), 3 if exposed else 1, y.shape[1]))
        idle = np.exp(-(dt_s - exposure_s) / tau)
        y = idle * y + np.sqrt(variance * (1 - idle**2)) * chance[:, 0]
        if not exposed:
            self.at[bead] = y + centre
            return np.asarray(y + centre, float)
        w = exposure_s / tau
        e = np.exp(-w)
        end_var = variance * -np.expm1(-2 * w)
        short = w < SHORT
        mean_var = variance * np.where(short, 2 * w / 3 - w * w / 2, (2 * w - 3 + 4 * e - e * e) / w**2)
        both = variance * np.where(short, w - w * w, (1 - e) ** 2 / w)
        a = np.sqrt(end_var)
        end = a * chance[:, 1]
        rest = np.sqrt(np.maximum(0.0, mean_var - both**2 / end_var))
        seen: Array = y * -np.expm1(-w) / w + both / a * chance[:, 1] + rest * chance[:, 2] + centre
        self.at[bead] = e * y + end + centre
        return seen

    def _held(self, which: NDArray[np.bool_], centre: Array, k: float, dt_s: float, exposure_s: float) -> Array:
        variance, tau = self.bead.kT / k, self.bead.drag / k
        y = self.at[which] - centre
        idle = math.exp(-(dt_s - exposure_s) / tau)
        y = idle * y + math.sqrt(variance * (1 - idle**2)) * self._chance.standard_normal(y.shape)
        w = exposure_s / tau
        if w < EXPOSED:
            self.at[which] = y + centre
            return y + centre
        e = math.exp(-w)
        end_var = variance * -math.expm1(-2 * w)
        if w < SHORT:  # the leading terms, where the differences have no digits left
            mean_var, both = variance * (2 * w / 3 - w * w / 2), variance * (w - w * w)
        else:
            mean_var, both = variance * (2 * w - 3 + 4 * e - e * e) / w**2, variance * (1 - e) ** 2 / w
        end, average = self._pair(y.shape, end_var, mean_var, both)
        seen: Array = y * -math.expm1(-w) / w + average + centre
        self.at[which] = e * y + end + centre
        return seen

    def _free(self, which: NDArray[np.bool_], dt_s: float, exposure_s: float) -> Array:
        d = self.bead.diffusion
        y = self.at[which]
        y = y + math.sqrt(2 * d * (dt_s - exposure_s)) * self._chance.standard_normal(y.shape)
        end, average = self._pair(y.shape, 2 * d * exposure_s, 2 * d * exposure_s / 3, d * exposure_s)
        self.at[which] = y + end
        seen: Array = y + average
        return seen

    def _pair(self, shape: tuple[int, ...], var_a: float, var_b: float, both: float) -> tuple[Array, Array]:
        """Two Gaussian numbers of given variances and covariance."""
        first = self._chance.standard_normal(shape)
        second = self._chance.standard_normal(shape)
        if var_a <= 0:
            return np.zeros(shape), np.zeros(shape)
        a = math.sqrt(var_a)
        return a * first, both / a * first + math.sqrt(max(0.0, var_b - both**2 / var_a)) * second
