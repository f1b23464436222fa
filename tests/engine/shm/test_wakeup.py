"""Bells: the futex and the polling one keep the same rules."""

from __future__ import annotations

import secrets
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable

import numpy as np
import pytest

from engine.shm.segment import Segment
from engine.shm.wakeup import EVERYBODY, LONGEST_S, Bell, FutexBell, PollingBell, bell_at, wait_for

BELLS: dict[str, Callable[..., Bell]] = {"futex": FutexBell, "polling": PollingBell}
RUN = secrets.token_hex(8)
every_bell = pytest.mark.parametrize("make", BELLS.values(), ids=list(BELLS))


@every_bell
def test_ringing_wakes_another_process(make: type) -> None:
    """Ping-pong, 20 times: each side sleeps on one bell and rings the other."""
    answer = f"""
        import sys
        from engine.shm.segment import Segment
        from engine.shm.wakeup import {make.__name__} as make
        with Segment.attach("{RUN}", "bells") as segment:
            words = segment.words(0, 64)
            there, back = make(words, 0), make(words, 8)
            for n in range(20):
                while there.rings() == n:
                    there.wait(n, 10)
                back.ring()
            del words, there, back
    """
    with Segment.create(RUN, "bells", 512) as segment:
        words = segment.words(0, 64)
        there, back = make(words, 0), make(words, 8)
        other = subprocess.Popen([sys.executable, "-c", textwrap.dedent(answer)])
        for n in range(20):
            there.ring()
            assert wait_for(back, lambda n=n: back.rings() > n or None, 20), "nobody answered"
        assert other.wait() == 0


@every_bell
def test_a_time_out_is_a_time_out(make: type) -> None:
    bell = make(np.zeros(8, np.int64), 0)
    started = time.monotonic()
    bell.wait(bell.rings(), 0.02)
    assert time.monotonic() - started >= 0.019
    assert bell.rings() == 0
    assert wait_for(bell, lambda: None, 0.01) is None


@every_bell
@pytest.mark.parametrize("sleepers", [EVERYBODY, 1, 0])
def test_a_ring_before_the_wait_is_not_slept_through(make: type, sleepers: int) -> None:
    bell = make(np.zeros(8, np.int64), 0)
    seen = bell.rings()
    bell.ring(sleepers)
    started = time.monotonic()
    bell.wait(seen, 10)
    assert time.monotonic() - started < LONGEST_S / 2


def test_a_futex_is_asked_to_wake_so_many_and_for_none_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    bell, asked = FutexBell(np.zeros(8, np.int64), 0), []
    monkeypatch.setattr(bell, "_syscall", lambda number, address, what, many, *rest: asked.append((what, many)))
    for sleepers in (0, 2, EVERYBODY):
        bell.ring(sleepers)
    wake = 1
    assert asked == [(wake, 2), (wake, EVERYBODY)]


@every_bell
def test_no_wait_is_longer_than_a_tenth_of_a_second(make: type) -> None:
    bell = make(np.zeros(8, np.int64), 0)
    started = time.monotonic()
    bell.wait(bell.rings(), 60)
    assert LONGEST_S * 0.9 < time.monotonic() - started < 30


@every_bell
def test_rings_beyond_32_bits_still_wake(make: type) -> None:
    words = np.zeros(8, np.int64)
    words[0] = 2**32 - 1
    bell = make(words, 0)
    seen = bell.rings()
    bell.ring()
    assert bell.rings() == 2**32
    started = time.monotonic()
    bell.wait(seen, 10)
    assert time.monotonic() - started < LONGEST_S / 2


@every_bell
def test_waiting_looks_again_though_nobody_rings(make: type) -> None:
    """The word in memory is the truth: a lost wake-up costs a tenth of a second."""
    words = np.zeros(8, np.int64)
    looks = []

    def look() -> str | None:
        looks.append(1)
        return "there" if len(looks) == 2 else None

    beats = []
    assert wait_for(make(words, 0), look, 30, lambda: beats.append(1)) == "there"
    assert len(beats) == 1


@every_bell
def test_what_is_there_already_is_found_without_waiting(make: type) -> None:
    bell = make(np.zeros(8, np.int64), 0)
    assert wait_for(bell, lambda: 0, 0) == 0, "zero is an answer, None is not"
    assert wait_for(bell, lambda: None, 0) is None


def test_linux_gets_the_futex() -> None:
    assert isinstance(bell_at(np.zeros(8, np.int64), 0), FutexBell)
