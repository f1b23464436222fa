"""What a frame takes on its way into Lab Streaming Layer, beside lists and `push_sample`, which is what people write.

    python -m perf.lsl
    python -m perf.lsl --rate 1000 --pushes 200 --json

Frames come at a steady rate, as in a run: what is done a hundred times a second finds its caches cold. Another process
listens, so that every push wakes the thread that sends. *push* is the call alone, beside pylsl's `push_chunk` of an
array and `push_sample` of a list (for the rows: of each). *frame* is all from a frame's rows to what liblsl has:
channel groups, samples, push; beside it a list filled particle by particle. Everything stays on this computer unless an
LSL configuration of your own says otherwise.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from bridge.lsl.describe import ROW_FIELDS
from bridge.lsl.machine import configure, load
from bridge.lsl.outlets import Outlets
from bridge.lsl.samples import Sampler
from engine.experiment import Experiment
from engine.rows import RESULT_META, ROW
from perf.common import Spread, arguments, machine, report, say

WARM = 20


class Case(NamedTuple):
    """A stream to be measured, and how many particles a frame has."""

    stream: str
    groups: int
    fields: tuple[str, ...]
    particles: int


CASES = (
    Case("particles", 32, ("x", "y", "mass", "ecc"), 32),
    Case("particles", 32, ("x", "y", "mass", "ecc", "size"), 32),
    Case("particles", 1000, ("x", "y", "vx", "vy", "mass", "size"), 1000),
    Case("rows", 1, ("x",), 100),
)


def listen(name: str) -> None:
    """The other process: take samples until standard input ends; "ready" once the stream is open."""
    pylsl = load()
    inlet = pylsl.StreamInlet(pylsl.resolve_byprop("name", name, timeout=30)[0])
    inlet.open_stream(timeout=30)
    print("ready", flush=True)
    os.set_blocking(0, False)
    while sys.stdin.buffer.read(1) is None:
        inlet.pull_chunk(timeout=0.1)


def paced_us(acts: Sequence[Callable[[int], tuple[float, ...]]], pushes: int, rate: float) -> list[list[Spread]]:
    """Microseconds of each part of each `act(n)`; they take turns, `rate` of them a second."""
    due = time.perf_counter()
    taken: list[list[tuple[float, ...]]] = [[] for _ in acts]
    for n in range(WARM + pushes):
        for act, times in zip(acts, taken):
            due = max(due + 1 / rate, time.perf_counter())
            time.sleep(max(0.0, due - time.perf_counter()))
            times.append(act(n))
    return [[Spread.of([1e6 * value for value in part]) for part in zip(*times[WARM:])] for times in taken]


def measure(pylsl: Any, case: Case, pushes: int, rate: float) -> dict[str, Any]:
    """One row of the table."""
    name, of_rows = f"perf{os.getpid()}", case.stream == "rows"
    experiment = Experiment.load(None, [
        "lsl.enabled=true", f"lsl.name={name}", f"lsl.groups={case.groups}", f"lsl.rows={str(of_rows).lower()}",
        "lsl.fields=[" + ", ".join(f'"{field}"' for field in case.fields) + "]",
    ], environ={})  # fmt: skip
    rows = np.zeros(case.particles, ROW)
    rows["particle"] = np.arange(case.particles)
    meta = np.zeros((), RESULT_META)
    sampler, outlets = Sampler(experiment), Outlets(pylsl, experiment)
    channels = 2 + len(ROW_FIELDS) if of_rows else 1 + case.groups * (1 + len(case.fields))
    plain, arrays = (
        pylsl.StreamOutlet(pylsl.StreamInfo(f"{name}_{way}", "MoCap", channels, 0.0, "double64", f"{name}_{way}"))
        for way in ("list", "array")
    )
    ready = np.zeros((case.particles if of_rows else 1, channels))

    def ours(n: int) -> tuple[float, float]:
        began = time.perf_counter()
        meta["frame"] = n
        sample = sampler.frame_sample(meta, rows)
        values = sample.rows if of_rows else sample.particles
        made = time.perf_counter()
        assert values is not None
        outlets.push(case.stream, values, 1.0 + n)
        end = time.perf_counter()
        return end - made, end - began

    def an_array(n: int) -> tuple[float]:
        began = time.perf_counter()
        arrays.push_chunk(ready, 1.0 + n)
        return (time.perf_counter() - began,)

    def lists(n: int) -> tuple[float, float]:
        began = pushed = time.perf_counter()
        if of_rows:
            for row in rows:
                plain.push_sample([n, row["particle"], *(row[field] for field in ROW_FIELDS)], 1.0 + n)
        else:
            values = [math.nan] * channels
            values[0] = n
            for group, row in enumerate(rows):
                at = 1 + group * (1 + len(case.fields))
                values[at : at + 1 + len(case.fields)] = [row["particle"], *(row[field] for field in case.fields)]
            pushed = time.perf_counter()
            plain.push_sample(values, 1.0 + n)
        end = time.perf_counter()
        return end - pushed, end - began

    with listening(f"{name}_{case.stream}"), listening(f"{name}_array"), listening(f"{name}_list"):
        (push, frame), (array,), (push_list, frame_list) = paced_us((ours, an_array, lists), pushes, rate)
    outlets.close()
    return {
        "stream": case.stream, "particles": case.particles, "channels": channels, "push p50 µs": push.p50,
        "push p99 µs": push.p99, "push_chunk p50 µs": array.p50, "push_sample p50 µs": push_list.p50,
        "frame p50 µs": frame.p50, "with lists p50 µs": frame_list.p50, "lists / frame": frame_list.p50 / frame.p50,
    }  # fmt: skip


@contextmanager
def listening(name: str) -> Iterator[None]:
    """Another process listens to a stream while the block lasts."""
    command = [sys.executable, "-m", "perf.lsl", "--listening", name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", "the stream was not found"
        yield
        process.communicate("", timeout=30)


def main() -> None:
    """Measure all cases; see the module."""
    parser = arguments(__doc__)
    parser.add_argument("--pushes", type=int, default=1000, help="frames of each case")
    parser.add_argument("--rate", type=float, default=100.0, help="frames a second")
    parser.add_argument("--listening", help="be the process that listens to the stream of this name")
    chosen = parser.parse_args()
    if chosen.listening:
        listen(chosen.listening)
        return
    was, where = machine(), configure(False, f"perf{os.getpid()}")
    pylsl, rows = load(), []
    for case in CASES:
        say(f"{case.stream}, {case.particles} particles")
        rows.append(measure(pylsl, case, chosen.pushes, chosen.rate))
    report(
        "LSL: one frame into its stream", rows, was, as_json=chosen.json,
        notes=[f"{chosen.rate:g} frames a second, each stream with an inlet in another process; LSL {where}."],
    )  # fmt: skip


if __name__ == "__main__":
    main()
