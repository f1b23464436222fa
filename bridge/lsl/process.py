"""The LSL process: a following reader of the results, the outlets of the four streams, and what comes in.

Outlets exist before the process says that it is ready, and so before the first frame: LabRecorder looks for streams
once. A sample's time is the camera's on LSL's clock. Nobody ever waits for this process, and it waits for no inlet.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from bridge.lsl.describe import streams
from bridge.lsl.inbox import NewEvents
from bridge.lsl.incoming import Incoming
from bridge.lsl.labrecorder import LabRecorder
from bridge.lsl.machine import configure, load
from bridge.lsl.outlets import Outlets
from bridge.lsl.samples import Sampler, frames_lost
from engine.addresses import parse_address
from engine.clocks import NS, monotonic_ns
from engine.frames import Kind
from engine.process import Job, Log
from engine.shm.cursors import FollowingReader, Gap
from engine.shm.ledger import LedgerOverrunError
from engine.shm.ring import OverrunError

COUNTERS = (
    "frames_streamed", "frames_lost", "frames_off", "overflow", "events", "samples_in", "consumers", "push_ns",
    "push_us_max",
)  # fmt: skip
"""Frames that went out, that the ring went on without, that came while it was switched off; particles without a group;
what came in; who listens; all that pushes of `particles` took, and the longest."""

LOOK_S = 0.05
LINGER_S = 0.5
"""What was pushed last is on its way for so long; an outlet that goes takes it along."""


class Streamer:
    """One run's results on their way to LSL."""

    def __init__(self, job: Job, pylsl: Any) -> None:
        self._job = job
        self._status = job.status
        # On Linux LSL's clock is ours; measured all the same, because a liblsl may be built with another one.
        pairs = [(monotonic_ns(), pylsl.local_clock(), monotonic_ns()) for _ in range(20)]
        before, lsl, after = min(pairs, key=lambda pair: pair[2] - pair[0])
        offset_s = lsl - (before + after) / 2 / NS
        self.offset_s = offset_s if abs(offset_s) > 1e-4 else 0.0
        self._sampler = Sampler(job.experiment)
        self._outlets = Outlets(pylsl, job.experiment)
        self._events = NewEvents(job.run_folder)
        self._ledger = job.ledger.count
        self._stats = np.zeros((1, 8))
        self._slowest_us = 0
        self._status.set("consumers", 0)

    def frame(self, place: int) -> bool:
        """Stream the frame of a place; False if it was the closing one. Raises OverrunError."""
        with self._job.results.view(place) as entry:
            meta, rows = entry.meta.copy(), entry.data[: int(entry.meta["rows"])].copy()
        if meta["kind"] == Kind.CLOSING:
            return False
        sample = self._sampler.frame_sample(meta, rows)
        if self._job.is_switched_off(int(meta["settings"])):
            self._status.count("frames_off")
            return True  # the streams stay, and are silent; groups are kept
        stamp_s = int(meta["t_camera_ns"]) / NS + self.offset_s
        began = time.perf_counter_ns()
        self._outlets.push("particles", sample.particles, stamp_s)
        took_ns = time.perf_counter_ns() - began
        took_us = took_ns // 1000
        self._status.count("push_ns", took_ns)
        if took_us > self._slowest_us:
            self._slowest_us = took_us
            self._status.set("push_us_max", took_us)
        now_ns = monotonic_ns()
        self._stats[0] = (
            int(meta["frame"]), int(meta["found"]), int(meta["rows"]), sample.overflow, self._lost(int(meta["ledger"])),
            self._job.results.newest - place, (int(meta["t_tracked_ns"]) - int(meta["t_received_ns"])) / 1e6,
            (now_ns - int(meta["t_camera_ns"])) / 1e6,
        )  # fmt: skip
        self._outlets.push("stats", self._stats, stamp_s)
        if sample.rows is not None:
            self._outlets.push("rows", sample.rows, stamp_s)
        for event in sample.events:
            self._outlets.push("events", event, stamp_s)
        self._status.observe_ns(now_ns - int(meta["t_camera_ns"]))
        self._status.count("frames_streamed")
        self._status.count("overflow", sample.overflow)
        self._status.count("events", len(sample.events))
        return True

    def look(self) -> None:
        """Hand on what others wrote into the events of the run, and do what concerns the groups."""
        self._status.set("consumers", self._outlets.consumers())
        for event in self._events.read():
            if event["event"] == "choose":
                try:
                    self._sampler.groups.choose(int(event["particle"]), int(event["group"]))
                except (ValueError, KeyError, TypeError) as error:
                    self._job.log("warning", f"lsl: a particle could not be given its group: {error}")
            self._outlets.push("events", json.dumps(event), event["t_ns"] / NS + self.offset_s)
            self._status.count("events")

    def lost(self, gap: Gap) -> None:
        """The ring went on without us: said in the events, and seen in FrameNumber."""
        self._status.count("frames_lost", gap.count)
        text = json.dumps({"event": "not streamed", "places": gap.count})
        self._outlets.push("events", text, monotonic_ns() / NS + self.offset_s)

    def linger(self) -> None:
        """Let who listens have what was pushed last."""
        if self._outlets.consumers():
            time.sleep(LINGER_S)

    def close(self) -> None:
        self._outlets.close()

    def _lost(self, ledger: int) -> int:
        try:
            records = self._job.ledger.read(self._ledger, ledger) if ledger > self._ledger else None
        except LedgerOverrunError:
            records = None
        self._ledger = max(self._ledger, ledger)
        return 0 if records is None else frames_lost(records)


