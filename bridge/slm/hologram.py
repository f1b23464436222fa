"""Holograms: the phase on the modulator that sends light to given points.

The phase of one trap at pixel (u, v), counted from the middle of the modulator, is

    2π (x u / width + y v / height) + z (u² + v²) / (width height / 4)

x, y in *orders*: periods of the grating across the modulator, which are the bins of a Fourier transform of its plane;
z in radians of the lens at the edge. As a product of a function of u and one of v (*phasors*) a hologram of N traps is
one matrix product of (height, N) and (N, width) instead of N passes over all pixels.

- `superposition`: the argument of the sum of all traps with random phases that are kept from command to command, so
  that nothing flickers: for every command.
- `weighted`: weighted Gerchberg-Saxton (Di Leonardo, Ianni & Ruocco 2007, Opt. Express 15, 1913): the amplitudes of
  weak traps are raised until all are as they should; goes on from weights and phases that it left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from bridge.slm.kernels import paint
from bridge.slm.levels import Levels, no_phase, phase_of

Phase = NDArray[np.float32]
Field = NDArray[np.complex64]
Array = NDArray[np.float64]


class Trap(msgspec.Struct, frozen=True, kw_only=True):
    """One point of light."""

    x: float  # orders
    y: float
    z: float = 0.0  # radians at the edge
    intensity: float = 1.0  # relative to the others


class Quality(msgspec.Struct, frozen=True):
    """How well a phase makes its traps."""

    efficiency: float  # share of the light that is in the traps
    uniformity: float  # 1 - (max - min)/(max + min) of intensity relative to what was asked
    intensities: list[float]  # share of the light in each trap


class Holograms:
    """Makes phases `(height, width)` for one modulator. Keeps a random phase for each trap number."""

    def __init__(self, width: int, height: int, *, seed: int = 0) -> None:
        self.width, self.height = width, height
        self._u = (np.arange(width) - width // 2).astype(np.float64)
        self._v = (np.arange(height) - height // 2).astype(np.float64)
        self._chance = np.random.default_rng(seed)
        self._phases = np.zeros(0)
        self.weights = np.zeros(0)

    def phasors(self, traps: Sequence[Trap]) -> tuple[Field, Field]:
        """Factors of v `(N, height)` and of u `(N, width)`."""
        x, y, z = (np.array([getattr(trap, name) for trap in traps])[:, None] for name in "xyz")
        lens = 2 * z / (math.pi * self.width * self.height)  # in turns
        return _turns(y * self._v / self.height + lens * self._v**2), _turns(
            x * self._u / self.width + lens * self._u**2
        )

    def superposition(self, traps: Sequence[Trap]) -> Phase:
        """Phase in radians, -π to π; all zero (a mirror: the light stays in the zero order) without traps."""
        return phase_of(self.superposition_levels(traps))

    def superposition_levels(self, traps: Sequence[Trap]) -> Levels:
        """The same as levels, half as expensive: what displays take."""
        if not traps:
            return no_phase(self.height, self.width)
        of_v, of_u = self.phasors(traps)
        weights = self.weights if len(self.weights) == len(traps) else np.ones(len(traps))
        coefficients = _amplitudes(traps) * weights * np.exp(1j * self._kept(len(traps)))
        return paint(coefficients[:, None] * of_v, of_u)

    def weighted(self, traps: Sequence[Trap], iterations: int = 10) -> Phase:
        """Phase in radians by weighted Gerchberg-Saxton."""
        if not traps:
            return np.zeros((self.height, self.width), np.float32)
        of_v, of_u = self.phasors(traps)
        asked = _amplitudes(traps)
        phases, weights = self._kept(len(traps)), self.weights
        if len(weights) != len(traps):
            weights = np.ones(len(traps))
        pixels = self.width * self.height
        field = np.zeros((self.height, self.width), np.complex64)
        for _ in range(max(1, iterations)):
            _unit(_sum(of_v, of_u, asked * weights * np.exp(1j * phases)), field)
            seen = _project(field, of_v, of_u) / pixels
            amplitude = np.abs(seen) / asked
            weights = weights * amplitude.mean() / np.maximum(amplitude, 1e-12)
            phases = np.angle(seen)
        self.weights = weights / weights.mean()
        self._phases[: len(traps)] = phases
        return np.angle(_sum(of_v, of_u, asked * self.weights * np.exp(1j * phases))).astype(np.float32)

    def kept(self, count: int) -> tuple[Array, Array]:
        """Copies of the weights and phases of so many traps."""
        weights = self.weights if len(self.weights) == count else np.ones(count)
        return weights.copy(), self._kept(count).copy()

    def adopt(self, weights: Array, phases: Array) -> None:
        """Go on with weights and phases that another one `kept`."""
        self._kept(len(phases))
        self.weights = weights.copy()
        self._phases[: len(phases)] = phases

    def quality(self, phase: Phase, traps: Sequence[Trap]) -> Quality:
        """What a phase makes of the traps, by the transform at their very places."""
        of_v, of_u = self.phasors(traps)
        field = np.exp(1j * phase).astype(np.complex64)
        intensity = np.abs(_project(field, of_v, of_u) / (self.width * self.height)) ** 2
        relative = intensity / _amplitudes(traps) ** 2
        uniformity = 1 - (relative.max() - relative.min()) / (relative.max() + relative.min())
        return Quality(float(intensity.sum()), float(uniformity), intensity.tolist())

    def _kept(self, count: int) -> Array:
        more = count - len(self._phases)
        if more > 0:
            self._phases = np.concatenate([self._phases, self._chance.uniform(0, 2 * math.pi, more)])
        return self._phases[:count]


def _turns(turns: Array) -> Field:
    """exp(2πi turns); what is left of whole turns is exact enough in single precision."""
    angle = ((turns - np.rint(turns)) * (2 * math.pi)).astype(np.float32)
    out = np.empty(angle.shape, np.complex64)
    out.real, out.imag = np.cos(angle), np.sin(angle)
    return out


def _amplitudes(traps: Sequence[Trap]) -> Array:
    return np.asarray(np.sqrt(np.array([max(trap.intensity, 1e-12) for trap in traps])), float)


def _sum(of_v: Field, of_u: Field, coefficients: NDArray[np.complexfloating]) -> Field:
    out: Field = of_v.T @ (coefficients[:, None] * of_u).astype(np.complex64)
    return out


def _project(field: Field, of_v: Field, of_u: Field) -> NDArray[np.complexfloating]:
    """Σ field conj(phasor) of each trap."""
    out: NDArray[np.complexfloating] = np.einsum("vn,nv->n", field @ of_u.conj().T, of_v.conj())
    return out


def _unit(total: Field, out: Field) -> None:
    """What a modulator of phase alone leaves of a field: everywhere the same amplitude."""
    np.divide(total, np.maximum(np.abs(total), np.float32(1e-20)), out=out)
