"""A trace of some seconds of a run, as Perfetto (ui.perfetto.dev) and Chrome open it: every frame's steps in time.

It is put together from the stamps that every result carries anyway, and from counters of the status blocks. Rows, from
top to bottom, as a frame goes: sender, network, trackers, linker, each as wide as frames overlap there (`trackers`,
`trackers 2`, ...). Beneath them each process of the run with what can be counted of it.

Format: Trace Event Format, JSON object form (Google, 2016): "X" an interval, "C" a counter, "M" a name; `ts` and `dur`
in microseconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.clocks import monotonic_ns
from engine.frames import Kind
from engine.rings import Rings

SAMPLE_EVERY_S = 0.05
LONGEST_S = 60.0
MOST_FRAMES = 100_000
FRAMES_PID, FIRST_PROCESS_PID = 1, 10
ROWS = (
    ("sender", "t_camera_ns", "t_sent_ns"),
    ("network", "t_sent_ns", "t_received_ns"),
    ("trackers", "t_received_ns", "t_tracked_ns"),
    ("linker", "t_tracked_ns", "t_linked_ns"),
    ("publish", "t_linked_ns", "t_published_ns"),
)
_COUNTED = ("frames", "frames_recorded", "rows", "pictures", "requests", "taken", "samples")
_LANES = 100


class Tracer:
    """Collects from now on; `step` as often as wanted, at least once in the seconds that results are kept."""

    def __init__(self, rings: Rings, seconds: float) -> None:
        self._rings = rings
        self._seconds = min(seconds, LONGEST_S)
        self._next = rings.results.newest + 1
        self._records: list[NDArray[Any]] = []
        self._frames = 0
        self._events: list[dict[str, Any]] = []
        self._sample_due = 0.0
        self._before: dict[str, tuple[int, dict[str, int]]] = {}
        self._end: float | None = None  # counted from the first frame on

    def step(self) -> bool:
        """Take what is there; True when the time is over (or the run)."""
        now = time.monotonic()
        newest = self._rings.results.newest
        oldest = max(0, newest + 1 - (self._rings.results.slots * 7) // 8)
        self._next = max(self._next, oldest)
        closed = False
        while self._next <= newest and self._frames < MOST_FRAMES:
            record = self._rings.results.record(self._next).copy()
            closed = bool(record["kind"][0] == Kind.CLOSING)
            if not closed:
                self._records.append(record)
                self._frames += 1
            self._next += 1
        if self._end is None and self._frames:
            self._end = now + self._seconds
        if now >= self._sample_due:
            self._sample_due = now + SAMPLE_EVERY_S
            self._sample()
        return closed or self._frames >= MOST_FRAMES or (self._end is not None and now >= self._end)

    @property
    def frames(self) -> int:
        """Collected so far."""
        return self._frames

    def encode(self) -> bytes:
        """The file's content."""
        table = np.concatenate(self._records) if self._records else self._rings.results.record(0)[:0]
        name = self._rings.plan.experiment.experiment.name
        events = [*_names(FRAMES_PID, f"frames of {name}", 0), *frame_events(table)]
        for i, process in enumerate(self._rings.plan.processes):
            events += _names(FIRST_PROCESS_PID + i, f"{process.name} ({self._rings.block(process.name).pid})", 1 + i)
        return msgspec.json.encode(
            {"traceEvents": [*events, *self._events], "displayTimeUnit": "ms",
             "otherData": {"run_id": self._rings.plan.run_id, "run_folder": self._rings.plan.run_folder}}
        )  # fmt: skip

    def _sample(self) -> None:
        """Counters as they are now: work since the last look, and depth of the ring."""
        now = monotonic_ns()
        rings = self._rings
        depth = max(0, rings.frames.newest - rings.results.newest)
        self._events.append(_counter(FRAMES_PID, "frames in the ring", now, {"waiting": depth}))
        for i, process in enumerate(rings.plan.processes):
            counters = rings.block(process.name).counters()
            before = self._before.get(process.name)
            self._before[process.name] = now, counters
            if before is None:
                continue
            seconds = (now - before[0]) / 1e9
            for key, value in counters.items():
                more = value - before[1].get(key, 0)
                if key == "busy_ns":
                    share = {"%": round(100 * more / 1e9 / seconds, 1)}
                    self._events.append(_counter(FIRST_PROCESS_PID + i, "busy", now, share))
                elif key in _COUNTED:
                    rate = {"per second": round(more / seconds, 1)}
                    self._events.append(_counter(FIRST_PROCESS_PID + i, key, now, rate))


def frame_events(table: NDArray[Any]) -> Iterator[dict[str, Any]]:
    """An interval for each step of each frame (records as RESULT_META), in rows where none overlaps another."""
    for number, (row, start, end) in enumerate(ROWS):
        lanes: list[int] = []  # when each is free again
        for meta in table[np.argsort(table[start], kind="stable")] if len(table) else table:
            began, ended = int(meta[start]), int(meta[end])
            if began <= 0 or ended < began:
                continue  # not known: a sender that gives no times
            lane = next((i for i, free in enumerate(lanes) if free <= began), len(lanes))
            if lane == len(lanes):
                if lane == _LANES:
                    continue
                name = row if lane == 0 else f"{row} {lane + 1}"
                yield from _thread(FRAMES_PID, number * _LANES + lane, name)
                lanes.append(ended)
            lanes[lane] = ended
            yield {
                "ph": "X", "pid": FRAMES_PID, "tid": number * _LANES + lane, "ts": began / 1e3,
                "dur": (ended - began) / 1e3, "name": f"frame {int(meta['frame'])}", "cat": row,
                "args": {"frame": int(meta["frame"]), "particles": int(meta["rows"]),
                         "settings": int(meta["settings"]), "attempts": int(meta["attempts"])},
            }  # fmt: skip


def _names(pid: int, name: str, order: int) -> list[dict[str, Any]]:
    return [
        {"ph": "M", "pid": pid, "tid": 0, "name": "process_name", "args": {"name": name}},
        {"ph": "M", "pid": pid, "tid": 0, "name": "process_sort_index", "args": {"sort_index": order}},
    ]


def _thread(pid: int, tid: int, name: str) -> Iterator[dict[str, Any]]:
    yield {"ph": "M", "pid": pid, "tid": tid, "name": "thread_name", "args": {"name": name}}
    yield {"ph": "M", "pid": pid, "tid": tid, "name": "thread_sort_index", "args": {"sort_index": tid}}


def _counter(pid: int, name: str, t_ns: int, values: dict[str, Any]) -> dict[str, Any]:
    return {"ph": "C", "pid": pid, "tid": 0, "ts": t_ns / 1e3, "name": name, "args": values}
