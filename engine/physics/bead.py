"""A bead in a fluid: thermal energy, drag, and the covariances of its position in a harmonic trap as a camera sees it.

A bead in a trap of stiffness k with drag γ relaxes in τ = γ/k and has variance s² = kT/k (equipartition). A camera that
exposes for E sees the mean over E; with w = E/τ its covariances are exact (Ornstein-Uhlenbeck process):

- of one frame: C0 = s² (2/w - 2/w² (1 - exp(-w)))                                      Wong & Halvorsen 2006, eq. 9
- of frames n apart: Cn = s² (exp(w) + exp(-w) - 2)/w² exp(-n dt/τ)
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

BOLTZMANN_PN_UM = 1.380649e-5  # pN µm / K
Array = NDArray[np.float64]


class Bead(msgspec.Struct, frozen=True, kw_only=True):
    """A sphere in a fluid near a wall."""

    radius_um: float = 0.5
    temperature_K: float = 298.15
    viscosity_mPas: float = 0.89
    height_um: float = 0.0  # of its centre above the glass; 0: far from it

    @property
    def kT(self) -> float:
        """Thermal energy, pN µm."""
        return BOLTZMANN_PN_UM * self.temperature_K

    @property
    def drag(self) -> float:
        """γ = 6πηa in pN s/µm, along the glass, with Faxén's law for the height (Happel & Brenner 1983, 7-4.28).

        Raises ValueError if the bead is in the glass.
        """
        free = 6 * math.pi * self.viscosity_mPas * 1e-3 * self.radius_um
        if not self.height_um:
            return free
        if self.height_um <= self.radius_um:
            raise ValueError(
                f"height {self.height_um:g} µm: a bead of radius {self.radius_um:g} µm would be in the glass"
            )
        q = self.radius_um / self.height_um
        return free / (1 - 9 / 16 * q + q**3 / 8 - 45 / 256 * q**4 - q**5 / 16)

    @property
    def diffusion(self) -> float:
        """D = kT/γ, µm²/s."""
        return self.kT / self.drag


def blur(w: float) -> float:
    """Variance that a camera sees, relative to the true one; w = exposure/τ. 1 for w = 0."""
    if w < 1e-3:  # the series, where the difference of nearly equal numbers has no digits left
        return 1 - w / 3 + w**2 / 12
    return 2 / w - 2 / w**2 * (1 - math.exp(-w))


def blur_between(w: float) -> float:
    """Covariance between frames, relative to that of instants at their middles."""
    return 1 + w**2 / 12 if w < 1e-3 else (2 * math.cosh(w) - 2) / w**2


def covariances(lags: Array, tau_s: float, variance: float, dt_s: float, exposure_s: float) -> Array:
    """C at whole lags of frames (0, 1, 2, ...), without localisation error."""
    w = exposure_s / tau_s
    # As one exponential, so that a long exposure does not overflow: the lag is at least the exposure.
    decay = np.exp(-lags * dt_s / tau_s)
    if w < 1e-3:
        apart = blur_between(w) * decay
    else:
        apart = (np.exp(w - lags * dt_s / tau_s) + np.exp(-w - lags * dt_s / tau_s) - 2 * decay) / w**2
    return variance * np.where(lags == 0, blur(w), apart)


def spectrum(f_hz: Array, tau_s: float, variance: float, dt_s: float, exposure_s: float, noise: float = 0.0) -> Array:
    """Two-sided power spectrum of the frames (unit²/Hz), aliasing and blur included exactly; `noise`: variance of
    the localisation error. It is the sum dt Σ Cn cos(2πf n dt) in closed form.
    """
    w, a = exposure_s / tau_s, math.exp(-dt_s / tau_s)
    first = float(covariances(np.array([1.0]), tau_s, variance, dt_s, exposure_s)[0])
    cos = np.cos(2 * np.pi * f_hz * dt_s)
    return dt_s * (variance * blur(w) + noise + 2 * first * (cos - a) / (1 - 2 * a * cos + a * a))
