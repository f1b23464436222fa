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
        return np.where(distance.min(axis=1) <= self.reach_um, distance.argmin(axis=1), -1)

    def frame(self, traps_um: Array, stiffness: Array | float, dt_s: float, exposure_s: float = 0.0) -> Array:
        """Go on by one frame time with the traps `(m, axes)` standing still; the positions that the camera sees.

        The exposure is the last part of the frame time. `stiffness`: pN/µm, of each trap or of all.
        """
        if not 0 <= exposure_s <= dt_s:
            raise ValueError(f"exposure {exposure_s:g} s in a frame time of {dt_s:g} s")
        held = self.held_by(traps_um)
        k = np.full(len(traps_um), stiffness, float)
        seen = np.empty_like(self.at)
        free = held < 0
        if free.any():
            seen[free] = self._free(free, dt_s, exposure_s)
        bead = np.argsort(held, kind="stable")[free.sum() :]
        if len(bead):
            seen[bead] = self._held(bead, held[bead], traps_um, k, dt_s, exposure_s)
        return seen

    def _held(
        self, bead: NDArray[np.int64], trap: NDArray[np.int64], traps_um: Array, stiffness: Array, dt_s: float,
        exposure_s: float,
    ) -> Array:  # fmt: skip
        """Beads and the trap of each, in the order of the traps."""
        centres, k = traps_um[trap], stiffness[trap, None]
        variance, tau = self.bead.kT / k, self.bead.drag / k
        y = self.at[bead] - centres
        w = exposure_s / tau
        exposed = bool((w >= EXPOSED).all())
        chance = self._draws(trap, 3 if exposed else 1)
        idle = np.exp(-(dt_s - exposure_s) / tau)
        y = idle * y + np.sqrt(variance * (1 - idle**2)) * chance[0]
        if not exposed:
            self.at[bead] = seen = np.asarray(y + centres, float)
            return seen
        e = np.exp(-w)
        end_var = variance * -np.expm1(-2 * w)
        short = w < SHORT
        mean_var = variance * np.where(short, 2 * w / 3 - w * w / 2, (2 * w - 3 + 4 * e - e * e) / w**2)
        both = variance * np.where(short, w - w * w, (1 - e) ** 2 / w)
        end, average = _pair(chance[1], chance[2], end_var, mean_var, both)
        seen = np.asarray(y * -np.expm1(-w) / w + average + centres, float)
        self.at[bead] = e * y + end + centres
        return seen

    def _draws(self, trap: NDArray[np.int64], draws: int) -> Array:
        """Random numbers `(draws, beads, axes)`, drawn trap by trap, so that a seed gives the same motion as ever."""
        first, end = trap.searchsorted(trap), trap.searchsorted(trap, side="right")
        row = draws * first + np.arange(draws)[:, None] * (end - first) + np.arange(len(trap)) - first
        drawn: Array = self._chance.standard_normal((draws * len(trap), self.at.shape[1]))[row]
        return drawn

    def _free(self, which: NDArray[np.bool_], dt_s: float, exposure_s: float) -> Array:
        d = self.bead.diffusion
        chance = self._chance.standard_normal((3, *self.at[which].shape))
        y: Array = self.at[which] + math.sqrt(2 * d * (dt_s - exposure_s)) * chance[0]
        if exposure_s <= 0:
            self.at[which] = y
            return y
        end, average = _pair(chance[1], chance[2], 2 * d * exposure_s, 2 * d * exposure_s / 3, d * exposure_s)
        self.at[which] = y + end
        seen: Array = y + average
        return seen


def _pair(
    first: Array, second: Array, var_a: Array | float, var_b: Array | float, both: Array | float
) -> tuple[Array, Array]:
    """Two Gaussian numbers of given variances and covariance, made of two of variance 1."""
    a = np.sqrt(var_a)
    return a * first, both / a * first + np.sqrt(np.maximum(0.0, var_b - both**2 / var_a)) * second
