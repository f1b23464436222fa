"""Wake-ups: a bell that any process of the run can ring and wait for.

A bell is a word that counts its rings; a futex on its lower half puts waiters to sleep. It needs no handle to be
passed, has no owner and holds nothing when somebody dies. It is a hint: the truth is in the words that the waiter
reads before it sleeps and again when it wakes, and no sleep is longer than `LONGEST_S`.
"""

from __future__ import annotations

import ctypes
import platform
import sys
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from engine.shm.atomics import Words, add, load

LONGEST_S = 0.1
"""No wait is longer: a lost wake-up costs a tenth of a second and nothing else."""

EVERYBODY = 2**31 - 1
_FUTEX_WAIT, _FUTEX_WAKE = 0, 1
_FUTEX_NUMBERS = {"x86_64": 202, "aarch64": 98}
_POLL_S = 0.0005
_T = TypeVar("_T")


class Bell(Protocol):
    """Something to ring and to wait for; see `FutexBell`."""

    def rings(self) -> int:
        """Rings so far: take it before looking at the condition, hand it to `wait`."""
        ...

    def ring(self, sleepers: int = EVERYBODY) -> None:
        """Wake up to that many waiters; with 0 none, but who is about to sleep looks again."""
        ...

    def wait(self, seen: int, timeout_s: float) -> None:
        """Sleep until the bell has rung since `seen`, at most `timeout_s` and at most `LONGEST_S`."""
        ...


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class FutexBell:
    """A bell on Linux: 36 to 43 microseconds to wake another process, no CPU while waiting."""

    def __init__(self, words: Words, index: int) -> None:
        self._words = words
        self._index = index
        # Little-endian: the futex looks at the lower four bytes of the counter.
        self._address = words.ctypes.data + 8 * index
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._number = _FUTEX_NUMBERS[platform.machine()]

    def rings(self) -> int:
        return load(self._words, self._index)

    def ring(self, sleepers: int = EVERYBODY) -> None:
        add(self._words, self._index, 1)
        if sleepers > 0:  # the kernel would wake one for 0
            self._syscall(self._number, ctypes.c_void_p(self._address), _FUTEX_WAKE, sleepers, None, None, 0)

    def wait(self, seen: int, timeout_s: float) -> None:
        left = min(timeout_s, LONGEST_S)
        if left <= 0 or self.rings() != seen:
            return
        timeout = _Timespec(int(left), int(left % 1 * 1e9))
        expected = ctypes.c_uint32(seen & 0xFFFFFFFF)
        # EAGAIN (it rang meanwhile), EINTR and ETIMEDOUT all mean: look again.
        self._syscall(
            self._number, ctypes.c_void_p(self._address), _FUTEX_WAIT, expected, ctypes.byref(timeout), None, 0
        )


class PollingBell:
    """A bell where there is no futex: looks twice in a millisecond."""

    def __init__(self, words: Words, index: int) -> None:
        self._words = words
        self._index = index

    def rings(self) -> int:
        return load(self._words, self._index)

    def ring(self, sleepers: int = EVERYBODY) -> None:
        add(self._words, self._index, 1)

    def wait(self, seen: int, timeout_s: float) -> None:
        end = time.monotonic() + min(timeout_s, LONGEST_S)
        while self.rings() == seen and time.monotonic() < end:
            time.sleep(_POLL_S)


def bell_at(words: Words, index: int) -> Bell:
    """The bell on that word: a futex where there is one."""
    if sys.platform == "linux" and platform.machine() in _FUTEX_NUMBERS:
        return FutexBell(words, index)
    return PollingBell(words, index)


def wait_for(
    bell: Bell, look: Callable[[], _T | None], timeout_s: float, between: Callable[[], None] | None = None
) -> _T | None:
    """What `look` finds, looking again at each ring and at least every `LONGEST_S`; None after `timeout_s`.

    `between` is called before each sleep (a process beats its heart there).
    """
    end = time.monotonic() + timeout_s
    while True:
        seen = bell.rings()
        found = look()
        if found is not None:
            return found
        left = end - time.monotonic()
        if left <= 0:
            return None
        if between is not None:
            between()
        bell.wait(seen, left)
