"""The linker: takes finished places in order, gives the features their identity, publishes.

The protocol is in `engine.shm.result_ring`: each place is computed from the state after the one before, and the one
store that publishes it also commits the new state. So a linker that starts again loses nothing and changes nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engine.clocks import monotonic_ns
from engine.frames import Kind
from engine.live import LiveSettings
from engine.process import Job
from engine.rows import FILTERS, State
from engine.shm.steps import Steps, run
from engine.shm.wakeup import LONGEST_S, wait_for
from engine.workers.configure import link_state_for
from engine.workers.link_state import LinkState

COUNTERS = ("frames", "rows", "failed")
LINKS_KEPT = 4

TALLY = np.dtype(
    [
        ("sequence", "<i8"),  # of the newest frame
        ("tracked", "<i8"),  # frames published with their rows
        ("failed", "<i8"),  # frames published without, after a unit failed twice
        ("found", "<i8"),  # features before the filters
        ("rows", "<i8"),
        ("overflow", "<i8"),  # rows beyond ring.max_particles
        ("closed", "<i8"),  # 1 after the closing place
    ]
    + [(f"removed_{name}", "<i8") for name in FILTERS]
)
"""What the run has come to, committed with every place: exact whoever dies. It lies in front of the linking state."""
TALLY_BYTES = -(-TALLY.itemsize // 64) * 64


class Linker:
    """Publishes results in the order of places."""

    def __init__(self, job: Job, link_state: LinkState) -> None:
        self._job = job
        self._rings = job.rings
        self._settings = LiveSettings(self._rings)
        self._links = {1: link_state}  # by version of the settings; they share one state
        self.closed = False

    def step(self) -> bool:
        """Publish the next place; False if it was not finished within `LONGEST_S`."""
        rings, job = self._rings, self._job
        place = rings.results.newest + 1
        finished = wait_for(
            rings.units.finished, lambda: rings.units.is_finished(place) or None, LONGEST_S, job.status.beat
        )
        job.status.beat()
        if finished is None:
            return False
        run(self._publish(place))
        rings.frames.released.ring()  # the receiver may wait for this place of the result ring
        return True

    def _publish(self, place: int) -> Steps[None]:
        yield "link.1"
        rings, results = self._rings, self._rings.results
        old = rings.state.in_force(place - 1)
        new = yield from rings.state.begin(place)
        meta, rows = results.record(place), results.payload(place)
        tally = new[:TALLY_BYTES][: TALLY.itemsize].view(TALLY)
        tally[0] = old[: TALLY.itemsize].view(TALLY)[0]
        count = int(meta["rows"][0])
        if meta["kind"][0] == Kind.CLOSING:
            new[TALLY_BYTES:] = old[TALLY_BYTES:]
            tally["closed"] = 1
        elif meta["state"][0] == State.FAILED:
            # A missing frame for linking, like one that never came.
            new[TALLY_BYTES:] = old[TALLY_BYTES:]
            tally["failed"] += 1
            self._job.log("error", f"frame {int(meta['frame'][0])} was lost: a unit of its tracking failed twice")
        else:
            self._link(old[TALLY_BYTES:], new[TALLY_BYTES:], meta, rows[:count], tally)
        rings.state.end(place)
        now = monotonic_ns()
        meta["t_linked_ns"] = now
        meta["t_published_ns"] = now
        closed = bool(tally["closed"][0])
        received_ns = int(meta["t_received_ns"][0])
        yield from results.commit(place, "link")
        if closed:
            self.closed = True
        else:
            self._count(meta, count, monotonic_ns() - received_ns)

    def _links_of(self, version: int) -> LinkState:
        """Linking with the settings that the frame was stamped with."""
        if version not in self._links:
            if len(self._links) >= LINKS_KEPT:
                del self._links[min(self._links)]
            self._links[version] = link_state_for(self._settings.experiment(version), self._job.experiment)
        return self._links[version]

    def _link(self, old: npt.NDArray[np.uint8], new: npt.NDArray[np.uint8], meta: Any, rows: Any, tally: Any) -> None:
        sequence = int(meta["sequence"][0])
        self._links_of(int(meta["settings"][0])).advance(
            old,
            new,
            frame_number=int(meta["frame"][0]),
            new_sequence=sequence != int(tally["sequence"][0]),
            t_source_ns=int(meta["t_source_ns"][0]),
            rows=rows,
        )
        tally["sequence"] = sequence
        tally["tracked"] += 1
        for name in ("found", "rows", "overflow", *(f"removed_{name}" for name in FILTERS)):
            tally[name] += meta[name]

    def _count(self, meta: Any, rows: int, latency_ns: int) -> None:
        status = self._job.status
        status.observe_ns(latency_ns)
        status.count("frames")
        status.count("rows", rows)
        status.count("failed", int(meta["state"][0] == State.FAILED))


def read_tally(state: npt.NDArray[np.uint8]) -> dict[str, int]:
    """The tally of a state that is in force."""
    tally = state[: TALLY.itemsize].view(TALLY)[0]
    return {name: int(tally[name]) for name in TALLY.names or ()}


def main(job: Job) -> None:
    """Load the kernels, wait as the spare if another links, then link until the closing place."""
    links = link_state_for(job.experiment)
    links.warm()
    linker = Linker(job, links)
    if not job.wait_as_spare():
        return
    while not job.stopping and not linker.closed:
        linker.step()
