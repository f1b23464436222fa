"""How long it takes to wake another process, and what waiting costs: our bells beside what multiprocessing has.

    python -m perf.wakeup
    python -m perf.wakeup --wakes 200 --json

One process waits; another notes the time, wakes it, and the first notes the time again. Between two wakes lie 5 to 15
milliseconds, so the waiter is asleep and its core may be, too. Idle CPU is what the waiter burns when nothing happens.
"""

from __future__ import annotations

import multiprocessing
import random
import secrets
import time
from collections.abc import Callable
from typing import Any

from engine.shm.atomics import Words, load, store
from engine.shm.segment import Segment
from engine.shm.wakeup import Bell, FutexBell, PollingBell
from perf.common import Spread, arguments, machine, report, say

_spawn = multiprocessing.get_context("spawn")
Wait = Callable[[float], None]
_BELL, _SENT_NS, _STOP = 0, 8, 16


class _BellWay:
    """One of our bells, on a word of the segment."""

    make: Callable[[Words, int], Bell]

    def __init__(self) -> None:
        self.handle = None

    def waker(self, words: Words) -> Callable[[], None]:
        return type(self).make(words, _BELL).ring

    def waiter(self, words: Words) -> Wait:
        bell = type(self).make(words, _BELL)
        seen = bell.rings()

        def wait(timeout_s: float) -> None:
            nonlocal seen
            end = time.monotonic() + timeout_s
            while bell.rings() == seen and (left := end - time.monotonic()) > 0:
                bell.wait(seen, left)
            seen = bell.rings()

        return wait


class Futex(_BellWay):
    name = "futex on a word (the engine's)"
    make = FutexBell


class Polling(_BellWay):
    name = "polling, 0.5 ms"
    make = PollingBell


class Event:
    name = "multiprocessing.Event"

    def __init__(self) -> None:
        self.handle = _spawn.Event()

    def waker(self, words: Words) -> Callable[[], None]:
        return self.handle.set

    def waiter(self, words: Words) -> Wait:
        def wait(timeout_s: float) -> None:
            if self.handle.wait(timeout_s):
                self.handle.clear()

        return wait


class Condition:
    name = "multiprocessing.Condition"

    def __init__(self) -> None:
        self.handle = _spawn.Condition()

    def waker(self, words: Words) -> Callable[[], None]:
        def wake() -> None:
            with self.handle:
                self.handle.notify_all()

        return wake

    def waiter(self, words: Words) -> Wait:
        def wait(timeout_s: float) -> None:
            with self.handle:
                self.handle.wait(timeout_s)

        return wait


class Pipe:
    name = "multiprocessing.Pipe"

    def __init__(self) -> None:
        self.there, self.here = _spawn.Pipe(duplex=False)

    def waker(self, words: Words) -> Callable[[], None]:
        return lambda: self.here.send_bytes(b"!")

    def waiter(self, words: Words) -> Wait:
        def wait(timeout_s: float) -> None:
            if self.there.poll(timeout_s):
                self.there.recv_bytes()

        return wait


WAYS: tuple[Any, ...] = (Futex, Polling, Event, Condition, Pipe)


def waiter(way: Any, run_id: str, idle_s: float, answer: Any) -> None:
    """In the other process: idle for a while, then note how long each wake took."""
    with Segment.attach(run_id, "wakeup") as segment:
        words = segment.words(0, 64)
        wait = way.waiter(words)
        answer.send("ready")
        began_s, began_cpu_s = time.monotonic(), time.process_time()
        while (left := began_s + idle_s - time.monotonic()) > 0:
            wait(min(left, 0.1))  # as the engine waits: never longer than a tenth of a second
        idle_percent = 100 * (time.process_time() - began_cpu_s) / (time.monotonic() - began_s)
        answer.send(idle_percent)
        latencies_us, last = [], 0
        while not load(words, _STOP):
            wait(0.1)
            now_ns, sent_ns = time.monotonic_ns(), load(words, _SENT_NS)
            if sent_ns != last:
                latencies_us.append((now_ns - sent_ns) / 1e3)
                last = sent_ns
        answer.send(latencies_us)


def measure(make: Any, wakes: int, idle_s: float) -> dict[str, Any]:
    """One way: a row of the table."""
    way, run_id, rng = make(), secrets.token_hex(8), random.Random(0)
    answer, there = _spawn.Pipe(duplex=False)
    with Segment.create(run_id, "wakeup", 512) as segment:
        words = segment.words(0, 64)
        process = _spawn.Process(target=waiter, args=(way, run_id, idle_s, there))
        process.start()
        assert answer.recv() == "ready"
        wake = way.waker(words)
        idle_percent = answer.recv()
        began_cpu_s = time.process_time()
        for _ in range(wakes):
            time.sleep(rng.uniform(0.005, 0.015))
            store(words, _SENT_NS, time.monotonic_ns())
            wake()
        cpu_us = (time.process_time() - began_cpu_s) / wakes * 1e6
        time.sleep(0.05)
        store(words, _STOP, 1)
        latencies = Spread.of(answer.recv())
        process.join()
        del words, wake
    return {
        "way": make.name,
        "p50 µs": latencies.p50,
        "p99 µs": latencies.p99,
        "max µs": latencies.max,
        "waker CPU µs": cpu_us,
        "idle CPU %": idle_percent,
        "seen": latencies.count,
    }


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--wakes", type=int, default=500, help="of each way")
    parser.add_argument("--idle-s", type=float, default=2.0, help="how long idle CPU is measured")
    options = parser.parse_args()
    machine_was, rows = machine(), []
    for make in WAYS:
        say(make.name)
        rows.append(measure(make, options.wakes, options.idle_s))
    report("Waking another process", rows, machine_was, facts={"wakes": options.wakes}, as_json=options.json)


if __name__ == "__main__":
    main()
