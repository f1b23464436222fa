"""Linking, frame by frame, with a state that lives in shared memory.

The state is a flat buffer: a head of counters, then the *sources*, one record for each particle that the next frame
may continue: those of the newest frame in the order of its rows, then the remembered ones, the longest lost last. All
zero is the empty state. `advance` computes the state after a frame from a copy that it leaves as it is, so that doing
a frame again gives the same bytes.

A particle that was last seen in frame s may go on in frames s + 1 to s + 1 + memory; missing frame numbers count. Its
search range does not grow meanwhile.
"""

from __future__ import annotations

# mypy: allow-untyped-defs, allow-untyped-calls
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.rows import ROW
from engine.workers.assignment import CANDIDATES, assign, find_candidates, narrow
from engine.workers.compiled import kernel

HEAD = np.dtype(
    [
        ("frames", "<i8"),  # linked so far
        ("next_particle", "<i8"),  # number of the next new particle
        ("sources", "<i8"),  # records that follow
        ("dropped", "<i8"),  # particles forgotten for want of room, the longest lost first
        ("searched", "<i8"),  # edges looked at where particles competed, all frames together
        ("longest_search", "<i8"),  # most in one frame
        ("unsearched", "<i8"),  # sources linked to their nearest free feature, the search having become too long
        ("newest", "<i8"),  # number of the frame linked last
    ]
)
SOURCE = np.dtype(
    [
        ("particle", "<i8"),
        ("x", "<f8"),  # where it was seen last, pixels
        ("y", "<f8"),
        ("first", "<i8"),  # frame numbers
        ("last", "<i8"),
        ("t_ns", "<i8"),  # camera time of `last`
        ("vx", "<f8"),  # pixels a frame, since the frame linked before `last`; NaN if it was not in that one
        ("vy", "<f8"),
    ]
)
PREDICTIONS = ("none", "nearest", "drift")
BUDGET = 100_000_000  # edges looked at in one frame: about a second


@kernel
def _take_sources(old_head, old, frame, new_sequence, memory, source_y, source_x, origin):
    """List what may go on in this frame; origin[s] is its record in the old state."""
    count = 0
    if not new_sequence:
        for i in range(old_head[0].sources):
            if frame - old[i].last <= memory + 1:
                source_y[count], source_x[count] = old[i].y, old[i].x
                origin[count] = i
                count += 1
    return count


@kernel
def _predict(old_head, old, frame, nearest, count, origin, source_y, source_x):
    """Move the sources to where they are expected in this frame.

    By the velocity of the nearest particle that was in both of the two frames linked last, or by the mean of all such
    (trackpy.predict.NearestVelocityPredict and DriftPredict). Without any they stay.
    """
    newest = old_head[0].newest
    known, mean_y, mean_x = 0, 0.0, 0.0
    for i in range(old_head[0].sources):
        if old[i].last == newest and not np.isnan(old[i].vy):
            known += 1
            mean_y += old[i].vy
            mean_x += old[i].vx
    if known == 0:
        return
    mean_y /= known
    mean_x /= known
    for s in range(count):
        source = old[origin[s]]
        vy, vx = mean_y, mean_x
        if nearest:
            if source.last == newest and not np.isnan(source.vy):
                vy, vx = source.vy, source.vx
            else:
                least = np.inf
                for i in range(old_head[0].sources):
                    other = old[i]
                    if other.last == newest and not np.isnan(other.vy):
                        d2 = (other.y - source.y) ** 2 + (other.x - source.x) ** 2
                        if d2 < least:
                            least, vy, vx = d2, other.vy, other.vx
        frames = np.float64(frame - source.last)
        source_y[s] = source.y + vy * frames
        source_x[s] = source.x + vx * frames


