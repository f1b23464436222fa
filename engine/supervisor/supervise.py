"""The supervisor's loop: start, watch, reap, replace, stop.

    STARTING ─► RUNNING ─► STOPPING_SOURCE ─► STOPPING_RECEIVER ─► DRAINING ─► STOPPING_REST ─► DONE
                  │  end of the source, duration, a signal, or a vital part that stayed dead

This is the one place where the order of stopping is written: first the source; then the receiver, whose last act is
the closing place; then everybody who must see that place (linker, recorders) drains; then the rest. The second request
to stop kills everybody at once.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

from engine.clocks import monotonic_ns
from engine.errors import InternalError
from engine.plan import Plan
from engine.process import Log
from engine.rings import Rings
from engine.shm.cursors import CursorTable
from engine.supervisor.children import Child
from engine.supervisor.signals import heard_by
from engine.supervisor.template import Template
from engine.workers.linker import read_tally

TICK_S = 0.05
SOURCE_LIMIT_S = 10.0
RECEIVER_LIMIT_S = 10.0
DRAIN_IDLE_LIMIT_S = 15.0
"""Draining goes on as long as anything moves; after so long without it is given up."""
REST_LIMIT_S = 3.0
ONE_REQUEST_S = 1.0  # signals to stop that come together are one
NAMES_EVERY_S = 1.0
TOLD = ("stayed dead", "stalled", "not drained")
"""Events that whoever sits at the terminal hears of at once."""
UNFIT = (2, 3)
"""Exit statuses of a child that no restart mends: settings, or the machine (port in use, disk, missing extra)."""


class Phase(Enum):
    STARTING = "starting"
    RUNNING = "running"
    STOPPING_SOURCE = "stopping the source"
    STOPPING_RECEIVER = "closing the ring"
    DRAINING = "draining"
    STOPPING_REST = "stopping"
    DONE = "done"


class Supervisor:
    """Keeps the processes of one run alive until it ends. `run` blocks; everything it needs is injected."""

    def __init__(
        self,
        plan: Plan,
        rings: Rings,
        children: list[Child],
        template: Template,
        on_tick: Callable[[Supervisor], None] = lambda _: None,
        duration_s: float = 0.0,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.plan = plan
        self.rings = rings
        self.children = children
        self.template = template
        self.phase = Phase.STARTING
        self.forced = False
        self.fault = ""  # why the run could not go on, for people
        self.fault_status = 0  # and the exit status that says so
        self.running_since_ns = 0
        self._log = Log(Path(plan.run_folder) / "log.jsonl", "supervisor")
        self._on_tick = on_tick
        self._say = say
        self._duration_s = duration_s
        self._stop_requests = 0
        self._source_was_ready = False
        self._phase_since = time.monotonic()
        self._signalled_at = 0.0
        self._progress: tuple[Any, ...] = ()
        self._names_due = 0.0
        self._selector = selectors.DefaultSelector()
        self._template_life, self._template_fd = 0, -1

    # ---- what happened, for people and for the file

    def event(self, kind: str, message: str, **facts: Any) -> None:
        """Write into the log and into the run's events, which the recorder puts into the file."""
        self._log("info" if kind == "phase" else "warning", message, event=kind, **facts)
        if kind != "phase":
            note = Log(Path(self.plan.run_folder) / "events.jsonl", "supervisor")
            note("info", message, event=kind, t_ns=monotonic_ns(), **facts)
        if kind in TOLD:
            self._say(message)

    @property
    def unfit(self) -> bool:
        """Settings or machine do not allow this run: it was refused before it began."""
        return self.fault_status in UNFIT and not self.running_since_ns

    # ---- the loop

    def run(self) -> None:
        """Go through all phases; returns when every process is reaped."""
        last = time.monotonic()
        with heard_by(self._signalled) as wake:
            self._selector.register(wake, selectors.EVENT_READ, None)
            try:
                while self.phase is not Phase.DONE:
                    for key, _ in self._selector.select(TICK_S):
                        self._handle(key)
                    now = time.monotonic()
                    if now - last > 1.0:
                        for child in self.children:
                            child.forgive(now)
                    last = now
                    self._look_after_template()
                    self._watch(now)
                    if now >= self._names_due:
                        self._names_due = now + NAMES_EVERY_S
                        self.rings.keep_names()
                    self._start_due(now)
                    self._advance(now)
                    self._on_tick(self)
            finally:
                for child in self.children:
                    self._unregister(child)
                    child.close()
                self._selector.close()

    def request_stop(self) -> None:
        """Stop in order; the second time, by force."""
        self._stop_requests += 1

    def _signalled(self, number: int, _: object) -> None:
        # A terminal that is closed sends SIGHUP twice (its shell, then the kernel), `timeout` and service managers
        # SIGTERM (to the process, then to its group): that is one request. A person's second Ctrl-C is another.
        now = time.monotonic()
        if self._stop_requests and (
            number == signal.SIGHUP or (number == signal.SIGTERM and now - self._signalled_at < ONE_REQUEST_S)
        ):
            return
        self._signalled_at = now
        self.request_stop()

    def _handle(self, key: selectors.SelectorKey) -> None:
        if key.data is None:
            with contextlib.suppress(BlockingIOError):
                os.read(key.fd, 4096)  # the signal handlers themselves have run
            return
        child, what = key.data
        if child is None:
            return  # the template has something to say: it is listened to at every turn
        if what == "stderr":
            lines = child.read_stderr()
            if lines is None and child.alive:
                self._selector.unregister(key.fd)  # it closed its end
            for line in lines or ():
                self._log("warning", line, source=child.name)
        elif what == "pidfd" and child.alive:
            self._reaped(child)

    def _look_after_template(self) -> None:
        template = self.template
        template.poll()
        if template.lives != self._template_life:
            self._template_life = template.lives
            with contextlib.suppress(KeyError, ValueError):  # the one before is closed; its number may be in use again
                self._selector.unregister(self._template_fd)
            self._template_fd = template.fd
            self._selector.register(self._template_fd, selectors.EVENT_READ, (None, "template"))
        if template.fault and not self.fault:
            self.fault, self.fault_status = template.fault, InternalError.exit_status
            self.request_stop()

    def _watch(self, now: float) -> None:
        for child in self.children:
            if child.alive and child.stalled(now):
                self.event(
                    "stalled", f"{child.name} has not got on for {child.process.stall_s:g} s: killed", pid=child.pid
                )
                child.kill()
                child.forgive(now)  # once is enough; its death comes through its pidfd

    def _reaped(self, child: Child) -> None:
        pid, was_promoted = child.pid, child.promoted
        self._unregister(child)
        how = child.reap()
        now = time.monotonic()
        if child.process.worker >= 0:
            self.rings.units.raise_incarnation(child.process.worker)
        if child.finished:
            child.promoted = was_promoted = False
        elif child.dismissed:
            child.promoted = was_promoted = False
            self._log("info", f"{child.name} was not waited for", pid=pid)
        else:
            facts = {"pid": pid, "complaint": child.complaint[-500:]} if child.complaint else {"pid": pid}
            self.event("died", f"{child.name} {how}", **facts)
            unfit = child.exit_status in UNFIT
            if self.phase is Phase.STOPPING_REST:
                child.promoted, child.due_at = False, None  # nobody needs it any more: it did not "stay dead"
            else:
                child.died(now)
                if unfit or child.given_up:
                    child.given_up, child.due_at = True, None
                    self._stayed_dead(child, unfit)
        if was_promoted:
            self._promote(child.process.kind)
        self.rings.ring_all_bells()

    def _stayed_dead(self, child: Child, unfit: bool) -> None:
        why = child.complaint.strip().splitlines()[-1:]
        self.event("stayed dead", f"{child.name} is not started again: {''.join(why) or 'it died too often'}")
        if child.process.reader >= 0:
            CursorTable(self.rings.results).expect(child.process.reader, expected=False)
        if child.process.frame_reader >= 0:
            CursorTable(self.rings.frames).expect(child.process.frame_reader, expected=False)
        left = [other for other in self._of_kind(child.process.kind) if not other.given_up]
        needed = child.process.vital and (unfit or len(left) < self._wanted(child.process.kind))
        if needed or (unfit and self.phase is Phase.STARTING):
            what = child.complaint.strip().splitlines()[-1:] or [f"{child.name} could not be kept alive"]
            if not self.fault:
                self.fault = what[0] if unfit else f"{child.name} stayed dead: {what[0]}"
                self.fault_status = child.exit_status if unfit else 4
            self.request_stop()

    def _promote(self, kind: str) -> None:
        """Fill the places of those who work in this kind: loaded spares first, then those still loading."""
        group = self._of_kind(kind)
        working = sum(child.promoted for child in group)
        candidates = [c for c in group if not c.promoted and not c.given_up and not c.finished]
        candidates.sort(key=lambda c: (not c.usable, not c.alive))
        for child in candidates[: max(0, self._wanted(kind) - working)]:
            child.promote()
            self.rings.ring_all_bells()

    def _start_due(self, now: float) -> None:
        for child in self.children if self.template.ready else ():
            if child.alive or child.due_at is None or child.due_at > now or child.finished or child.given_up:
                continue
            if child.process.kind == "source" and (self.phase is not Phase.RUNNING):
                continue
            if child.process.kind == "receiver":
                self.rings.raise_receiver_incarnation()
            self._promote(child.process.kind)
            if not child.start():
                return  # the template has just died: as soon as there is another
            if child.restarts:
                self.event("restarted", f"{child.name} started again", pid=child.pid)
            if child.process.kind == "receiver" and self.phase is Phase.STOPPING_RECEIVER:
                child.command_stop()  # it died before the closing place: the next one has it to write
            self._selector.register(child.pidfd, selectors.EVENT_READ, (child, "pidfd"))
            self._selector.register(child.stderr_fd, selectors.EVENT_READ, (child, "stderr"))

    # ---- phases

    def _advance(self, now: float) -> None:
        if self._stop_requests >= 2 and not self.forced:
            self.forced = True
            self.event("stopped by force", "stopped by force")
            for child in self.children:
                child.due_at = None
                child.dismiss()
            self._enter(Phase.STOPPING_REST, now)
        elif self._stop_requests and self.phase in (Phase.STARTING, Phase.RUNNING):
            self._enter(Phase.STOPPING_SOURCE if self._may_hold_frames() else Phase.STOPPING_REST, now)
        getattr(self, f"_in_{self.phase.name.lower()}")(now)

    def _enter(self, phase: Phase, now: float) -> None:
        self.phase, self._phase_since = phase, now
        self._log("info", phase.value, event="phase")
        if phase is Phase.RUNNING:
            self.running_since_ns = time.monotonic_ns()
        elif phase is Phase.STOPPING_SOURCE:
            self._command_stop("source")
        elif phase is Phase.STOPPING_RECEIVER:
            self._command_stop("receiver")
        elif phase is Phase.STOPPING_REST:
            for child in self.children:
                child.due_at = None
                child.command_stop()
                if child.alive and child.loading:
                    child.dismiss()  # it has nothing to finish, and would not hear of it for seconds
            self.rings.ring_all_bells()

    def _may_hold_frames(self) -> bool:
        """Whether there may be something to drain: a receiver that is ready takes frames while others still load."""
        if self.phase is Phase.RUNNING:
            return True
        return not self.fault and any(child.usable for child in self._of_kind("receiver"))

    def _in_starting(self, now: float) -> None:
        expected = [child for child in self.children if child.process.kind != "source"]
        if all(child.usable for child in expected if not child.given_up):
            self._enter(Phase.RUNNING, now)

    def _in_running(self, now: float) -> None:
        source = self._of_kind("source")
        if not self._source_was_ready:  # the run's duration does not count how long its own source takes to load
            self._source_was_ready = all(child.usable or child.finished or child.given_up for child in source)
            self._phase_since = now
        if any(child.finished for child in source) or (
            self._duration_s and now - self._phase_since >= self._duration_s
        ):
            self._enter(Phase.STOPPING_SOURCE, now)

    def _in_stopping_source(self, now: float) -> None:
        self._next_when_gone("source", Phase.STOPPING_RECEIVER, SOURCE_LIMIT_S, now)

    def _in_stopping_receiver(self, now: float) -> None:
        receiver = self._of_kind("receiver")[0]
        if receiver.finished or receiver.given_up:
            self._enter(Phase.DRAINING, now)
        elif now - self._phase_since > RECEIVER_LIMIT_S:
            self.event("stalled", "the receiver did not close the ring in time")
            receiver.given_up = True
            receiver.kill()

    def _in_draining(self, now: float) -> None:
        results = self.rings.results
        recorders = [child for child in self._of_kind("recorder") if not child.given_up]
        closed = self.tally()["closed"] == 1
        if (closed or self._of_kind("receiver")[0].given_up) and all(child.finished for child in recorders):
            self._enter(Phase.STOPPING_REST, now)
            return
        cursors, frame_cursors = CursorTable(results), CursorTable(self.rings.frames)
        progress = (
            results.newest,
            *(cursors.cursor(child.process.reader) for child in recorders if child.process.reader >= 0),
            *(
                frame_cursors.cursor(child.process.frame_reader)
                for child in recorders
                if child.process.frame_reader >= 0
            ),
        )
        if progress != self._progress:
            self._progress, self._phase_since = progress, now
        elif now - self._phase_since > DRAIN_IDLE_LIMIT_S:
            self.event("not drained", "draining was given up: nothing moved")
            self.fault, self.fault_status = self.fault or "the rings could not be drained", self.fault_status or 4
            self._enter(Phase.STOPPING_REST, now)

    def _in_stopping_rest(self, now: float) -> None:
        left = [child for child in self.children if child.alive]
        if not left:
            self._enter(Phase.DONE, now)
        elif now - self._phase_since > REST_LIMIT_S:
            for child in left:
                child.dismiss()

    def _next_when_gone(self, kind: str, phase: Phase, limit_s: float, now: float) -> None:
        alive = [child for child in self._of_kind(kind) if child.alive]
        for child in self._of_kind(kind):
            child.due_at = None
        if not alive:
            self._enter(phase, now)
        elif now - self._phase_since > limit_s:
            for child in alive:
                child.kill()

    # ---- small things

    def tally(self) -> dict[str, int]:
        """What the linker has published, exact at any moment."""
        while True:
            newest = self.rings.results.newest
            with contextlib.suppress(RuntimeError):
                tally = read_tally(self.rings.state.in_force(newest))
                if self.rings.results.newest == newest:
                    return tally

    def _wanted(self, kind: str) -> int:
        """How many of a kind work at once."""
        group = self._of_kind(kind)
        return len(group) - max(child.process.spares for child in group)

    def _of_kind(self, kind: str) -> list[Child]:
        return [child for child in self.children if child.process.kind == kind]

    def _command_stop(self, kind: str) -> None:
        for child in self._of_kind(kind):
            child.command_stop()
        self.rings.ring_all_bells()

    def _unregister(self, child: Child) -> None:
        if not child.alive:
            return
        for fd in (child.pidfd, child.stderr_fd):
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(fd)
