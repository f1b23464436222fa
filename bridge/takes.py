"""Start, stop and pause of recording while tracking goes on: by request, by a rule, by the clock, by a full disk.

The control server owns one. What it decides is a version of the settings (`engine.live.Recording`), so every recorder
sees it at the same frame; a control server that starts again goes on from the version in force.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bridge.looking import Looker
from bridge.tuning import Tuning
from engine.chosen import parse_chosen
from engine.clocks import monotonic_ns
from engine.errors import MachineError, SettingsError
from engine.live import LiveSettings, Recording
from engine.plan import Plan
from engine.shm.ring import OverrunError
from engine.triggers import parse_trigger

if TYPE_CHECKING:
    from engine.process import Job

NS = 1_000_000_000
LOOK_EVERY_S = 0.02
DISK_EVERY_S = 1.0
ALL_OUTPUTS = {
    "hdf5": "record.hdf5 = true", "images": "record.images = true", "tiff": "record.tiff = true",
    "csv": "record.csv = true", "crops": "record.crop_size = 32", "lsl": "lsl.enabled = true",
}  # fmt: skip
"""Processes that write or stream, and the settings that a run has them by."""


def recording_facts(live: LiveSettings, plan: Plan, metrics: dict[str, Any]) -> dict[str, Any]:
    """What is recorded, for people and pages, beside a run's metrics: name, duration, size, minutes of disk left."""
    now, settings, now_ns = live.recording(live.newest), plan.experiment.record, monotonic_ns()
    try:
        free = shutil.disk_usage(plan.run_folder).free
    except OSError:  # a network drive that is away
        free = 0
    rate = _bytes_s(plan, metrics)
    ends_ns = max(0, now.until_ns - now_ns) if now.on else now.left_ns
    return {
        "state": now.state, "take": now.take, "name": now.name or f"take {now.take}", "why": now.why,
        "seconds": round((now_ns - (now.since_ns or plan.started_mono_ns)) / NS, 1) if now.on else 0.0,
        "ends_in_s": round(ends_ns / NS, 1) if now.until_ns or now.left_ns else None,
        "frames": metrics["recorded"], "bytes": metrics["bytes_recorded"], "disk_free_bytes": free,
        "minutes_left": round(max(0.0, free - settings.min_free_gb * 1e9) / rate / 60, 1) if rate else None,
        "trigger": settings.trigger, "outputs": outputs_of(plan, now),
    }  # fmt: skip


def _bytes_s(plan: Plan, metrics: dict[str, Any]) -> float:
    """What recording writes a second, or would if it were not paused: bytes of a recorded frame, times their rate."""
    if not metrics["recorded"]:
        return 0.0
    rate = float(metrics["receive_rate"]) or plan.experiment.camera.fps
    return rate * float(metrics["bytes_recorded"]) / float(metrics["recorded"])


def outputs_of(plan: Plan, recording: Recording) -> dict[str, bool]:
    """What a run writes or streams, by the name of the process, and whether it is switched on."""
    names = [process.name for process in plan.processes if process.kind == "recorder" or process.name == "lsl"]
    return {name: name not in recording.without for name in names}


