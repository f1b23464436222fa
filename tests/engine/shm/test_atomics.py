"""Atomic words: what two processes do to one word at the same time is not lost."""

from __future__ import annotations

import secrets
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from engine.shm.atomics import LINE, acquire_fence, add, full_fence, load, store, swap_if
from engine.shm.segment import Segment

MILLION = 1_000_000
RUN = secrets.token_hex(8)

# The loops are compiled: from Python the two processes would hardly ever meet.
LOOPS = """
    import sys
    from numba import njit
    from engine.shm.atomics import _add, _load, _swap_if, add, load
    from engine.shm.segment import Segment

    @njit
    def adds(words, n):
        for _ in range(n):
            _add(words, 0, 1)

    @njit
    def swaps(words, n):
        lost = 0
        for _ in range(n):
            while True:
                seen = _load(words, 8)
                if _swap_if(words, 8, seen, seen + 1):
                    break
                lost += 1
        return lost

    with Segment.attach(sys.argv[1], "words") as segment:
        words = segment.words(0, 64)
        adds(words, 0), swaps(words, 0)
        add(words, 16, 1)
        while load(words, 16) < 2:  # both are compiled: go
            pass
        adds(words, 1_000_000)
        print(swaps(words, 1_000_000))
        del words
"""


def test_two_processes_that_add_and_swap_lose_nothing() -> None:
    with Segment.create(RUN, "words", 512) as segment:
        words = segment.words(0, 64)
        processes = [
            subprocess.Popen([sys.executable, "-c", textwrap.dedent(LOOPS), RUN], stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        outputs = [process.communicate()[0] for process in processes]
        assert load(words, 0) == 2 * MILLION
        assert load(words, LINE) == 2 * MILLION, f"failed swaps: {outputs}"


@pytest.mark.parametrize("value", [0, 1, -1, 2**31, 2**62, -(2**63), 2**63 - 1])
def test_words_hold_any_64_bits(value: int) -> None:
    words = np.zeros(3, np.int64)
    store(words, 1, value)
    assert load(words, 1) == value
    assert list(words) == [0, value, 0]


def test_add_gives_the_value_before() -> None:
    words = np.array([40], np.int64)
    assert add(words, 0, 2) == 40
    assert load(words, 0) == 42


def test_a_swap_happens_only_if_the_word_is_what_was_seen() -> None:
    words = np.array([7], np.int64)
    assert not swap_if(words, 0, 8, 9)
    assert load(words, 0) == 7
    assert swap_if(words, 0, 7, 9)
    assert load(words, 0) == 9


def test_fences_are_callable_from_python() -> None:
    acquire_fence()
    full_fence()
