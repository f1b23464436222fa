"""Which particle belongs to which trap: least total squared distance, within a limit, slow to change its mind."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def hungarian(cost: Array) -> NDArray[np.int64]:
    """Column of each row, all different, of least total cost; `(n, m)` with n <= m. Kuhn-Munkres with potentials."""
    rows, columns = cost.shape
    if rows > columns:
        raise ValueError("more rows than columns")
    u, v = np.zeros(rows + 1), np.zeros(columns + 1)
    row_of = np.zeros(columns + 1, np.int64)
    for row in range(1, rows + 1):
        row_of[0], column = row, 0
        least, used = np.full(columns + 1, np.inf), np.zeros(columns + 1, bool)
        came_from = np.zeros(columns + 1, np.int64)
        while row_of[column]:
            used[column] = True
            here = row_of[column]
            reduced = cost[here - 1] - u[here] - v[1:]
            better = ~used[1:] & (reduced < least[1:])
            least[1:][better], came_from[1:][better] = reduced[better], column
            following = int(np.where(used, np.inf, least)[1:].argmin()) + 1
            delta = least[following]
            u[row_of[used]] += delta
            v[used] -= delta
            least[~used] -= delta
            column = following
        while column:
            row_of[column] = row_of[came_from[column]]
            column = int(came_from[column])
    out = np.empty(rows, np.int64)
    for column in range(1, columns + 1):
        if row_of[column]:
            out[row_of[column] - 1] = column - 1
    return out


def assign(
    traps: Array, particles: Array, ids: NDArray[np.int64], *, farthest: float, kept: Mapping[int, int] | None = None,
    locked: Mapping[int, int] | None = None, hysteresis: float = 0.0,
) -> dict[int, int]:  # fmt: skip
    """Trap number to particle id, for traps `(n, 2)` and particles `(m, 2)` in the same unit.

    `locked` pairs stand, seen or not; a `kept` pair's distance counts as shorter by `hysteresis`. No pair is farther
    apart than `farthest`.
    """
    pairs = dict(locked or {})
    free_traps = [i for i in range(len(traps)) if i not in pairs]
    free = [j for j, particle in enumerate(ids.tolist()) if particle not in pairs.values()]
    if not free_traps or not free:
        return pairs
    distance = np.linalg.norm(traps[free_traps][:, None] - particles[free][None], axis=2)
    for i, trap in enumerate(free_traps):
        for j, index in enumerate(free):
            if (kept or {}).get(trap) == ids[index]:
                distance[i, j] = max(0.0, distance[i, j] - hysteresis)
    # One column more for each trap: to have none. It costs more than any pair that is allowed.
    none = np.full((len(free_traps), len(free_traps)), 2 * (farthest**2 + 1))
    cost = np.hstack([np.where(distance <= farthest, distance**2, 8 * (farthest**2 + 1)), none])
    for i, column in enumerate(hungarian(cost).tolist()):
        if column < len(free) and distance[i, column] <= farthest:
            pairs[free_traps[i]] = int(ids[free[column]])
    return pairs
