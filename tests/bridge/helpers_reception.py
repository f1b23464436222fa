"""A receiver without shared memory: the real conversation, and lists that outlive it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np

from bridge.intake import Intake, Known, Lost
from bridge.reception import Expected, NoSlot, Reception
from bridge.wire import FrameHeader
from engine.accounting import Cause, Step

SHAPE = (48, 64)


@dataclass
class Memory:
    """What survives the receiver, and knobs to make it behave badly."""

    shape: tuple[int, int] = SHAPE
    dtype: str = "uint16"
    run_id: str = "0123456789abcdef"
    boot_id: str = "receiver's boot"
    frames: list[tuple[Known, FrameHeader, np.ndarray[Any, Any]]] = field(default_factory=list)
    losses: list[Lost] = field(default_factory=list)
    full: bool = False
    hold: bool = False  # a finite source waits while this is set
    clock_offset_ns: int = 0
    stop: bool = False

    def known(self) -> Known | None:
        last = [self.frames[-1][0]] if self.frames else []
        last += [self.losses[-1].known] if self.losses else []
        return max(last, key=lambda known: known.frame, default=None)

    @property
    def counters(self) -> list[int]:
        return [known.counter for known, _, _ in self.frames]

    @property
    def numbers(self) -> list[int]:
        return [known.frame for known, _, _ in self.frames]

    @property
    def lost(self) -> list[tuple[int, int, Step, Cause]]:
        return [(one.first, one.last, one.step, one.cause) for one in self.losses]

    # ---- Store

    def claim(self, live: bool) -> Any:
        if self.full and live:
            return NoSlot.FULL
        while self.hold and not self.stop:
            threading.Event().wait(0.005)
        if self.stop:
            return NoSlot.STOPPING
        self._slot = np.zeros(self.shape, self.dtype)
        return self._slot

    def publish(self, header: FrameHeader, known: Known, t_received_ns: int) -> None:
        self.frames.append((known, header, self._slot))

    def lose(self, lost: Lost) -> None:
        self.losses.append(lost)

    def ended(self, stream: int) -> None:
        self.bye_of = stream


_incarnations = count(1)


class FakeReceiver:
    """The real `Reception` in a thread. Leaving the block is its death; `memory` stays."""

    def __init__(self, memory: Memory, listen: str = "tcp://127.0.0.1:0", encrypt: bool = False) -> None:
        from engine.clocks import monotonic_ns

        self.memory = memory
        self.counts: dict[str, int] = {}
        self.logged: list[str] = []
        expected = Expected(memory.shape, memory.dtype, 100.0, memory.run_id, next(_incarnations), memory.boot_id)
        self._reception = Reception(
            listen,
            expected,
            Intake(memory.known(), 0),
            memory,
            self._count,
            lambda level, text: self.logged.append(text),
            lambda: monotonic_ns() + memory.clock_offset_ns,
            encrypt,
        )
        self._dead = threading.Event()

    def _count(self, name: str, n: int) -> None:
        self.counts[name] = self.counts.get(name, 0) + n

    def __enter__(self) -> FakeReceiver:
        self._reception.__enter__()
        self.address = self._reception.address
        self._thread = threading.Thread(target=self._run, name="fake receiver")
        self._thread.start()
        return self

    def _run(self) -> None:
        while not self._dead.is_set():
            self._reception.step(5)

    def __exit__(self, *_: object) -> None:
        self.memory.stop = True
        self._dead.set()
        self._thread.join()
        self.memory.stop = False
        self._reception.__exit__()


def wait_until(condition: Any, timeout_s: float = 10.0) -> None:
    """Wait for something that another thread does."""
    import time

    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        threading.Event().wait(0.002)


def image(value: int, shape: tuple[int, int] = SHAPE, dtype: str = "uint16") -> np.ndarray[Any, Any]:
    return np.full(shape, value % 250, dtype)
