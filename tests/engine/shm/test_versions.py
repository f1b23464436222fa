"""Numbered texts in shared memory: whoever dies at whichever step, a version is there whole or not in force."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.shm.segment import Segment
from engine.shm.versions import KEPT, TEXT_BYTES, VersionGoneError, Versions
from tests.crashing import CrashPlan
from tests.engine.shm.shm_model_memory import Memory

STEPS = ("version.1", "version.2", "version.3", "version.4")


@pytest.fixture
def versions() -> Versions:
    """Words in ordinary memory: the protocol is the same."""
    return Versions(Memory(Versions.size_bytes()), 0)


def test_the_first_version_is_there_and_empty(versions: Versions) -> None:
    assert versions.newest == 1
    assert versions.text(1) == b""


@pytest.mark.parametrize("steps", range(1, 5))
def test_a_writer_that_dies_before_a_step_leaves_the_version_before_in_force(versions: Versions, steps: int) -> None:
    versions.publish(b"two")
    dying = versions.publication(b"half")
    for _ in range(steps):
        next(dying)
    assert versions.newest == 2
    assert versions.text(2) == b"two"
    assert versions.publish(b"three") == 3
    assert versions.text(3) == b"three"


# Has imported everything, so that it can fork a writer in milliseconds. A line: folder of the crashes, run, text.
PUBLISHES = """
import os, sys
from engine.shm.segment import Segment
from engine.shm.versions import Versions
for line in sys.stdin:
    folder, run_id, text = line.rstrip("\\n").split("\\t")
    pid = os.fork()
    if pid == 0:
        os.environ["RINGTRACK_CRASHES"] = folder
        with Segment.attach(run_id, "versions") as segment:
            Versions(segment, 0).publish(text.encode())
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def publishes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., int]]:
    """Let a process publish a text under a crash plan; how the process ended."""
    hook = CrashPlan(tmp_path_factory.mktemp("hook"))
    program = subprocess.Popen(
        [sys.executable, "-P", "-c", PUBLISHES],
        env={**os.environ, **hook.environment()}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert program.stdin is not None
    assert program.stdout is not None
    asked, answers = program.stdin, program.stdout

    def publish(plan: CrashPlan, run_id: str, text: str) -> int:
        asked.write(f"{plan.folder}\t{run_id}\t{text}\n")
        asked.flush()
        return int(answers.readline())

    yield publish
    program.communicate()


@pytest.mark.parametrize("times", [1, 2], ids=["first attempt", "first two attempts"])
@pytest.mark.parametrize("step", STEPS)
def test_a_writer_that_is_killed_leaves_whole_versions_and_another_goes_on(
    publishes: Callable[..., int], step: str, times: int, tmp_path: Path
) -> None:
    """Real processes, real shared memory, kill -9 just before the step."""
    plan = CrashPlan(tmp_path / "crashes")
    plan.crash(step, times=times)
    run_id = secrets.token_hex(8)
    with Segment.create(run_id, "versions", Versions.size_bytes()) as segment:
        versions = Versions(segment, 0)
        versions.publish(b"two")
        for attempt in range(times):
            assert publishes(plan, run_id, f"half {attempt}") == -signal.SIGKILL
            assert versions.newest == 2
            assert versions.text(2) == b"two"
        assert publishes(plan, run_id, "three") == 0
        assert (versions.newest, versions.text(3), versions.text(2)) == (3, b"three", b"two")
    assert plan.happened() == [step] * times


def test_versions_that_are_too_old_are_told_of(versions: Versions) -> None:
    for number in range(2, KEPT + 3):
        assert versions.publish(str(number).encode()) == number
    assert versions.text(KEPT + 2) == str(KEPT + 2).encode()
    assert versions.text(3) == b"3"
    for gone in (1, 2, KEPT + 3):
        with pytest.raises(VersionGoneError):
            versions.text(gone)


def test_more_than_fits_is_refused(versions: Versions) -> None:
    with pytest.raises(ValueError, match="there is room for"):
        versions.publish(b"x" * (TEXT_BYTES + 1))
    assert versions.newest == 1
