"""A run in a process of its own: `ringtrack run --detach`, and `engine.start` in a notebook or script.

`python -P -m engine.supervisor.background` reads a request (JSON, one line) from standard input and writes JSON lines
to standard output: {"ready": plan} or {"error": …}, and at the end {"summary": …}. Unless it is detached, the end of
its standard input asks it to stop: the run ends with who started it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from engine.errors import InternalError, MachineError, RingtrackError, SettingsError
from engine.experiment import Experiment
from engine.plan import Plan
from engine.supervisor.summary import RunSummary

_ERRORS: dict[int, type[RingtrackError]] = {1: InternalError, 2: SettingsError, 3: MachineError}


class StartedRun:
    """A run that goes on in another process. Use as a context manager: leaving it stops the run in order."""

    def __init__(self, process: subprocess.Popen[str], plan: Plan) -> None:
        self._process = process
        self.plan = plan
        self.summary: RunSummary | None = None

    @property
    def run_folder(self) -> Path:
        return Path(self.plan.run_folder)

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        return self._process.pid

    def stop(self) -> RunSummary:
        """End the run in order; what it came to."""
        if self.summary is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> RunSummary:
        """Wait until the run ends by itself (its source, its duration); what it came to."""
        if self.summary is None:
            assert self._process.stdout is not None
            answer = _answer(self._process)
            if "summary" not in answer:
                raise _error(answer)
            self.summary = msgspec.convert(answer["summary"], RunSummary)
            self._close()
        return self.summary

    def leave(self) -> None:
        """Let a detached run go on without us."""
        self._close(wait=False)

    def _close(self, wait: bool = True) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        if wait:
            self._process.wait()

    def __enter__(self) -> StartedRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start(
    experiment: Experiment,
    *,
    source: str | None = None,
    source_options: dict[str, Any] | None = None,
    duration_s: float = 0.0,
    detached: bool = False,
) -> StartedRun:
    """Start a run in the background and return when it is ready for frames.

    `with engine.start(experiment) as run:` ends it with the block. `detached`: it goes on when this program ends.
    Raises SettingsError or MachineError as `ringtrack run` would say them.
    """
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "engine.supervisor.background"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if detached else None,
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None
    request = {
        "version": 1,
        "experiment": experiment.to_toml(),
        "source": source,
        "source_options": source_options or {},
        "duration_s": duration_s,
        "detached": detached,
    }
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()
    answer = _answer(process)
    if "ready" not in answer:
        with process:
            pass
        raise _error(answer)
    return StartedRun(process, msgspec.convert(answer["ready"], Plan))


def _answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        return {"error": "the supervisor ended without a word", "status": 1}
    answer: dict[str, Any] = json.loads(line)
    return answer


def _error(answer: dict[str, Any]) -> RingtrackError:
    return _ERRORS.get(int(answer.get("status", 1)), InternalError)(answer.get("error", "no reason was given"))


@contextmanager
def _stopped_with_standard_input() -> Iterator[None]:
    def watch() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="standard input", daemon=True).start()
    yield


def main() -> int:
    """The background process itself."""
    from engine.supervisor.whole_run import run

    request = json.loads(sys.stdin.readline())
    said: list[str] = []
    ready = False

    def tell(answer: dict[str, Any]) -> None:
        nonlocal ready
        ready = ready or "ready" in answer
        with contextlib.suppress(OSError, ValueError):  # nobody listens any more: the run goes on
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()

    try:
        with contextlib.nullcontext() if request["detached"] else _stopped_with_standard_input():
            summary = run(
                Experiment.loads(request["experiment"]),
                source=request["source"],
                source_options=request["source_options"],
                duration_s=request["duration_s"],
                quiet=True,
                say=said.append,
                on_ready=lambda plan: tell({"ready": msgspec.to_builtins(plan)}),
            )
    except RingtrackError as error:
        tell({"error": str(error), "status": error.exit_status})
        return error.exit_status
    if not ready:
        tell({"error": summary.reason or "the run ended before it was ready", "status": summary.status or 1})
    else:
        tell({"summary": msgspec.to_builtins(summary)})
    return summary.status


if __name__ == "__main__":
    sys.exit(main())
