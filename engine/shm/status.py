"""A status block: what one process says of itself, in memory that outlives it.

A page of words for each process of the run: its state, a heartbeat that counts progress, its counters, a histogram of
latencies. The process alone writes them, but for `command` and `promoted` (the supervisor). A process that starts again
goes on counting in the block of the one before. Anybody may look, at no cost to who is looked at.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.shm.atomics import Words, full_fence, load, store
from engine.shm.segment import Memory
from engine.shm.wakeup import Bell, bell_at

COUNTERS = 64
_STATE, _BEATS, _PID, _STARTED_NS, _COMMAND, _PROMOTED, _NAMES_BYTES, _BELL = range(8)
_COUNTERS = 64
_HISTOGRAM = _COUNTERS + COUNTERS
_TEXT = 1536  # words; from here on bytes: the names of the counters, JSON
_WORDS = 2048
BLOCK_BYTES = 8 * _WORDS
_SUB = 16
"""Bins in an octave of the histogram: a quantile is at most 1/16 = 6 % too high."""
_OCTAVES = 44
BINS = _SUB * _OCTAVES


class ProcessState(IntEnum):
    """Where a process is in its life."""

    ABSENT = 0
    STARTING = 1  # importing, compiling or loading kernels, mapping memory
    SPARE = 2  # ready, waiting to take the place of one that died
    READY = 3
    STOPPED = 4  # it left in order


class Command(IntEnum):
    """What the supervisor asks of a process."""

    RUN = 0
    STOP = 1


class StatusBlock:
    """One process's block; see the module."""

    def __init__(self, segment: Memory, offset: int) -> None:
        self._words: Words = segment.words(offset, _WORDS)
        self._text: npt.NDArray[np.uint8] = segment.array(offset + 8 * _TEXT, (8 * (_WORDS - _TEXT),), np.uint8)
        self._names: dict[str, int] = {}
        self._text_read, self._names_read = b"", list[str]()
        self.told: Bell = bell_at(self._words, _BELL)  # rung at each command and promotion, for who waits for one

    # ---- the process itself

    def open(self, pid: int, now_ns: int, counters: Sequence[str]) -> None:
        """Take the block over: who we are and what we count. Counters and histogram go on.

        Without counters (they are not known yet) the names stay that the process before gave.
        """
        if len(counters) > COUNTERS:
            raise ValueError(f"{len(counters)} counters, a block has room for {COUNTERS}")
        text = json.dumps(list(counters)).encode()
        if len(text) > len(self._text):
            raise ValueError(f"the names of the counters take {len(text)} bytes, there is room for {len(self._text)}")
        if counters and self._names_text() != text:
            store(self._words, _NAMES_BYTES, 0)  # who looks on meanwhile sees none, never half a name
            full_fence()
            self._text[: len(text)] = np.frombuffer(text, np.uint8)
            store(self._words, _NAMES_BYTES, len(text))
        self._names = {name: i for i, name in enumerate(counters)}
        store(self._words, _PID, pid)
        store(self._words, _STARTED_NS, now_ns)
        self.state = ProcessState.STARTING

    def beat(self) -> None:
        """I live and get on."""
        store(self._words, _BEATS, load(self._words, _BEATS) + 1)

    def ready(self) -> None:
        """I may be used from now on."""
        self.state = ProcessState.READY

    def count(self, name: str, n: int = 1) -> None:
        """Add to one of the counters named in `open`."""
        index = _COUNTERS + self._names[name]
        store(self._words, index, load(self._words, index) + n)

    def set(self, name: str, value: int) -> None:
        """Set a counter that is a level rather than a count."""
        store(self._words, _COUNTERS + self._names[name], value)

    def observe_ns(self, latency_ns: int) -> None:
        """Add one latency to the histogram."""
        index = _HISTOGRAM + bin_of(latency_ns)
        store(self._words, index, load(self._words, index) + 1)

    @property
    def stopping(self) -> bool:
        """The supervisor wants this process to finish."""
        return load(self._words, _COMMAND) == Command.STOP

    @property
    def promoted(self) -> int:
        """0 while a spare; otherwise 1 + its own number among the workers (1 for who is none)."""
        return load(self._words, _PROMOTED)

    # ---- the supervisor and who looks on

    @property
    def state(self) -> ProcessState:
        return ProcessState(load(self._words, _STATE))

    @state.setter
    def state(self, state: ProcessState) -> None:
        store(self._words, _STATE, int(state))

    def command(self, command: Command) -> None:
        store(self._words, _COMMAND, int(command))
        self.told.ring()

    def promote(self, worker: int) -> None:
        store(self._words, _PROMOTED, worker + 1)
        self.told.ring()

    def reset(self) -> None:
        """Before a new process takes the block: no state, no command, no promotion; the counters stay."""
        for word in (_STATE, _PID, _COMMAND, _PROMOTED):
            store(self._words, word, 0)

    @property
    def beats(self) -> int:
        return load(self._words, _BEATS)

    @property
    def pid(self) -> int:
        return load(self._words, _PID)

    def counters(self) -> dict[str, int]:
        """All counters by name."""
        text = self._names_text()
        if text != self._text_read:  # who looks often reads the names once
            self._names_read, self._text_read = json.loads(text or b"[]"), text
        return {name: load(self._words, _COUNTERS + i) for i, name in enumerate(self._names_read)}

    def _names_text(self) -> bytes:
        return self._text[: load(self._words, _NAMES_BYTES)].tobytes()

    def histogram(self) -> npt.NDArray[np.int64]:
        """A copy of the histogram's bins."""
        return self._words[_HISTOGRAM : _HISTOGRAM + BINS].copy()


def bin_of(latency_ns: int) -> int:
    """The histogram's bin: 16 bins an octave, exact below 16 ns."""
    value = max(0, latency_ns)
    if value < _SUB:
        return value
    octave = value.bit_length() - 5
    return min(BINS - 1, _SUB * (octave + 1) + (value >> octave) - _SUB)


def top_of(index: int) -> int:
    """The largest latency of a bin, in nanoseconds."""
    if index < _SUB:
        return index
    octave, sub = index // _SUB - 1, index % _SUB
    return ((_SUB + sub + 1) << octave) - 1


def quantiles_ms(histogram: npt.NDArray[np.int64]) -> dict[str, float]:
    """p50, p99, p99.9 and max in milliseconds (each at most 6 % too high), and how many there were."""
    total = int(histogram.sum())
    answer: dict[str, Any] = {"count": total}
    if total == 0:
        return answer | {"p50": float("nan"), "p99": float("nan"), "p99.9": float("nan"), "max": float("nan")}
    cumulative = np.cumsum(histogram)
    for name, part in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)):
        index = int(np.searchsorted(cumulative, max(1, int(np.ceil(part * total)))))
        answer[name] = top_of(index) / 1e6
    return answer
