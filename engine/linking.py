"""`link` and `link_iter`: features to particles, with trackpy's signatures and partitions.

The arithmetic is that of the linker process. Particles are numbered in the order in which they appear; trackpy's own
numbers depend on the order of Python sets, so compare which points belong together, never the numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from engine.rows import ROW
from engine.workers.link_state import LinkState

Range = float | tuple[float, float]

_SAME_ANSWER = (None, "auto", "recursive", "nonrecursive", "numba", "hybrid")


def link(
    f: pd.DataFrame,
    search_range: Range,
    pos_columns: list[str] | None = None,
    t_column: str = "frame",
    *,
    memory: int = 0,
    predictor: str | None = None,
    adaptive_stop: float | None = None,
    adaptive_step: float = 0.95,
    **options: Any,
) -> pd.DataFrame:
    """Link a DataFrame of features into trajectories: a copy, sorted by `t_column`, with the column `particle`.

    Arguments as in `trackpy.link`, in two dimensions. Groups of any size are solved exactly. `predictor` is "nearest"
    or "drift" (trackpy's NearestVelocityPredict and DriftPredict, span 1). Raises ValueError for options that are not
    offered.
    """
    _refuse(options)
    columns = list(pos_columns) if pos_columns is not None else (["z", "y", "x"] if "z" in f else ["y", "x"])
    if len(columns) != 2:
        raise ValueError(f"link works in two dimensions; the position columns are {', '.join(columns)}")
    f = f.copy()
    if f[t_column].dtype.kind not in "iu":
        f[t_column] = f[t_column].astype(np.int64)
    if f.index.name == t_column:
        f.index.name = f"{t_column}_index"
    f = f.sort_values(by=t_column)
    frames = f[t_column].to_numpy(np.int64)
    # Rows of one frame keep the order they came in, as in trackpy.
    order = np.argsort(frames, kind="stable")
    coordinates = f[columns].to_numpy(np.float64)[order]
    starts = np.flatnonzero(np.diff(frames[order], prepend=frames.min(initial=0) - 1))
    bounds = [*starts.tolist(), len(frames)]
    most = max((end - start for start, end in pairwise(bounds)), default=0)
    linker = _Linker(search_range, memory, most, predictor, adaptive_stop, adaptive_step)
    particles = [linker.next(int(frames[order[start]]), coordinates[start:end]) for start, end in pairwise(bounds)]
    f["particle"] = np.concatenate(particles) if particles else np.zeros(0, np.int64)
    return f


def link_iter(
    coords_iter: Iterable[Any],
    search_range: Range,
    *,
    memory: int = 0,
    predictor: str | None = None,
    adaptive_stop: float | None = None,
    adaptive_step: float = 0.95,
    **options: Any,
) -> Iterator[tuple[Any, list[int]]]:
    """Link an iterable of coordinates (N, 2), one a frame, or of (number, coordinates), into lists of particle ids.

    As `trackpy.link_iter`: every item is the frame after the one before, whatever its number.
    """
    _refuse(options)
    frames = iter(coords_iter)
    try:
        first = next(frames)
    except StopIteration:
        return
    numbered: Iterable[tuple[Any, Any]]
    if isinstance(first, np.ndarray):
        numbered = enumerate(chain([first], frames))
    else:
        numbered = chain([first], frames)
    linker = _Linker(search_range, memory, 0, predictor, adaptive_stop, adaptive_step)
    for level, (number, coordinates) in enumerate(numbered):
        points = np.asarray(coordinates, np.float64)
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"link_iter works in two dimensions; coordinates of frame {number} are {points.shape}")
        yield number, linker.next(level, points).tolist()


def _refuse(options: dict[str, Any]) -> None:
    defaults = {
        "neighbor_strategy": (None, "KDTree"),
        "link_strategy": _SAME_ANSWER,
        "dist_func": (None,),
        "to_eucl": (None,),
    }
    for name, value in options.items():
        if name not in defaults:
            raise TypeError(f"link() has no argument {name!r}")
        if not any(value is known or (isinstance(value, str | float) and value == known) for known in defaults[name]):
            raise ValueError(f"{name}={value!r} is not offered by this linker")


class _Linker:
    """One state of linking and room that grows with the largest frame; positions in units of an uneven range."""

    def __init__(
        self,
        search_range: Range,
        memory: int,
        max_particles: int,
        predictor: str | None,
        adaptive_stop: float | None,
        adaptive_step: float,
    ) -> None:
        if memory < 0:
            raise ValueError(f"memory: {memory} is negative")
        scale = np.broadcast_to(np.asarray(search_range, np.float64), (2,))
        if not np.all(scale > 0):
            raise ValueError(f"search_range: {search_range} must be positive")
        even = scale[0] == scale[1]
        self._scale = np.ones(2) if even else scale
        self._memory = memory
        if predictor is not None and not even:
            raise ValueError("predictor: is offered for one search range in both directions")
        if predictor not in (None, "nearest", "drift"):
            raise ValueError(f'predictor={predictor!r} is not offered by this linker; "nearest" and "drift" are')
        if adaptive_stop is not None and not adaptive_stop > 0:
            raise ValueError("adaptive_stop must be positive.")
        stop = 0.0 if adaptive_stop is None else float(np.max(adaptive_stop / (1.0 if even else scale)))
        self._options: dict[str, Any] = dict(
            adaptive_stop=stop, adaptive_step=adaptive_step or 0.95, prediction=predictor or "none"
        )
        self._state = LinkState(scale[0] if even else 1.0, memory, max(1, max_particles), **self._options)
        self._now, self._next = (np.zeros(self._state.bytes, np.uint8) for _ in range(2))

    def next(self, frame: int, coordinates: NDArray[np.float64]) -> NDArray[np.int64]:
        """Particle numbers of a frame's points."""
        if not np.isfinite(coordinates).all():
            raise ValueError(f"positions in frame {frame} are not all finite")
        if len(coordinates) > self._state.max_particles:
            self._grow(2 * len(coordinates))
        rows = np.zeros(len(coordinates), ROW)
        rows["y"], rows["x"] = (coordinates / self._scale).T
        self._state.advance(self._now, self._next, frame_number=frame, new_sequence=False, t_source_ns=0, rows=rows)
        self._now, self._next = self._next, self._now
        particles: NDArray[np.int64] = rows["particle"].copy()
        return particles

    def _grow(self, max_particles: int) -> None:
        larger = LinkState(self._state.search_range, self._memory, max_particles, **self._options)
        now = np.zeros(larger.bytes, np.uint8)
        now[: len(self._now)] = self._now
        self._state, self._now, self._next = larger, now, np.zeros(larger.bytes, np.uint8)
