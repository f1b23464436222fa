"""Takes: which frames are recorded, while tracking goes on.

Every frame says under which version of the settings it came, and a version says whether frames are recorded and as
which take (`engine.live.Recording`). So all recorders decide alike, and a recorder that was killed decides again as its
predecessor did. A take may reach back (`record start --before 2s`): while recording is off, results wait here until
they are older than that, and their places are not given back before.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from engine.live import Recording
from engine.rows import State
from recorders.tables import PAUSED, Table

if TYPE_CHECKING:
    import pandas as pd

NS = 1_000_000_000
ON, OFF = "take", "recording off"
"""Kinds of events: a take begins or goes on at this frame; recording is off from this frame on."""
_MARK = ("kind", "json", "frame")


class Result(NamedTuple):
    """A result with its place in the ring, as the loop hands it on."""

    place: int
    meta: np.void
    rows: Table


class Takes:
    """A delay line: results go in, and come out when it is known whether they are recorded, in the same order."""

    def __init__(self, recording_of: Callable[[int], Recording], before_s: float, most: int) -> None:
        """`before_s`: how far back a take may reach; `most`: so many results wait at most."""
        self._recording_of = recording_of
        self._before_ns = round(before_s * NS)
        self._most = most
        self._waiting: deque[Result] = deque()

    def push(self, result: Result) -> Iterator[Result]:
        """Take a result; what comes out now. What is not recorded comes out without rows, its state `PAUSED`."""
        recording = self._recording_of(int(result.meta["settings"]))
        t_ns = int(result.meta["t_received_ns"])
        if recording.on:
            begin_ns = t_ns - min(round(recording.before_s * NS), self._before_ns)
            while self._waiting:
                waiting = self._waiting.popleft()
                yield waiting if int(waiting.meta["t_received_ns"]) >= begin_ns else unrecorded(waiting)
            yield result
            return
        self._waiting.append(result)
        while self._waiting and (
            t_ns - int(self._waiting[0].meta["t_received_ns"]) >= self._before_ns or len(self._waiting) > self._most
        ):
            yield unrecorded(self._waiting.popleft())

    def rest(self) -> Iterator[Result]:
        """What waits comes out unrecorded."""
        while self._waiting:
            yield unrecorded(self._waiting.popleft())


def unrecorded(result: Result) -> Result:
    """What is written of a frame that came while recording was off: that it came, and when."""
    meta = result.meta.copy()
    meta["rows"] = 0
    if meta["state"] == State.TRACKED:
        meta["state"] = PAUSED
    return Result(result.place, meta, result.rows[:0])


def takes_of(events: pd.DataFrame, frames: Table) -> pd.DataFrame:
    """One row a take: take, name, first and last recorded frame number, frames recorded.

    From `/events` and `/frames` of a run.
    """
    import pandas as pd

    marks = events[events["kind"].isin([ON, OFF])].sort_values("frame", kind="stable")
    recorded = frames["frame"][frames["state_code"] == State.TRACKED]
    takes: dict[int, tuple[str, list[Table]]] = {}
    stretches = [(kind, json.loads(text), int(frame)) for kind, text, frame in zip(*(marks[c] for c in _MARK))]
    if stretches and stretches[0][0] == OFF and stretches[0][1]["take"]:
        stretches.insert(0, (ON, stretches[0][1], 0))  # recording was on from the start of the run
    ends = [*(frame for _, _, frame in stretches[1:]), np.iinfo(np.int64).max]
    for (kind, said, first), end in zip(stretches, ends):
        if kind == ON:
            _, pieces = takes.setdefault(int(said["take"]), (str(said["name"]), []))
            pieces.append(recorded[(recorded >= first) & (recorded < end)])
    rows = [(take, name, np.concatenate(pieces)) for take, (name, pieces) in sorted(takes.items())]
    return pd.DataFrame(
        [[take, name, int(n[0]) if len(n) else -1, int(n[-1]) if len(n) else -1, len(n)] for take, name, n in rows],
        columns=["take", "name", "first_frame", "last_frame", "frames"],
    )