@kernel
def _name_rows(old_head, old, new_head, new, frame, t_ns, origin, owner, rows):
    """Give every row its particle, velocity and age, and make it a source."""
    particle = old_head[0].next_particle
    for i in range(rows.size):
        row, source = rows[i], new[i]
        source.x, source.y, source.last, source.t_ns = row.x, row.y, frame, t_ns
        row.vx = np.float32(np.nan)
        row.vy = np.float32(np.nan)
        source.vx = source.vy = np.nan
        if owner[i] >= 0:
            before = old[origin[owner[i]]]
            source.particle, source.first = before.particle, before.first
            if before.last == old_head[0].newest and old_head[0].frames > 0:
                frames = np.float64(frame - before.last)
                source.vx, source.vy = (row.x - before.x) / frames, (row.y - before.y) / frames
            seconds = np.float64(t_ns - before.t_ns) * 1e-9
            if seconds > 0:
                row.vx = np.float32((row.x - before.x) / seconds)
                row.vy = np.float32((row.y - before.y) / seconds)
        else:
            source.particle, source.first = particle, frame
            particle += 1
        row.particle = source.particle
        row.age = np.int32(frame - source.first)
    new_head[0].next_particle = particle


@kernel
def _remember(old, new_head, new, frame, memory, origin, link, sources, rows):
    """Keep the sources that were not linked and may still be in the next frame."""
    count, dropped = rows, 0
    for s in range(sources):
        source = old[origin[s]]
        if link[s] < 0 and frame - source.last <= memory:
            if count < new.size:
                kept = new[count]
                kept.particle, kept.x, kept.y = source.particle, source.x, source.y
                kept.first, kept.last, kept.t_ns = source.first, source.last, source.t_ns
                kept.vx, kept.vy = source.vx, source.vy
                count += 1
            else:
                dropped += 1
    new_head[0].sources = count
    return dropped


class LinkState:
    """Links frames of at most `max_particles` rows; `bytes` is the size of one copy of its state.

    One instance serves one thread; it keeps work space and nothing that outlasts a frame.
    """

    def __init__(
        self,
        search_range: float,
        memory: int,
        max_particles: int,
        *,
        adaptive_stop: float = 0.0,
        adaptive_step: float = 0.95,
        prediction: str = "none",
        longest_memory: int = 0,
    ) -> None:
        """An `adaptive_stop` of 0: the search range stays as it is. `prediction`: one of PREDICTIONS.

        `longest_memory`: the state has room for so many frames of memory, whatever `memory` is now.
        """
        if prediction not in PREDICTIONS:
            raise ValueError(f"prediction: {prediction!r} is none of {', '.join(PREDICTIONS)}")
        if adaptive_stop < 0 or not 0 < adaptive_step < 1:
            raise ValueError("adaptive_stop must be positive, adaptive_step between 0 and 1")
        self.adaptive_stop, self.adaptive_step = float(adaptive_stop), float(adaptive_step)
        self.prediction = prediction
        self.search_range = float(search_range)
        self.memory = int(memory)
        self.max_particles = max_particles
        self.capacity = max_particles * (max(self.memory, longest_memory) + 1)
        self.bytes = HEAD.itemsize + self.capacity * SOURCE.itemsize
        self._work = _Work(self.capacity, max_particles)

    def advance(
        self,
        old: NDArray[np.uint8],
        new: NDArray[np.uint8],
        *,
        frame_number: int,
        new_sequence: bool,
        t_source_ns: int,
        rows: NDArray[Any],
    ) -> None:
        """Link one frame: fill in particle, vx, vy and age of its rows, and the state after it.

        `old` is the state after the frame before and is left as it is; `new` takes the one after this frame. Frame
        numbers rise. With `new_sequence` nothing is linked to what was before; particle numbers go on. Times are those
        of the source, for the velocities (pixels a second; NaN for a particle's first row).

        Raises ValueError for more rows than there may be.
        """
        if len(rows) > self.max_particles:
            raise ValueError(f"a frame has {len(rows)} rows to be linked; the state has room for {self.max_particles}")
        old_head, old_sources = self._parts(old)
        new_head, new_sources = self._parts(new)
        work, targets = self._work, len(rows)
        work.target_y[:targets] = rows["y"]
        work.target_x[:targets] = rows["x"]
        sources = _take_sources(
            old_head, old_sources, frame_number, new_sequence, self.memory, work.source_y, work.source_x, work.origin
        )
        if self.prediction != "none":
            _predict(
                old_head, old_sources, frame_number, self.prediction == "nearest", sources, work.origin, work.source_y,
                work.source_x,
            )  # fmt: skip
        find_candidates(
            work.source_y, work.source_x, sources, work.target_y, work.target_x, targets, self.search_range,
            work.heads, work.follows, work.near, work.near_d2, work.near_n,
        )  # fmt: skip
        narrow(
            sources, targets, work.near, work.near_d2, work.near_n, self.search_range, self.adaptive_stop,
            self.adaptive_step, work.parent, work.size, work.no_link,
        )  # fmt: skip
        assign(
            sources, targets, work.near, work.near_d2, work.near_n, work.no_link, BUDGET, work.firsts,
            work.edge_target, work.edge_cost, work.owner, work.link, work.price, work.distance, work.via, work.stamp,
            work.done, work.heap_cost, work.heap_item, work.told,
        )  # fmt: skip
        _name_rows(
            old_head, old_sources, new_head, new_sources, frame_number, t_source_ns, work.origin, work.owner, rows
        )
        dropped = _remember(
            old_sources, new_head, new_sources, frame_number, self.memory, work.origin, work.link, sources, targets
        )
        searched, unsearched = (int(value) for value in work.told)
        new_head["newest"] = frame_number
        new_head["frames"] = old_head["frames"] + 1
        new_head["dropped"] = old_head["dropped"] + dropped
        new_head["searched"] = old_head["searched"] + searched
        new_head["longest_search"] = np.maximum(old_head["longest_search"], searched)
        new_head["unsearched"] = old_head["unsearched"] + unsearched

    def statistics(self, state: NDArray[np.uint8]) -> dict[str, int]:
        """The counters of a state (HEAD)."""
        head, _ = self._parts(state)
        return {name: int(head[name][0]) for name in HEAD.names or () if name != "newest"}

    def warm(self) -> None:
        """Compile, or load, every kernel: link two frames of one feature."""
        states = np.zeros((2, self.bytes), np.uint8)
        rows = np.zeros(1, ROW)
        self.advance(states[0], states[1], frame_number=0, new_sequence=False, t_source_ns=0, rows=rows)
        self.advance(states[1], states[0], frame_number=1, new_sequence=False, t_source_ns=1, rows=rows)

    def _parts(self, state: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[Any]]:
        if state.nbytes < self.bytes:
            raise ValueError(f"a state of {state.nbytes} bytes; {self.bytes} are needed")
        head = np.ndarray(1, HEAD, buffer=state)
        return head, np.ndarray(self.capacity, SOURCE, buffer=state, offset=HEAD.itemsize)


