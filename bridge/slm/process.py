"""The process of the light: a live reader of the results that tells a display where the traps are.

Newest frame only. It starts unarmed, and the first thing it does to the display is to darken it: after a kill that is
the safe state. It waits for nobody, and nobody waits for it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bridge.slm.conductor import Conductor
from bridge.slm.corrections import Modulator
from bridge.slm.displays import open_display
from bridge.slm.displays.base import DisplayError, Picture
from bridge.slm.feedback import Feedback, Mode
from bridge.slm.holding import Command, Seen
from bridge.slm.hologram import Holograms, Trap
from bridge.slm.logbook import Logbook
from bridge.slm.orders import Office, obey
from bridge.slm.refining import Refiner
from bridge.slm.registration import Optics, Registration
from bridge.slm.rules import rules_of
from bridge.slm.safety import Light
from engine.clocks import NS, monotonic_ns, utc_ns
from engine.errors import SettingsError
from engine.frames import Kind
from engine.process import Job, Log
from engine.shm.cursors import LiveReader
from engine.shm.ring import OverrunError
from engine.shm.status import quantiles_ms

COUNTERS = (
    "commands", "shown", "held_back", "passed_over", "traps", "held", "lost", "state", "latency_p50_us",
    "latency_p99_us", "latency_max_us", "hologram_us", "display_faults", "orders", "late",
)  # fmt: skip
"""Commands computed, those that the display had, those it must not have; frames that newer ones replaced. `state`:
place in `STATES`. Latency: from the camera's time to the display having it."""

STATES = tuple(light.value for light in Light)
TICK_S = 0.02
REOPEN_S = 1.0
QUANTILES_S = 0.5


