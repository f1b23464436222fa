"""The HDF5 recorder: results into `tracking_run_001.h5`, as a process of its own.

`frames_lost` of its counters are numbers that never came here; frames whose tracking failed are recorded as such.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from engine.clocks import measure_utc_offset, monotonic_ns
from engine.live import Recording
from engine.process import Job
from engine.rows import State
from recorders.hdf5file import DiskError, RunFile
from recorders.hdf5new import leave
from recorders.inbox import Inbox
from recorders.loop import COUNTERS, record
from recorders.metadata import About
from recorders.parts import Position, part_path, part_paths, position_before
from recorders.runfolder import RunFolder
from recorders.tables import Table
from recorders.takes import OFF, ON

__all__ = ["COUNTERS", "Hdf5Recorder", "main"]


class Hdf5Recorder:
    """A `recorders.loop.Recorder`. A run whose recorder died goes on in a new part."""

    def __init__(
        self,
        first: Path,
        about: About,
        inbox: Inbox | None = None,
        settings_of: Callable[[int], dict[str, Any]] = lambda version: {"version": version},
        recording_of: Callable[[int], Recording] = lambda version: Recording(),
    ) -> None:
        """`first` is the file of part 1; the part of `about` is set to the one that is made.

        `settings_of` tells what a version of the settings says, for the event at the first frame that it was used for.
        """
        self._first = first
        self._about = about
        self._last: np.void | None = None
        self._inbox = inbox
        self._settings_of = settings_of
        self._recording_of = recording_of
        self._recording: Recording | None = None  # of the frame before
        self._first_recorded = -1  # since recording was off

    def open(self) -> Callable[[int], Position]:
        part = max(part_paths(self._first), default=0) + 1
        self._part = part
        self._file = RunFile(part_path(self._first, part), replace(self._about, part=part))
        return partial(position_before, self._first, part=part)

    @property
    def bytes(self) -> int:
        return self._file.bytes

    def frame(self, meta: np.void, rows: Table) -> None:
        self._events_at(meta)
        self._takes_at(meta)
        self._file.frame(meta, rows)
        if meta["extra_bytes"]:
            self._file.extra(int(meta["frame"]), _json_of(bytes(meta["extra"]), int(meta["extra_bytes"])))
        self._last = meta

    def lost(self, losses: Table, ledger: int) -> None:
        self._file.frames_lost(losses, ledger)

    def flush(self) -> None:
        self._take_inbox()
        self._file.flush()

    def idle(self) -> None:
        """A marker is in the file within a flush, though the camera may be silent for hours."""
        if self._take_inbox():
            self._file.flush()

    def close(self) -> None:
        self._take_inbox()
        self._file.take_streams(self._first.parent)
        self._file.close()

    def abandon(self) -> None:
        """Close the file as it is: the disk is full, but nothing was written halfway."""
        self._file.close(complete=False)

    def _events_at(self, meta: np.void) -> None:
        """Write down what changed between the frame before and this one."""
        frame, last = int(meta["frame"]), self._last
        if last is None:
            kind = "recording started" if self._part == 1 else "recorder restarted"
            self._event(frame, kind, {"part": self._part, "sequence": int(meta["sequence"])})
            if meta["settings"] != 1:
                self._event(frame, "settings", self._settings_of(int(meta["settings"])))
            return
        if meta["sequence"] != last["sequence"]:
            counters = {"counter_before": int(last["counter"]), "counter": int(meta["counter"])}
            self._event(frame, "sequence", {"sequence": int(meta["sequence"]), **counters})
        elif meta["stream"] != last["stream"]:
            self._event(frame, "sender restarted", {"stream": int(meta["stream"])})
        if meta["settings"] != last["settings"]:
            self._event(frame, "settings", self._settings_of(int(meta["settings"])))

    def _takes_at(self, meta: np.void) -> None:
        """Write down where a take begins, which may be before the frame that it was asked for at, and where it ends."""
        frame, recording, before = int(meta["frame"]), self._recording_of(int(meta["settings"])), self._recording
        self._recording = recording
        if meta["state"] == State.TRACKED and self._first_recorded < 0:
            self._first_recorded = frame
        if before is not None and (recording.on, recording.take) == (before.on, before.take):
            return
        if before is None and recording == Recording():
            return  # a run that records from its start says nothing of it
        said = {"take": recording.take, "name": recording.name, "why": recording.why}
        if recording.on:
            first = self._first_recorded if before is None or not before.on else frame
            self._event(frame if first < 0 else first, ON, said | {"asked_at": frame})
        else:
            self._event(frame, OFF, said)
            self._first_recorded = -1

    def _take_inbox(self) -> int:
        """Events of others stand at the frame that was newest when they were read; how many there were."""
        frame = -1 if self._last is None else int(self._last["frame"])
        events = self._inbox.read() if self._inbox else []
        for event in events:
            self._file.event(event.t_ns, max(frame, 0), event.kind[:24], event.text)
        return len(events)

    def _event(self, frame: int, kind: str, details: dict[str, Any]) -> None:
        self._file.event(monotonic_ns(), frame, kind, json.dumps(details))


def main(job: Job) -> int:
    """Record the run's results until the ring says that it has ended; the exit status."""
    folder = RunFolder(job.run_folder)
    about = About(job.experiment, job.run_id, folder.name, utc_offset_ns=measure_utc_offset().offset_ns)
    recorder = Hdf5Recorder(folder.hdf5, about, Inbox(job.run_folder), job.settings_of, job.recording_of)
    try:
        record(job, recorder)
    except DiskError as error:
        job.log("error", str(error))
        if error.intact:
            try:
                recorder.abandon()
            except DiskError:  # not even that: the disk has been filled meanwhile
                leave(str(error))
            raise
        leave(str(error))
    return 0


def _json_of(packed: bytes, size: int) -> str:
    """Free metadata as JSON text; what is no msgpack is kept as hex digits."""
    data = packed.ljust(size, b"\0")[:size]  # numpy drops zeros at the end of fixed bytes
    try:
        return msgspec.json.encode(msgspec.msgpack.decode(data)).decode()
    except (msgspec.MsgspecError, TypeError, ValueError):
        return json.dumps({"undecoded": data.hex()})