def main(job: Job) -> int:
    """Stream until the closing place, or until told to stop."""
    where = configure(job.experiment.network.remote)
    pylsl = load()
    streamer = Streamer(job, pylsl)
    job.log("info", f"lsl: {len(streams(job.experiment))} streams, {where}")
    note = Log(Path(job.run_folder) / "events.jsonl", job.name)

    def mark(t_ns: int, stream: str, text: str) -> None:
        note("info", text, event="marker", t_ns=t_ns, stream=stream)

    names = job.experiment.lsl.record
    with Incoming(
        pylsl, names, job.run_folder, mark, lambda level, text: job.log(level, text), streamer.offset_s
    ) as incoming:
        recorder = _labrecorder(job)
        if job.results.newest < 0:  # else this process was killed, and LabRecorder goes on by itself
            _remote(job, recorder, start=True)  # it takes seconds to find the streams: no frame shall pass meanwhile
        job.status.ready()
        try:
            _follow(job, streamer, incoming)
        finally:
            streamer.linger()
            _remote(job, recorder, start=False)
            streamer.close()
    return 0


def _follow(job: Job, streamer: Streamer, incoming: Incoming) -> None:
    reader = FollowingReader(job.results)
    status, taken, look_at = job.status, 0, 0.0
    while True:
        status.beat()
        place = reader.next(LOOK_S)
        if isinstance(place, Gap):
            streamer.lost(place)
        elif place is not None:
            try:
                if not streamer.frame(place):
                    streamer.look()
                    return
            except OverrunError:
                streamer.lost(reader.overrun(place))
        elif job.stopping:
            return
        if time.monotonic() >= look_at:
            streamer.look()
            status.count("samples_in", incoming.taken - taken)
            taken, look_at = incoming.taken, time.monotonic() + LOOK_S


def _labrecorder(job: Job) -> LabRecorder | None:
    address = job.experiment.lsl.labrecorder
    return LabRecorder(*parse_address(address, scheme="")) if address else None


def _remote(job: Job, recorder: LabRecorder | None, *, start: bool) -> None:
    if recorder is None:
        return
    name = job.experiment.experiment.name
    fault = recorder.start(name, job.run_folder.name) if start else recorder.stop()
    done = "was started" if start else "was stopped"
    job.log("warning" if fault else "info", f"lsl: {fault or f'LabRecorder {done}'}")
