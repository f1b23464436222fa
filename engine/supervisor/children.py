"""A child process as the supervisor sees it: started, watched, reaped, started again.

`promoted` children do the work of their kind; the others of the kind are warm spares. Nothing of a child is handed to
another before it was reaped.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import deque
from pathlib import Path

from engine.plan import ProcessPlan
from engine.shm.status import Command, ProcessState, StatusBlock
from engine.supervisor.template import StartedProcess, Template

STARTING_LIMIT_S = 60.0
"""A process may import, load its kernels and map its memory for so long before it counts as stalled."""
DEATHS_ALLOWED, DEATHS_WINDOW_S = 8, 30.0
"""More deaths than this in so long: it stays dead."""
DEATHS_ALLOWED_UNUSED = 2
"""The same for a process that never came as far as being ready."""
_BACKOFF_S = (0.0, 0.2, 0.5, 1.0, 2.0)
_LINES_KEPT = 30


class Child:
    """One process of the plan, through all its lives. Use `close` at the end; it is killed then if it still lives."""

    def __init__(self, process: ProcessPlan, block: StatusBlock, plan_path: Path, template: Template) -> None:
        self.process = process
        self.block = block
        self.promoted = False
        self.given_up = False
        self.finished = False  # it left in order
        self.dismissed = False  # we ended it ourselves, at the end of the run
        self.restarts = 0
        self.due_at: float | None = 0.0  # when to start it (again), None while it lives or is not wanted
        self.complaint = ""  # the last lines that it wrote to standard error
        self._plan_path = plan_path
        self._template = template
        self._started: StartedProcess | None = None
        self._deaths: deque[float] = deque()
        self._lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._seen = (-1, ProcessState.ABSENT)
        self._moved_at = 0.0
        self._was_usable = False

    @property
    def name(self) -> str:
        return self.process.name

    @property
    def alive(self) -> bool:
        return self._started is not None

    @property
    def pid(self) -> int:
        return self._started.pid if self._started else 0

    @property
    def pidfd(self) -> int:
        """Readable once the process is dead."""
        assert self._started is not None
        return self._started.pidfd

    @property
    def stderr_fd(self) -> int:
        assert self._started is not None
        return self._started.stderr_fd

    @property
    def usable(self) -> bool:
        """It said that it is ready, for work or as a spare."""
        return self.alive and self.block.state in (ProcessState.READY, ProcessState.SPARE)

    @property
    def loading(self) -> bool:
        """It cannot be used yet."""
        return self.block.state in (ProcessState.ABSENT, ProcessState.STARTING)

    def start(self) -> bool:
        """Start the process; its block is its own from now on. False if there is no template to make it from yet."""
        if not self._template.ready:
            return False
        self.block.reset()
        if self.promoted:
            self.block.promote(max(self.process.worker, 0))
        self._started = self._template.start(self.process.target, self.name, self._plan_path)
        if self._started is None:
            return False
        self._lines.clear()
        self.due_at = None
        self._seen, self._moved_at = (-1, ProcessState.ABSENT), time.monotonic()
        if self.process.cores:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(self.pid, self.process.cores)
        return True

    def promote(self) -> None:
        """It works from now on, or as soon as it is loaded."""
        self.promoted = True
        self.block.promote(max(self.process.worker, 0))

    def command_stop(self) -> None:
        self.block.command(Command.STOP)

    def kill(self) -> None:
        if self._started is not None:
            self._started.kill()

    def dismiss(self) -> None:
        """Kill it because it is not needed any more: no death that anybody has to hear of."""
        self.dismissed = True
        self.kill()

    def read_stderr(self) -> list[str] | None:
        """What it complained of since the last time, as lines; None once it has closed its end."""
        with contextlib.suppress(BlockingIOError, OSError, AssertionError):
            data = os.read(self.stderr_fd, 65536)
            if not data:
                return None
            lines = [line for line in data.decode(errors="replace").splitlines() if line.strip()]
            self._lines.extend(lines)
            self.complaint = "\n".join(self._lines)
            return lines
        return []

    def stalled(self, now: float) -> bool:
        """Whether it has not got on for longer than its limit."""
        self._was_usable = self._was_usable or self.usable
        seen = (self.block.beats, self.block.state)
        if seen != self._seen:  # a new state too: what took long to load is not late when it has just been loaded
            self._seen, self._moved_at = seen, now
        limit = STARTING_LIMIT_S if self.loading else None
        return now - self._moved_at > (limit or self.process.stall_s)

    def forgive(self, now: float) -> None:
        """The supervisor itself was stopped for a while: nobody could be watched, so nobody is late."""
        self._moved_at = now

    def reap(self) -> str:
        """Take the dead process off the system's hands; how it ended, in words."""
        assert self._started is not None
        self.read_stderr()
        status = self._started.reap()
        self._started = None
        self.exit_status = status
        self.finished = status == 0 and self.block.state == ProcessState.STOPPED
        if self.finished:
            return "left in order"
        return f"killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"

    def died(self, now: float) -> None:
        """Plan its next life, or give it up after too many deaths."""
        self.promoted = False
        self._deaths.append(now)
        while self._deaths and now - self._deaths[0] > DEATHS_WINDOW_S:
            self._deaths.popleft()
        if len(self._deaths) > (DEATHS_ALLOWED if self._was_usable else DEATHS_ALLOWED_UNUSED):
            self.given_up = True
        else:
            self.restarts += 1
            self.due_at = now + _BACKOFF_S[min(len(self._deaths), len(_BACKOFF_S)) - 1]

    def close(self) -> None:
        """Kill and reap whatever is left."""
        if self.alive:
            self.kill()
            self.reap()
