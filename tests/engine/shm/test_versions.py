"""Numbered texts in shared memory: whoever dies at whichever step, a version is there whole or not in force."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.shm.versions import KEPT, TEXT_BYTES, VersionGoneError, Versions


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
