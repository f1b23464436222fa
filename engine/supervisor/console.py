"""What a person sees while a run goes on: one line that is rewritten each second, or a line now and then in a file."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from typing import TextIO

from engine.clocks import monotonic_ns
from engine.supervisor.supervise import Phase, Supervisor

TERMINAL_EVERY_S, FILE_EVERY_S = 1.0, 10.0
RECENT_LOSSES = 60_000


class StatusLine:
    """Writes the status of a run to `out`; call it at every tick. `quiet`: nothing."""

    def __init__(self, out: TextIO | None = None, quiet: bool = False) -> None:
        self._out = out or sys.stderr
        self._terminal = self._out.isatty()
        self._every_s = TERMINAL_EVERY_S if self._terminal else FILE_EVERY_S
        self.quiet = quiet
        self._due = 0.0
        self._phase: Phase | None = None
        self._before = (0.0, 0)

    def __call__(self, supervisor: Supervisor) -> None:
        if self.quiet:
            return
        now = time.monotonic()
        if supervisor.phase is not self._phase:
            self._phase = supervisor.phase
            if supervisor.phase is Phase.RUNNING:
                self._say(f"ready: listening on {supervisor.plan.experiment.camera.listen}; Ctrl-C ends it in order")
                self._due = now + self._every_s
        if supervisor.phase is not Phase.STARTING and now >= self._due:
            self._due = now + self._every_s
            self._status(status_text(supervisor, self._fps(supervisor, now)))

    def end(self) -> None:
        """Leave the line as it stands."""
        if self._terminal and not self.quiet:
            self._write("\n")

    def _fps(self, supervisor: Supervisor, now: float) -> float:
        before_s, before = self._before
        newest = supervisor.rings.results.newest
        self._before = (now, newest)
        if not before_s:  # the first figure: since the run was ready
            since_s = supervisor.running_since_ns / 1e9
            return (newest + 1) / (now - since_s) if 0 < since_s < now else 0.0
        return (newest - before) / (now - before_s)

    def _status(self, text: str) -> None:
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            self._write("\r" + text[:width].ljust(width))
        else:
            self._write(text + "\n")

    def _say(self, text: str) -> None:
        self._write(("\r" if self._terminal else "") + text + "\n")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # the terminal was closed: the run ends in order all the same
            self._out.write(text)
            self._out.flush()


def status_text(supervisor: Supervisor, fps: float) -> str:
    """Received, tracked, recorded, lost, lag, ring, disk, in one line."""
    rings, tally = supervisor.rings, supervisor.tally()
    frames, results = rings.frames, rings.results
    lost = tally["failed"] + _lost_before_tracking(supervisor)
    lag_ms = 0.0
    if frames.newest > results.newest >= 0 and results.is_there(results.newest):
        lag_ms = max(0.0, (monotonic_ns() - int(results.record(results.newest)["t_received_ns"][0])) / 1e6)
    parts = [
        f"received {frames.newest + 1 - tally['closed']}",
        f"tracked {tally['tracked']}",
        f"{fps:.0f}/s",
        f"lost {lost}",
        f"lag {lag_ms:.0f} ms",
        f"ring {frames.newest - results.newest}/{frames.slots}",
        f"features {tally['rows'] / tally['tracked']:.0f}" if tally["tracked"] else "features -",
    ]
    if (recorded := rings.frames_recorded()) is not None:
        parts.insert(2, f"recorded {recorded}")
    with contextlib.suppress(OSError):  # a network drive that is away for a while is the recorder's to tell of
        parts.append(f"disk {shutil.disk_usage(supervisor.plan.run_folder).free / 2**30:.0f} GiB")
    if supervisor.phase is not Phase.RUNNING:
        parts.insert(0, f"[{supervisor.phase.value}]")
    return "  ".join(parts)


def _lost_before_tracking(supervisor: Supervisor) -> int:
    ledger = supervisor.rings.ledger
    count = ledger.count
    records = ledger.read(max(0, count - RECENT_LOSSES), count)
    return int((records["last"] - records["first"] + 1).sum())