class RecordingDesk:
    """Decides whether frames are recorded. `look` is called again and again; the rest answers requests."""

    def __init__(
        self,
        job: Job,
        tuning: Tuning,
        looker: Looker,
        note: Callable[[str, str], None],
        clock_ns: Callable[[], int] = monotonic_ns,
        free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    ) -> None:
        """`note(kind, message)` writes into the events of the run."""
        self._job = job
        self._tuning = tuning
        self._looker = looker
        self._note = note
        self._clock_ns = clock_ns
        self._free_bytes = free_bytes
        settings = job.experiment.record
        self._trigger = parse_trigger(settings.trigger)
        self._min_free_bytes = settings.min_free_gb * 1e9
        self._place = looker.newest  # of the newest result that the rule was asked about
        self._events = _Tail(job.run_folder / "events.jsonl")
        self._rest_ends_ns = 0  # the rule starts nothing before
        self._look_due = self._disk_due = 0.0

    @property
    def now(self) -> Recording:
        """What is in force."""
        return self._tuning.live.recording(self._tuning.live.newest)

    def start(self, name: str = "", before_s: float = 0.0, for_s: float = 0.0, why: str = "asked for") -> int:
        """Begin a take; the version. Raises SettingsError if one is going on, MachineError if the disk is too full."""
        now = self.now
        if now.on:
            raise SettingsError(f"{_called(now)} is being recorded already; stop it first")
        most = self._job.experiment.record.before_s
        if before_s > most:
            raise SettingsError(f"only the last {most:g} s are kept for this (record.before_s), not {before_s:g}")
        self._refuse_if_full()
        t_ns = self._clock_ns()
        return self._publish(
            Recording(
                on=True, take=now.take + 1, name=name, before_s=before_s, since_ns=t_ns,
                until_ns=t_ns + round(for_s * NS) if for_s else 0, why=why, without=now.without, crops=now.crops,
            )
        )  # fmt: skip

    def stop(self, why: str = "asked for", *, paused: bool = False) -> int:
        """End the take, or interrupt it (`paused`). Raises SettingsError if none is going on."""
        now = self.now
        if not now.on and not (now.paused and not paused):
            raise SettingsError("nothing is being recorded" + (f"; {_called(now)} is paused" if now.paused else ""))
        t_ns = self._clock_ns()
        left_ns = max(1, now.until_ns - t_ns) if paused and now.until_ns else 0
        changes: dict[str, Any] = {"on": False, "paused": paused, "since_ns": t_ns, "before_s": 0.0}
        return self._publish(msgspec.structs.replace(now, until_ns=0, left_ns=left_ns, why=why, **changes))

    def resume(self) -> int:
        """Go on with a take that was interrupted. Raises SettingsError, MachineError."""
        now = self.now
        if not now.paused:
            raise SettingsError("no take is paused; start one")
        self._refuse_if_full()
        t_ns = self._clock_ns()
        changes: dict[str, Any] = {"on": True, "paused": False, "since_ns": t_ns, "left_ns": 0}
        changes["until_ns"] = t_ns + now.left_ns if now.left_ns else 0
        return self._publish(msgspec.structs.replace(now, why="resumed", **changes))

    def choose(self, particles: str) -> int:
        """Keep crops of other particles from now on; the version. Raises SettingsError."""
        if "crops" not in self.outputs:
            raise SettingsError(
                f"crops: this run was started without them. Set {ALL_OUTPUTS['crops']}, start another run"
            )
        try:
            parse_chosen(particles)
        except ValueError:
            raise SettingsError(
                f'crops: {particles!r} is not understood; it is "3, 7, 20-29", "inside y0:y1, x0:x1", or empty for all'
            ) from None
        self._note("crops", f"crops are kept of {particles or 'all particles'}")
        return self._tuning.record(msgspec.structs.replace(self.now, crops=particles, before_s=0.0))

    @property
    def outputs(self) -> dict[str, bool]:
        """What this run writes or streams, and whether it is switched on."""
        return outputs_of(self._job.plan, self.now)

    def switch(self, values: Mapping[str, bool]) -> int:
        """Switch outputs off and on; the version. Raises SettingsError if this run has no such output."""
        now, outputs = self.now, self.outputs
        for name in values:
            if name in outputs:
                continue
            if name in ALL_OUTPUTS:
                raise SettingsError(
                    f"{name}: this run was started without it, and what writes it is not there to be switched on. "
                    f"Set {ALL_OUTPUTS[name]} and start another run"
                )
            raise SettingsError(f"{name!r} is no output; this run has {', '.join(outputs) or 'none'}")
        without = tuple(name for name, on in (outputs | dict(values)).items() if not on)
        if without == now.without:
            return self._tuning.live.newest
        words = ", ".join(f"{name} {'on' if on else 'off'}" for name, on in values.items())
        self._note("outputs", f"switched: {words}")
        # A take that goes on has reached back already.
        return self._tuning.record(msgspec.structs.replace(now, without=without, before_s=0.0))

    def look(self) -> None:
        """Has the time of a take come, is the disk full, is there what the rule waits for?"""
        if time.monotonic() < self._look_due:
            return
        self._look_due = time.monotonic() + LOOK_EVERY_S
        now, t_ns = self.now, self._clock_ns()
        if now.on:
            if now.until_ns and t_ns >= now.until_ns:
                self.stop("its time was over")
                self._rest_ends_ns = t_ns + round(self._job.experiment.record.trigger_rest_s * NS)
            elif time.monotonic() >= self._disk_due:
                self._disk_due = time.monotonic() + DISK_EVERY_S
                if (free := self._free()) < self._min_free_bytes:
                    self._note("recording stopped", f"recording stopped: {self._too_full(free)}")
                    self.stop("the disk is full")
        pulled = self._pulled()
        if pulled and not self.now.on and not now.paused and t_ns >= self._rest_ends_ns:
            settings = self._job.experiment.record
            try:
                self.start("", settings.before_s, settings.trigger_s, why=pulled)
            except MachineError as error:
                self._rest_ends_ns = t_ns + NS
                self._note("recording refused", str(error))

    def _pulled(self) -> str:
        """What pulled the trigger since the last look; "" if nothing did."""
        if self._trigger is None:
            return ""
        for text in self._events.read() if self._trigger.words else ():
            if self._trigger.of_event(text):
                return f"trigger: {self._trigger.text}"
        if self._trigger.of_rows is None:
            return ""
        first, newest = max(self._place + 1, self._looker.first_kept()), self._looker.newest
        self._place = newest
        for place in range(first, newest + 1):
            try:
                look = self._looker.result(place)
            except OverrunError:
                continue
            if look is not None and self._trigger.of_rows(look.rows):
                return f"trigger: {self._trigger.text} at frame {look.meta['frame']}"
        return ""

    def _publish(self, recording: Recording) -> int:
        version = self._tuning.record(recording)
        state = "is recorded" if recording.on else "is paused" if recording.paused else "has ended"
        self._job.log("info", f"{_called(recording)} {state}: {recording.why}", event="recording")
        return version

    def _free(self) -> int:
        try:
            return self._free_bytes(self._job.run_folder)
        except OSError:  # a network drive that is away: the recorders will tell
            return 1 << 62

    def _refuse_if_full(self) -> None:
        if (free := self._free()) < self._min_free_bytes:
            raise MachineError(f"recording does not start: {self._too_full(free)}")

    def _too_full(self, free: int) -> str:
        return (
            f"{free / 1e9:.1f} GB are free at {self._job.run_folder}, record.min_free_gb is "
            f"{self._min_free_bytes / 1e9:g}. Make room, or record less"
        )


def _called(recording: Recording) -> str:
    return f"take {recording.take}" + (f" ({recording.name})" if recording.name else "")


class _Tail:
    """Texts of events that were appended since the last look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = path.stat().st_size if path.exists() else 0

    def read(self) -> list[str]:
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._position += len(whole)
        return [text for line in whole.splitlines() if (text := _text_of(line))]


def _text_of(line: bytes) -> str:
    try:
        event = json.loads(line)
        return str(event.get("message", "")) if event.get("event") in ("mark", "marker", "note") else ""
    except (ValueError, AttributeError):
        return ""
