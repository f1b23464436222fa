"""Stiffness of a trap from the motion of the bead in it: three ways, each with its 95 % interval.

- *equipartition*: variance = kT/k, of what the camera blurs and the localisation error widens. Needs kT and drag.
- *power spectrum*: the corner frequency k/(2πγ), fitted by maximum likelihood (Whittle) to the exact spectrum of
  blurred and aliased frames (Norrelykke & Flyvbjerg 2010 for aliasing). Needs the drag; kT is a check.
- *MSD*: 2 (C0 - Cn), fitted for relaxation time and plateau. Needs the drag.

Positions are one coordinate in micrometres, one value a frame, NaN where the bead was not seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.physics.bead import Array, Bead, blur, covariances, spectrum

Z95 = 1.959964
LAGS_IN_TAU = 3.0
BLOCKS = 20
WIDEST = 3.0
"""Of an interval on either side, in units of ln k: a factor of twenty is no result."""


class Camera(msgspec.Struct, frozen=True, kw_only=True):
    """How positions were measured."""

    dt_s: float
    exposure_s: float = 0.0
    localisation_um: float = 0.0  # standard deviation of the localisation error of one coordinate


class Stiffness(msgspec.Struct, frozen=True, kw_only=True):
    """An estimate."""

    method: str
    k: float  # pN/µm
    low: float  # 95 % interval
    high: float
    tau_s: float
    variance_um2: float  # of the bead itself, without blur and localisation error
    samples: int

    @property
    def corner_hz(self) -> float:
        return 1 / (2 * math.pi * self.tau_s)


def equipartition(x_um: Array, camera: Camera, bead: Bead) -> Stiffness:
    """From the variance. Raises ValueError if it is no more than the localisation error explains."""
    x = x_um[np.isfinite(x_um)]
    seen = float(np.var(x)) - camera.localisation_um**2
    if len(x) < 50 or seen <= 0:
        raise ValueError(f"equipartition: {len(x)} positions with a variance of {seen:.3g} µm² beyond the error")

    def k_of(variance: float) -> float:
        """The stiffness whose blurred variance is this one; it falls with k."""
        low, high = 1e-9, 1e9
        for _ in range(200):
            k = math.sqrt(low * high)
            if bead.kT / k * blur(camera.exposure_s * k / bead.drag) > variance:
                low = k
            else:
                high = k
        return k

    k = k_of(seen)
    for _ in range(3):  # the mean was taken from the data too, which are correlated: the variance seen is too small
        a = math.exp(-camera.dt_s * k / bead.drag)
        k = k_of(seen / (1 - (1 + a) / (1 - a) / len(x)))
    # Squares of an AR(1) process are correlated with a²: so many independent ones there are.
    independent = len(x) * (1 - a * a) / (1 + a * a)
    error = math.sqrt(2 / independent) * (1 + camera.localisation_um**2 / seen)
    slope = (math.log(k_of(seen * 1.01)) - math.log(k_of(seen / 1.01))) / (2 * math.log(1.01))
    width = Z95 * abs(slope) * error
    return _result("equipartition", k, width, bead.drag / k, bead.kT / k, len(x))


def power_spectrum(x_um: Array, camera: Camera, bead: Bead) -> Stiffness:
    """From the corner frequency, of the longest stretch without a missing frame. Raises ValueError."""
    x = longest_stretch(x_um)
    if len(x) < 256:
        raise ValueError(f"power spectrum: the longest stretch without a missing frame has {len(x)} of 256 frames")
    f, power = periodogram(x, camera.dt_s)
    noise = camera.localisation_um**2

    def model(theta: Array) -> Array:
        return spectrum(f, math.exp(theta[0]), math.exp(theta[1]), camera.dt_s, camera.exposure_s, noise)

    try:
        theta, information = _maximum_likelihood(model, power, _start(x, camera))
        width = Z95 * math.sqrt(float(np.linalg.inv(information)[0, 0]))
    except (np.linalg.LinAlgError, OverflowError, ValueError):
        width = math.inf
    if not width < WIDEST:  # any relaxation time would do as well as another
        raise ValueError(
            f"power spectrum: flat up to {0.5 / camera.dt_s:.3g} Hz, the corner is above that: the trap is stiffer "
            "than this frame rate can tell"
        )
    tau, variance = math.exp(theta[0]), math.exp(theta[1])
    return _result("power spectrum", bead.drag / tau, width, tau, variance, len(x))


def msd_fit(x_um: Array, camera: Camera, bead: Bead) -> Stiffness:
    """From the mean square displacement; the interval by leaving out one of 20 blocks in turn. Raises ValueError."""
    x = np.asarray(x_um, float)
    if np.isfinite(x).sum() < 256:
        raise ValueError("MSD: fewer than 256 positions")
    start = _start(longest_stretch(x), camera)
    most = max(4, min(len(x) // (4 * BLOCKS), round(LAGS_IN_TAU * math.exp(start[0]) / camera.dt_s)))
    lags = np.arange(1.0, most + 1)
    sums, counts = [], []
    for block in np.array_split(x, BLOCKS):
        square = [(block[int(n) :] - block[: -int(n)]) ** 2 for n in lags]
        sums.append([np.nansum(s) for s in square])
        counts.append([np.isfinite(s).sum() for s in square])
    total, count = np.sum(sums, axis=0), np.sum(counts, axis=0)

    def fit(values: Array, theta: Array) -> Array:
        def model(t: Array) -> Array:
            c = covariances(
                np.concatenate([[0.0], lags]), math.exp(t[0]), math.exp(t[1]), camera.dt_s, camera.exposure_s
            )
            return np.asarray(2 * (c[0] + camera.localisation_um**2 - c[1:]), float)

        return _least_squares(model, values, theta)

    theta = fit(total / count, start)
    left_out = np.array([fit((total - s) / np.maximum(count - c, 1), theta)[0] for s, c in zip(sums, counts)])
    error = math.sqrt((BLOCKS - 1) / BLOCKS * float(np.sum((left_out - left_out.mean()) ** 2)))
    tau, variance = math.exp(theta[0]), math.exp(theta[1])
    return _result("MSD", bead.drag / tau, 2.093 * error, tau, variance, int(np.isfinite(x).sum()))  # t, 19 degrees


def periodogram(x: Array, dt_s: float) -> tuple[Array, Array]:
    """Frequencies (without 0) and two-sided power, unit²/Hz."""
    power = np.asarray(np.abs(np.fft.rfft(x - x.mean())) ** 2 * dt_s / len(x), float)
    f = np.asarray(np.fft.rfftfreq(len(x), dt_s), float)
    last = len(f) - 1 if len(x) % 2 == 0 else len(f)
    return f[1:last], power[1:last]


def longest_stretch(x: Array) -> Array:
    """The longest part without NaN."""
    good = np.concatenate([[False], np.isfinite(x), [False]])
    edges = np.flatnonzero(good[1:] != good[:-1]).reshape(-1, 2)
    if not len(edges):
        return np.zeros(0)
    first, last = edges[np.argmax(edges[:, 1] - edges[:, 0])]
    return np.asarray(x[first:last], float)


def _result(method: str, k: float, width: float, tau_s: float, variance: float, samples: int) -> Stiffness:
    """Errors are those of ln k: the interval is never negative."""
    return Stiffness(
        method=method, k=k, low=k * math.exp(-width), high=k * math.exp(width), tau_s=tau_s, variance_um2=variance,
        samples=samples,
    )  # fmt: skip


def _start(x: Array, camera: Camera) -> Array:
    """ln τ and ln variance to begin with: from the covariances at two lags, which carry no localisation error."""
    y = x - x.mean()
    c1, c2 = float(np.mean(y[1:] * y[:-1])), float(np.mean(y[2:] * y[:-2]))
    ratio = min(max(c2 / c1 if c1 > 0 else 0.05, 0.05), 0.999)
    return np.array([math.log(-camera.dt_s / math.log(ratio)), math.log(max(float(np.var(y)), 1e-30))])


Model = Callable[[Array], NDArray[np.float64]]


def _derivatives(model: Model, theta: Array) -> Array:
    """Of ln model, `(points, parameters)`."""
    h = 1e-4
    steps = [h * unit for unit in np.eye(len(theta))]
    return np.stack([(np.log(model(theta + s)) - np.log(model(theta - s))) / (2 * h) for s in steps], axis=1)


def _maximum_likelihood(model: Model, power: Array, theta: Array) -> tuple[Array, Array]:
    """Fisher scoring for exponentially distributed power: minimise Σ ln P + I/P. Parameters and information."""

    def cost(t: Array) -> float:
        p = model(t)
        return float(np.sum(np.log(p) + power / p))

    for _ in range(100):
        slope = _derivatives(model, theta)
        information = slope.T @ slope
        step = np.linalg.solve(information, slope.T @ (power / model(theta) - 1))
        step *= min(1.0, 1.0 / float(np.max(np.abs(step))))
        while cost(theta + step) > cost(theta) and np.max(np.abs(step)) > 1e-9:
            step = step / 2
        theta = theta + step
        if np.max(np.abs(step)) < 1e-7:
            break
    return theta, information


def _least_squares(model: Model, values: Array, theta: Array) -> Array:
    """Gauss-Newton on the logarithms."""
    for _ in range(60):
        slope = _derivatives(model, theta)
        step = np.linalg.lstsq(slope, np.log(values / model(theta)), rcond=None)[0]
        step *= min(1.0, 0.5 / max(1e-12, float(np.max(np.abs(step)))))
        theta = theta + step
        if np.max(np.abs(step)) < 1e-8:
            break
    return theta
