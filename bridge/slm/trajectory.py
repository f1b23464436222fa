"""Moving traps: straight ways at one time, no two closer than allowed, not faster than the beads can follow.

Assembly takes the assignment of least total squared distance. Then ways that are straight and walked in the same time
keep a distance of d where starts, and goals, are apart by more than √2 d (Turpin, Michael & Kumar 2014, Auton. Robots
37, 401); what is closer is checked, and refused if it collides.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bridge.slm.assignment import hungarian
from engine.errors import SettingsError
from engine.physics.bead import Bead

Array = NDArray[np.float64]
HOLD = 0.3
"""A bead may lag behind its trap by so much of the trap's reach: γ v / k."""


def greatest_speed(bead: Bead, stiffness: float, reach_um: float) -> float:
    """µm/s at which a trap of that stiffness (pN/µm) still keeps its bead, drag against stiffness."""
    return HOLD * reach_um * stiffness / bead.drag


def closest_approach(starts: Array, goals: Array) -> tuple[float, tuple[int, int]]:
    """The least distance of any two of the traps `(n, 2)` on their ways, and which two."""
    least, pair = math.inf, (0, 0)
    for i in range(len(starts) - 1):
        apart = starts[i + 1 :] - starts[i]
        change = (goals[i + 1 :] - goals[i]) - apart
        length = np.sum(change**2, axis=1)
        at = np.clip(-np.sum(apart * change, axis=1) / np.where(length > 0, length, 1), 0, 1)
        distance = np.linalg.norm(apart + at[:, None] * change, axis=1)
        j = int(distance.argmin())
        if distance[j] < least:
            least, pair = float(distance[j]), (i, i + 1 + j)
    return least, pair


def check(starts: Array, goals: Array, clearance: float) -> None:
    """Raises SettingsError, naming the two, if traps would come closer than `clearance` on their ways."""
    distance, (one, other) = closest_approach(starts, goals)
    if distance < clearance:
        raise SettingsError(
            f"slm: traps {one} and {other} would come within {distance:.2f}, at least {clearance:g} are wanted: "
            "move them one after the other"
        )


def steps(starts: Array, goals: Array, greatest_step: float) -> Array:
    """Places `(steps, n, 2)` on straight ways, all walked in the same time; the last ones are the goals."""
    farthest = float(np.max(np.linalg.norm(goals - starts, axis=1), initial=0.0))
    count = max(1, math.ceil(farthest / greatest_step - 1e-9))
    part = np.arange(1, count + 1)[:, None, None] / count
    out: Array = starts + part * (goals - starts)
    return out


def rotation(at: Array, centre: Array, angle_rad: float, greatest_step: float) -> Array:
    """Places `(steps, n, 2)` of traps turned about a centre: distances between them never change."""
    radius = float(np.max(np.linalg.norm(at - centre, axis=1), initial=0.0))
    count = max(1, math.ceil(abs(angle_rad) * radius / greatest_step - 1e-9))
    angles = angle_rad * np.arange(1, count + 1) / count
    turn = np.stack([np.cos(angles), -np.sin(angles), np.sin(angles), np.cos(angles)], axis=1).reshape(-1, 2, 2)
    out: Array = np.einsum("tij,nj->tni", turn, at - centre) + centre
    return out


def assemble(starts: Array, pattern: Array, clearance: float, greatest_step: float) -> tuple[NDArray[np.int64], Array]:
    """Which of the starts `(n, 2)` goes to each place of a pattern, and the places on the way `(steps, m, 2)`.

    Needs at least as many starts as places. Raises SettingsError for too few, or if ways would collide.
    """
    if len(starts) < len(pattern):
        raise SettingsError(f"slm: {len(pattern)} places of the pattern, but only {len(starts)} particles are held")
    squares = np.sum((pattern[:, None] - starts[None]) ** 2, axis=2)
    chosen = hungarian(squares)
    check(starts[chosen], pattern, clearance)
    return chosen, steps(starts[chosen], pattern, greatest_step)
