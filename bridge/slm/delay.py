"""From display to camera: when did the particle begin to follow the light? By correlation and its own response.

The light jumps to and fro. A bead in a trap follows as a low pass of first order, τ = γ/k; a camera that exposes sees
the mean. For each delay and τ of a grid the motion is predicted from the commands and correlated with what was seen;
the delay of the greatest correlation is refined by a parabola. Commands and camera times are of the same clock.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Delay(msgspec.Struct, frozen=True):
    """What was found, in milliseconds."""

    delay_ms: float  # from the command to the moment of the camera's time
    error_ms: float  # half width where the correlation is as good as the noise lets one tell
    tau_ms: float
    correlation: float


def response(t_command_ms: Array, light: Array, t_ms: Array, tau_ms: float) -> Array:
    """Where a bead is at times `t_ms` whose light was put to `light` at `t_command_ms` (ascending), at rest before."""
    at = np.empty_like(light)  # of the bead when each command comes
    at[0] = light[0]
    for i in range(1, len(light)):
        at[i] = light[i - 1] + (at[i - 1] - light[i - 1]) * math.exp(-(t_command_ms[i] - t_command_ms[i - 1]) / tau_ms)
    index = np.clip(np.searchsorted(t_command_ms, t_ms, "right") - 1, 0, len(light) - 1)
    since = np.maximum(t_ms - t_command_ms[index], 0)
    out: Array = light[index] + (at[index] - light[index]) * np.exp(-since / tau_ms)
    return out


def find_delay(t_command_ms: Array, light: Array, t_seen_ms: Array, seen: Array, longest_ms: float = 200.0) -> Delay:
    """Raises ValueError if the particle does not follow the light."""
    if len(t_command_ms) < 2 or len(t_seen_ms) < 20 or np.ptp(light) == 0:
        raise ValueError("too few commands or frames")
    inner = t_seen_ms >= t_seen_ms[0] + longest_ms

    def table(delays: Array, taus: Array) -> Array:
        return np.array(
            [[_correlation(t_command_ms, light, t_seen_ms, seen, inner, d, tau) for d in delays] for tau in taus]
        )

    delays, taus = np.arange(0.0, longest_ms, 5.0), np.geomspace(0.5, 300.0, 10)
    near = delays[int(table(delays, taus).max(axis=0).argmax())]
    delays, taus = np.arange(max(0.0, near - 12), near + 12, 1.0), np.geomspace(0.5, 300.0, 28)
    best = table(delays, taus)
    row, column = np.unravel_index(int(best.argmax()), best.shape)
    peak = float(best[row, column])
    if peak < 0.3:
        raise ValueError(f"the particle does not follow the light: correlation {peak:.2f}")
    curve = best.max(axis=0)
    left, right = curve[max(0, column - 1)], curve[min(len(curve) - 1, column + 1)]
    bend = left - 2 * peak + right
    fine = 0.5 * (left - right) / bend if bend < 0 and 0 < column < len(curve) - 1 else 0.0
    # Where the residual's sum of squares has grown by one part in so many as there are frames: one sigma.
    close = delays[(1 - curve**2) <= (1 - peak**2) * (1 + 1 / inner.sum())]
    return Delay(float(delays[column] + fine), float(max(0.25, np.ptp(close) / 2)), float(taus[row]), peak)


def _correlation(
    t_command_ms: Array, light: Array, t_seen_ms: Array, seen: Array, inner: NDArray[np.bool_], delay: float, tau: float
) -> float:
    wanted = response(t_command_ms + delay, light, t_seen_ms[inner], tau)
    a, b = wanted - wanted.mean(), seen[inner] - seen[inner].mean()
    norm = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / norm if norm else 0.0
