"""What every process of a run is given: its job.

A process module has `main(job)` and, if it counts, `COUNTERS`. It says `job.status.ready()` when it may be used, beats
its heart at least every tenth of a second, and returns when `job.stopping`. `engine.child` starts it.
"""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from engine.experiment import Experiment
from engine.live import LiveSettings, Recording
from engine.plan import Plan, ProcessPlan
from engine.rings import Rings
from engine.shm.cursors import LosslessReader
from engine.shm.frame_ring import FrameWriter
from engine.shm.ledger import Ledger
from engine.shm.ring import Ring
from engine.shm.status import ProcessState, StatusBlock
from engine.shm.versions import VersionGoneError
from engine.shm.wakeup import LONGEST_S

_MAPPED_AT_ONCE = {
    "receiver": {"frames": "write"},
    "tracker": {"frames": "read", "work": "write", "results": "write"},
    "linker": {"results": "write", "state": "write"},
    "recorder": {"results": "read"},
}
"""Segments of which a kind of process touches every page: 4 ms a frame of 8 MiB, spent before the first frame."""


class Log:
    """The run's log: JSON lines of all processes in one file. One line is one write, so lines never mix."""

    def __init__(self, path: Path, process: str) -> None:
        self._path = path
        self._process = process

    def __call__(self, level: str, message: str, **fields: Any) -> None:
        """Append a line: level "debug", "info", "warning" or "error", a sentence, and facts for machines."""
        line = {"t_utc_ns": time.time_ns(), "level": level, "process": self._process, "message": message, **fields}
        data = json.dumps(line, default=str).encode() + b"\n"
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError:
            return  # The folder is gone or full; what a process has to say must not stop it.
        try:
            os.write(fd, data)
        except OSError:
            pass
        finally:
            os.close(fd)


class Job:
    """One process's part of a run."""

    def __init__(self, plan: Plan, name: str, orphaned: Callable[[], bool] = lambda: False) -> None:
        self.plan = plan
        self.process: ProcessPlan = plan.process(name)
        self.rings = Rings(plan, owner=False, populate=_MAPPED_AT_ONCE.get(self.process.kind))
        self.log = Log(self.run_folder / "log.jsonl", name)
        self._orphaned = orphaned

    @property
    def name(self) -> str:
        return self.process.name

    @property
    def run_id(self) -> str:
        return self.plan.run_id

    @property
    def experiment(self) -> Experiment:
        return self.plan.experiment

    @property
    def run_folder(self) -> Path:
        return Path(self.plan.run_folder)

    @property
    def options(self) -> dict[str, Any]:
        """What the supervisor adds for this process alone (a sender's source, ...)."""
        return self.process.options

    @property
    def status(self) -> StatusBlock:
        return self.rings.block(self.name)

    @property
    def frames(self) -> Ring:
        return self.rings.frames

    @property
    def results(self) -> Ring:
        return self.rings.results

    @property
    def ledger(self) -> Ledger:
        return self.rings.ledger

    @property
    def incarnation(self) -> int:
        """Of the receiver: how often one was started in this run."""
        return self.rings.receiver_incarnation

    @property
    def settings_version(self) -> int:
        """Version of the settings that the receiver stamps onto the next frame."""
        return self.rings.settings_version

    def settings_of(self, version: int) -> dict[str, Any]:
        """What a version of the settings says; its number alone if it is not kept any more."""
        try:
            return self._live.as_dict(version)
        except VersionGoneError:
            return {"version": version}

    def recording_of(self, version: int) -> Recording:
        """Whether this process records frames under this version of the settings: switched off, it is as in a pause."""
        recording = self._live.recording(version)
        if self.name not in recording.without:
            return recording
        return msgspec.structs.replace(recording, on=False, paused=recording.on or recording.paused)

    def is_switched_off(self, version: int) -> bool:
        """Whether somebody switched this process off, under this version of the settings."""
        return self.name in self._live.recording(version).without

    @cached_property
    def _live(self) -> LiveSettings:
        return LiveSettings(self.rings)

    def frame_writer(self) -> FrameWriter:
        """For the receiver alone."""
        return self.rings.writer()

    def result_reader(self) -> LosslessReader:
        """This process's lossless reader of the result ring; it goes on where the last such process finished."""
        return LosslessReader(self.results, self.process.reader, self.frames.released)

    @property
    def orphaned(self) -> bool:
        """The supervisor died: finish what is open and leave within `process.grace_s`."""
        return self._orphaned()

    @property
    def stopping(self) -> bool:
        """Asked to finish, by the supervisor or by its death."""
        return self.status.stopping or self.orphaned

    def wait_as_spare(self) -> bool:
        """Wait until there is work to take over; False if asked to stop before. Call it when all is loaded.

        A process whose kind has no spares goes on at once.
        """
        status = self.status
        while self.process.spares:
            seen = status.told.rings()  # its own bell: a spare that hears of every frame costs 0.4 ms of each
            if status.promoted:
                break
            status.state = ProcessState.SPARE
            if self.stopping:
                return False
            status.beat()
            status.told.wait(seen, LONGEST_S)
        status.ready()
        return True

    def log_exception(self, error: BaseException) -> None:
        """The error with where it came from, for whoever mends it."""
        trace = "".join(traceback.format_exception(error))
        self.log("error", f"{type(error).__name__}: {error}", traceback=trace)
