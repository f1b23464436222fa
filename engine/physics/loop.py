"""What feedback on a trapped bead can and cannot do: stability and variance of the loop, with its delay in frames.

A bead in a harmonic trap of relaxation time τ, seen once a frame (dt), the trap moved to u = -G x of the frame d frames
before: x' = a x + (1-a) u + sqrt((1-a²) kT/k) ξ with a = exp(-dt/τ). With delay the state is (x, and the d positions
before); its covariance P solves the discrete Lyapunov equation P = A P Aᵀ + Q.
"""

from __future__ import annotations

import math

import numpy as np

from engine.physics.bead import Array


def loop_matrix(gain: float, dt_over_tau: float, delay: int) -> Array:
    """A of the state (x_n, x_{n-1}, ..., x_{n-d})."""
    a = math.exp(-dt_over_tau)
    matrix = np.eye(delay + 1, k=-1)
    matrix[0, 0] += a
    matrix[0, delay] -= (1 - a) * gain
    return matrix


def spectral_radius(gain: float, dt_over_tau: float, delay: int) -> float:
    """Below 1: the loop is stable."""
    return float(np.max(np.abs(np.linalg.eigvals(loop_matrix(gain, dt_over_tau, delay)))))


def variance_ratio(gain: float, dt_over_tau: float, delay: int, noise: float = 0.0) -> float:
    """Closed-loop variance of the bead relative to no feedback; inf if the loop is unstable.

    `noise`: variance of the localisation error, relative to the free variance; what is fed back carries it.
    """
    matrix = loop_matrix(gain, dt_over_tau, delay)
    if spectral_radius(gain, dt_over_tau, delay) >= 1:
        return math.inf
    a, n = math.exp(-dt_over_tau), delay + 1
    drive = np.zeros((n, n))
    drive[0, 0] = 1 - a * a + ((1 - a) * gain) ** 2 * noise
    covariance = np.linalg.solve(np.eye(n * n) - np.kron(matrix, matrix), drive.reshape(-1)).reshape(n, n)
    return float(covariance[0, 0])


def largest_stable_gain(dt_over_tau: float, delay: int) -> float:
    """The gain at which the loop begins to oscillate."""
    low, high = 0.0, 2.0
    while spectral_radius(high, dt_over_tau, delay) < 1:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        if spectral_radius(middle, dt_over_tau, delay) < 1:
            low = middle
        else:
            high = middle
    return low


def best_gain(dt_over_tau: float, delay: int) -> tuple[float, float]:
    """The gain of least variance, and that variance relative to no feedback (golden section)."""
    low, high = 0.0, 0.999 * largest_stable_gain(dt_over_tau, delay)
    golden = (math.sqrt(5) - 1) / 2
    for _ in range(80):
        width = golden * (high - low)
        if variance_ratio(high - width, dt_over_tau, delay) < variance_ratio(low + width, dt_over_tau, delay):
            high = low + width
        else:
            low = high - width
    gain = (low + high) / 2
    return gain, variance_ratio(gain, dt_over_tau, delay)