class _Work:
    """Work space of one LinkState, made once."""

    def __init__(self, sources: int, targets: int) -> None:
        edges = targets * CANDIDATES + 1
        self.source_y = np.zeros(sources)
        self.source_x = np.zeros(sources)
        self.origin = np.zeros(sources, np.int64)
        self.target_y = np.zeros(targets)
        self.target_x = np.zeros(targets)
        self.heads = np.zeros(2 * sources + 16, np.int64)
        self.follows = np.zeros(sources, np.int64)
        self.near = np.zeros((targets, CANDIDATES), np.int64)
        self.near_d2 = np.zeros((targets, CANDIDATES))
        self.near_n = np.zeros(targets, np.int64)
        self.firsts = np.zeros(sources + 2, np.int64)
        self.edge_target = np.zeros(edges, np.int64)
        self.edge_cost = np.zeros(edges)
        self.owner = np.zeros(targets, np.int64)
        self.link = np.zeros(sources, np.int64)
        self.price = np.zeros(targets)
        self.distance = np.zeros(targets)
        self.via = np.zeros(targets, np.int64)
        self.stamp = np.zeros(targets, np.int64)
        self.done = np.zeros(targets, np.int64)
        self.heap_cost = np.zeros(edges)
        self.heap_item = np.zeros(edges, np.int64)
        self.told = np.zeros(2, np.int64)
        self.no_link = np.zeros(sources)
        self.parent = np.zeros(sources + targets, np.int64)
        self.size = np.zeros(sources + targets, np.int64)
