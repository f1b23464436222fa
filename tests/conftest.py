"""Every test cleans up behind itself: processes, names in /dev/shm, file descriptors, threads.

The fixture below runs around each test by itself and fails the one that leaves something.
"""

from __future__ import annotations

import gc
import os
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from engine.supervisor.kernels import cache_folder

# Tests run side by side: the segments of each have names of their own, so that none sweeps what another's test left to
# be swept. And numba looks for compiled kernels where a run looks for them: each is compiled once. Both are read when
# the modules are imported, here and in every process that a test starts.
os.environ["RINGTRACK_SEGMENTS"] = f"ringtrack-{os.environ.get('PYTEST_XDIST_WORKER', 'test')}-{os.getpid()}"
os.environ["NUMBA_CACHE_DIR"] = str(cache_folder())

_SHM = Path("/dev/shm")
_PREFIX = os.environ["RINGTRACK_SEGMENTS"]
_OF_A_TEST = re.compile(r"ringtrack-(?:gw\d+|test)-(\d+)_")
_PATIENCE_S = 2.0  # for what is on its way out already


def pytest_sessionstart() -> None:
    """Remove the segments of tests that were killed: no run sweeps names that begin like theirs."""
    from engine.shm import segment

    for found in filter(None, map(_OF_A_TEST.match, _names())):
        if not psutil.pid_exists(int(found[1])):
            segment.sweep(found[0])


@dataclass(frozen=True)
class Leftovers:
    """What a test could leave behind, at one moment."""

    processes: frozenset[str]
    shm_names: frozenset[str]
    descriptors: frozenset[str]
    threads: frozenset[str]

    @classmethod
    def now(cls) -> Leftovers:
        return cls(_processes(), _shm_names(), _descriptors(), _threads())

    def minus(self, before: Leftovers) -> list[str]:
        old = {name.split()[0] for name in before.processes}
        found = [f"process {name}" for name in sorted(self.processes) if name.split()[0] not in old]
        found += [f"/dev/shm/{name}" for name in sorted(self.shm_names - before.shm_names)]
        found += [f"file descriptor {name}" for name in sorted(self.descriptors - before.descriptors)]
        return found + [f"thread {name}" for name in sorted(self.threads - before.threads)]


@pytest.fixture(autouse=True)
def leaves_nothing_behind() -> Iterator[None]:
    """Fail the test that leaves a process, a name in /dev/shm, a file descriptor or a thread."""
    before = Leftovers.now()
    yield
    deadline = time.monotonic() + _PATIENCE_S
    found = Leftovers.now().minus(before)
    while found and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.01)
        found = Leftovers.now().minus(before)
    if found:
        pytest.fail("left behind: " + "; ".join(found), pytrace=False)


def _processes() -> frozenset[str]:
    names = set()
    for child in psutil.Process().children(recursive=True):
        try:
            command = " ".join(child.cmdline())
        except psutil.Error:  # a zombie, or gone by now
            command = "(not reaped)" if child.is_running() else ""
        # The standard library's own helper lives until this process ends; our segments never use it, but a test that
        # opens them with multiprocessing.shared_memory does.
        if command and "multiprocessing.resource_tracker" not in command:
            names.add(f"{child.pid} {command[:120]}")
    return frozenset(names)


def _names() -> list[str]:
    return [path.name for path in _SHM.iterdir()] if _SHM.is_dir() else []


def _shm_names() -> frozenset[str]:
    return frozenset(name for name in _names() if name.startswith(_PREFIX))


def _descriptors() -> frozenset[str]:
    found = set()
    folder = Path("/proc/self/fd")
    for entry in folder.iterdir() if folder.is_dir() else ():
        try:
            target = str(entry.readlink())
        except OSError:  # the one that lists the folder
            continue
        if target != f"/proc/{os.getpid()}/fd" and int(entry.name) != _tracker_descriptor():
            found.add(f"{entry.name} -> {target}")
    return frozenset(found)


def _tracker_descriptor() -> int | None:
    from multiprocessing import resource_tracker

    return getattr(resource_tracker._resource_tracker, "_fd", None)


def _threads() -> frozenset[str]:
    return frozenset(f"{thread.name} ({thread.ident})" for thread in threading.enumerate() if thread.is_alive())
