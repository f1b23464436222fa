"""Which runs there are on this machine: one small file each, in the user's runtime folder, held by `flock`.

The file is the plan of the run (`engine.plan`). Its lock is held by the supervisor for life, so the kernel tells the
living from the dead; the file of a dead one is removed by whoever looks for stale ones.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from engine.errors import MachineError
from engine.plan import Plan

_TAIL_BYTES = 1 << 18  # of a log, in which the last phase is looked for; what talks so much is running


@dataclass(frozen=True)
class FoundRun:
    """A run and whether its supervisor lives."""

    plan: Plan
    path: Path
    alive: bool


def runtime_folder() -> Path:
    """Where the files lie: a folder that belongs to this user alone. Raises MachineError if it cannot be had."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(base) / "ringtrack" if base else Path(tempfile.gettempdir()) / f"ringtrack-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = folder.stat().st_uid
    except OSError as error:
        raise MachineError(f"{folder}: cannot keep the list of runs here ({error.strerror})") from error
    if owner != os.getuid():
        raise MachineError(f"{folder} belongs to another user (uid {owner}); remove it or set XDG_RUNTIME_DIR")
    return folder


@contextmanager
def registered(plan: Plan) -> Iterator[Path]:
    """Hold the file of a run while it lasts; the path that its processes read the plan from."""
    folder = runtime_folder()
    hidden, path = folder / f".{plan.run_id}", folder / f"{plan.run_id}.json"
    fd = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.write(fd, plan.encode())
        hidden.rename(path)  # Visible only once it is whole and held.
        yield path
    finally:
        hidden.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        os.close(fd)


def find() -> list[FoundRun]:
    """All runs of this user, dead ones included; the newest last."""
    found = []
    for path in runtime_folder().glob("*.json"):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            alive = False
        except BlockingIOError:
            alive = True
        finally:
            os.close(fd)
        try:
            plan = Plan.read(path)
        except (OSError, msgspec.DecodeError):
            continue  # It ended meanwhile, or belongs to another version of this program.
        found.append(FoundRun(plan, path, alive))
    return sorted(found, key=lambda run: run.plan.started_utc_ns)


def living() -> list[FoundRun]:
    """The runs that are going on."""
    return [run for run in find() if run.alive]


def sweep_dead() -> list[Plan]:
    """Remove the files of runs whose supervisor died; their plans."""
    dead = [run for run in find() if not run.alive]
    for run in dead:
        run.path.unlink(missing_ok=True)
    return [run.plan for run in dead]


def phase_of(plan: Plan) -> str:
    """How far a run is, as its supervisor wrote last into the log: "starting", "running", "draining", …"""
    log = Path(plan.run_folder) / "log.jsonl"
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return "starting"
    for line in reversed(lines):
        if b'"phase"' not in line:
            continue
        try:
            said = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue
        if isinstance(said, dict) and said.get("event") == "phase":
            return str(said.get("message"))
    return "running" if size > _TAIL_BYTES else "starting"
