"""The first code of every process of a run: `python -P -m engine.child TARGET NAME PLAN`.

Standard input is the life-line: its other end is held by the supervisor alone, so reading its end means that the
supervisor is dead. Then the process is asked to stop, and leaves by force if it has not within the plan's `grace_s`.
"""

from __future__ import annotations

import faulthandler
import importlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

from engine.errors import RingtrackError
from engine.plan import Plan
from engine.process import Job
from engine.shm.segment import SegmentError
from engine.shm.status import ProcessState


class LifeLine:
    """Notices the death of the supervisor within milliseconds."""

    def __init__(self, grace_s: float) -> None:
        self._cut = threading.Event()
        self._grace_s = grace_s
        self._thread = threading.Thread(target=self._watch, name="life-line", daemon=True)
        self._thread.start()

    def is_cut(self) -> bool:
        return self._cut.is_set()

    def _watch(self) -> None:
        while os.read(0, 4096):
            pass
        self._cut.set()
        time.sleep(self._grace_s)
        os._exit(70)


def main() -> int:
    """Run the process named on the command line; its exit status."""
    target, name, path = sys.argv[1:4]
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal is the supervisor's to handle
    plan = Plan.read(Path(path))
    life_line = LifeLine(plan.process(name).grace_s)
    job = Job(plan, name, life_line.is_cut)
    if job.process.nice:
        try:
            os.nice(job.process.nice)
        except OSError:
            job.log("info", f"{name} runs at normal priority: {job.process.nice} is not allowed to this user")
    with job.rings:
        try:
            return _run(job, target)
        except RingtrackError as error:
            job.log_exception(error)
            sys.stderr.write(f"{error}\n")
            return error.exit_status
        except SegmentError as error:
            sys.stderr.write(f"{error}\n")
            return 3
        except BaseException as error:
            job.log_exception(error)
            raise


def _run(job: Job, target: str) -> int:
    module_name, _, function = target.partition(":")
    # The block is taken over before anything slow is imported, so that the supervisor sees it start.
    job.status.open(os.getpid(), time.monotonic_ns(), ())
    module = importlib.import_module(module_name)
    job.status.open(os.getpid(), time.monotonic_ns(), getattr(module, "COUNTERS", ()))
    status = getattr(module, function)(job)
    job.status.state = ProcessState.STOPPED
    return int(status or 0)


if __name__ == "__main__":
    sys.exit(main())
