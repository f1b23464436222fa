"""Numbered texts in shared memory: whoever dies at whichever step, a version is there whole or not in force."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.shm.segment import Segment
from engine.shm.versions import KEPT, TEXT_BYTES, VersionGoneError, Versions
from tests.crashing import CrashPlan

STEPS = ("version.1", "version.2", "version.3", "version.4")


@pytest.fixture
def versions() -> Versions:
    """Words in ordinary memory: the protocol is the same."""
    memory = np.zeros(Versions.size_bytes() // 8, np.int64)
    segment: Any = SimpleNamespace(
        owner=True,
        words=lambda offset, count: memory[offset // 8 : offset // 8 + count],
        array=lambda offset, shape, dtype: np.ndarray(shape, dtype, buffer=memory.data, offset=offset),
    )
    return Versions(segment, 0)


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


PUBLISHES = """
import sys
from engine.shm.segment import Segment
from engine.shm.versions import Versions
with Segment.attach(sys.argv[1], "versions") as segment:
    Versions(segment, 0).publish(sys.argv[2].encode())
"""


@pytest.mark.parametrize("times", [1, 2], ids=["first attempt", "first two attempts"])
@pytest.mark.parametrize("step", STEPS)
def test_a_writer_that_is_killed_leaves_whole_versions_and_another_goes_on(
    step: str, times: int, tmp_path: Path
) -> None:
    """Real processes, real shared memory, kill -9 just before the step."""
    plan = CrashPlan(tmp_path / "crashes")
    plan.crash(step, times=times)
    run_id = secrets.token_hex(8)

    def publish(text: str) -> int:
        command = [sys.executable, "-P", "-c", PUBLISHES, run_id, text]
        return subprocess.run(command, env={**os.environ, **plan.environment()}, check=False).returncode

    with Segment.create(run_id, "versions", Versions.size_bytes()) as segment:
        versions = Versions(segment, 0)
        versions.publish(b"two")
        for attempt in range(times):
            assert publish(f"half {attempt}") == -signal.SIGKILL
            assert versions.newest == 2
            assert versions.text(2) == b"two"
        assert publish("three") == 0
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