class Illumination:
    """One run's light."""

    def __init__(self, job: Job, logbook: Logbook) -> None:
        slm = job.experiment.slm
        self._job, self._status, self._logbook = job, job.status, logbook
        self._note = Log(Path(job.run_folder) / "events.jsonl", job.name)
        self._registration = msgspec.json.decode(Path(slm.registration).read_bytes(), type=Registration)
        self.conductor = Conductor(rules_of(job.experiment), self._registration)
        self._holograms = Holograms(slm.width, slm.height)
        self._holograms.superposition_levels([Trap(x=1.0, y=1.0)])  # compiled now, not when light is wanted
        self._modulator = Modulator(
            slm.height, slm.width,
            add_rad=np.load(slm.flatness, allow_pickle=False) if slm.flatness else None,
            table=np.load(slm.table, allow_pickle=False) if slm.table else None,
        )  # fmt: skip
        self.refiner: Refiner | None = Refiner(self._holograms) if slm.refine else None
        self._display = open_display(slm.display, slm.width, slm.height)
        self._there, self._reopen_at = False, 0.0
        self._told = ""
        self._optics_seen = False
        self._quantiles_at = 0.0
        self._slowest_us = 0
        self._latencies: list[int] = []

    def open(self) -> None:
        """Take hold of the display and darken it. A display that is not there is told of, and tried again."""
        self._reopen_at = time.monotonic() + REOPEN_S
        if self._job.experiment.slm.shadow:
            return
        try:
            self._display.open()
            self._display.blank()
            self._there = True
            self._job.log("info", f"slm: {self._job.experiment.slm.display} is there, and dark")
        except DisplayError as error:
            self._gone(error)

    def frame(self, place: int) -> bool:
        """Act on the frame of a place; False if it was the closing one. Raises OverrunError."""
        with self._job.results.view(place) as entry:
            meta, rows = entry.meta.copy(), entry.data[: int(entry.meta["rows"])]
            ids, at = rows["particle"].copy(), np.column_stack([rows["x"], rows["y"]])
        if meta["kind"] == Kind.CLOSING:
            return False
        self._check_optics(meta)
        seen = Seen(int(meta["frame"]), int(meta["t_camera_ns"]), ids, at, int(meta["sequence"]))
        command = self.conductor.frame(seen, monotonic_ns() / NS)
        shown = not command.refusal and self._show(command)
        now_ns = monotonic_ns()
        self._logbook.write(command, self.conductor.safety.state.value, shown, now_ns)
        status, conductor = self._status, self.conductor
        status.count("commands")
        status.set("traps", len(conductor.traps))
        status.set("held", sum(trap.hold.value == "held" for trap in command.held))
        status.set("lost", conductor.lost)
        status.count("shown" if shown else "held_back")
        if shown:
            latency_ns = now_ns - command.t_camera_ns
            status.observe_ns(latency_ns)
            self._latencies = [*self._latencies[-199:], latency_ns]
            if latency_ns // 1000 > self._slowest_us:
                self._slowest_us = latency_ns // 1000
                status.set("latency_max_us", self._slowest_us)
            if latency_ns > self.conductor.rules.limits.hold_s * NS:
                status.count("late")
        return True

    def _show(self, command: Command) -> bool:
        """Whether the display has it."""
        if not self._there:
            return False
        refined = self.refiner is not None and self.refiner.step(command.traps)
        if not command.changed and not refined:
            return True  # it shows just that
        began = time.perf_counter_ns()
        levels = None
        if self._display.wants_levels:
            levels = self._modulator.levels(self._holograms.superposition_levels(command.traps))
        self._status.set("hologram_us", (time.perf_counter_ns() - began) // 1000)
        try:
            self._display.show(
                Picture(
                    traps=command.traps,
                    levels=levels,
                    frame=command.frame,
                    t_camera_ns=command.t_camera_ns,
                    command=command.number,
                )
            )
        except DisplayError as error:
            self._gone(error)
            return False
        self.conductor.as_shown(command.traps)
        return True

    def look(self) -> None:
        """Watch the clock and the display; call it every few hundredths of a second."""
        state = self.conductor.look(monotonic_ns() / NS)
        if not self._there and time.monotonic() >= self._reopen_at:
            self.open()
        if self._there:
            try:
                if state in (Light.BLANK, Light.UNARMED):
                    self._darken()
                self._display.look()
            except DisplayError as error:
                self._gone(error)
        self._tell()
        if time.monotonic() >= self._quantiles_at:
            self._quantiles_at = time.monotonic() + QUANTILES_S
            spread = quantiles_ms(self._status.histogram())
            for name in ("p50", "p99") if self._latencies else ():
                self._status.set(f"latency_{name}_us", round(1000 * spread[name]))

    def order(self, order: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Do what somebody wants. Raises SettingsError."""
        self._status.count("orders")
        if order == "state":
            return self.state()
        if order == "arm":
            if not self._there and not self._job.experiment.slm.shadow:
                raise SettingsError("slm arm: the display is not there")
            found = self.conductor.arm(monotonic_ns() / NS)
        elif order == "disarm":
            self.conductor.safety.disarm("disarmed")
            self.look()
            found = {"state": self.conductor.safety.state.value}
        elif order == "feedback":
            found = self._feedback(values)
        else:
            found = obey(self.conductor, order, values)
        seen = self.conductor.seen
        facts = {"order": order, "values": dict(values), "result": found, "frame": -1 if seen is None else seen.frame}
        self._note("info", f"slm {order}", event="slm", t_ns=monotonic_ns(), **facts)
        self._tell()
        return found

    def state(self) -> dict[str, Any]:
        """For clients: light, traps, latency of the last 200 commands in milliseconds."""
        latency = {}
        if self._latencies:
            p50, p99 = np.percentile(self._latencies, [50, 99]) / 1e6
            latency = {"p50": float(p50), "p99": float(p99), "max": max(self._latencies) / 1e6}
        return self.conductor.state() | {
            "latency_ms": latency, "latency_frames": self._delay_frames(),
            "display": self._job.experiment.slm.display if self._there else "",
        }  # fmt: skip

    def close(self) -> None:
        """Dark, and let go of the display."""
        if self._there:
            self._display.close()
            self._there = False
        self.conductor.safety.disarm("the run has ended")

    def _feedback(self, values: Mapping[str, Any]) -> dict[str, Any]:
        now = self.conductor.rules.feedback
        try:
            known = {"mode": now.mode.value, "gain": now.gain, "integral": now.integral, "frames": now.frames}
            wanted = msgspec.convert(known | dict(values) | {"greatest_step": now.greatest_step}, Feedback)
        except msgspec.ValidationError as error:
            names = ", ".join(mode.value for mode in Mode)
            raise SettingsError(f"slm feedback: {error} (modes: {names})") from None
        return self.conductor.feed(wanted, self._delay_frames())

    def _delay_frames(self) -> int:
        """The measured way from camera to display in whole frames, upwards; what is in force one frame later counts."""
        if not self._latencies:
            return self.conductor.rules.delay
        return math.ceil(float(np.median(self._latencies)) / NS * self._job.experiment.camera.fps)

    def _darken(self) -> None:
        if self.conductor.shown:
            self._display.blank()
        self.conductor.as_shown(None)

    def _gone(self, error: DisplayError) -> None:
        self._there = False
        self._status.count("display_faults")
        self.conductor.as_shown(None)
        self.conductor.safety.display_gone(str(error))
        self._reopen_at = time.monotonic() + REOPEN_S
        self._tell({} if error.t_there_ns is None else {"t_there_ns": error.t_there_ns})
        self._display.close()

    def _tell(self, facts: Mapping[str, Any] | None = None) -> None:
        """A change of the light's state, in the log and, with its facts, in the events of the run."""
        safety = self.conductor.safety
        self._status.set("state", STATES.index(safety.state.value))
        said = safety.state.value
        if said == self._told:
            return
        self._told = said
        level = "info" if safety.state in (Light.SHOWING, Light.UNARMED) else "warning"
        self._job.log(level, f"slm: {said}: {safety.why}")
        frame = -1 if self.conductor.seen is None else self.conductor.seen.frame
        known = {"t_ns": monotonic_ns(), "state": said, "frame": frame, **(facts or {})}
        self._note("info", f"{said}: {safety.why}", event="slm state", **known)

    def _check_optics(self, meta: Any) -> None:
        """Refuse a registration made with another objective, binning or region (with the first frame)."""
        if self._optics_seen:
            return
        self._optics_seen = True
        experiment = self._job.experiment
        optics = Optics(
            objective=str(experiment.notes.get("objective", "")), binning=max(1, int(meta["binning"])),
            region=(int(meta["region_y"]), int(meta["region_x"]), experiment.camera.height, experiment.camera.width),
        )  # fmt: skip
        refusal = self._registration.refusal(
            optics, utc_ns(), worst_px=experiment.slm.residual_px, oldest_s=86400 * experiment.slm.oldest_days
        )
        if refusal:
            raise SettingsError(f"slm.registration: {experiment.slm.registration}: {refusal}")


def main(job: Job) -> int:
    """Light until the closing place, or until told to stop."""
    with ExitStack() as stack:
        logbook = stack.enter_context(Logbook(Path(job.run_folder)))
        light = Illumination(job, logbook)
        stack.callback(light.close)
        light.open()
        office = stack.enter_context(Office(job.run_id, light.order))
        if light.refiner is not None:
            stack.enter_context(light.refiner)
        reader, status = LiveReader(job.results), job.status
        status.ready()
        while not job.stopping:
            status.beat()
            place = reader.next(TICK_S)
            if place is not None:
                status.set("passed_over", reader.passed_over)
                try:
                    if not light.frame(place):
                        break
                except OverrunError:
                    continue
            office.step()
            light.look()
    return 0
