"""One hop of a frame to another process: through the ring, a `multiprocessing.Queue`, a `Pipe`; beside a plain copy.

    python -m perf.ring                     8 MiB frames, a minute
    python -m perf.ring --seconds 1 --json

A *hop* is the time from the moment the writer has a frame until another process looks at it: for the ring it is
copied into its slot (made ready while nothing came, as the receiver does), published, the other one is woken and has a
view. The *copy* is that of the same frames into memory of the same size, at the same pace and in the same run: the
least that any way costs whose frames do not stay where the camera put them. Latency and CPU are measured at a steady
pace, frames/s as fast as it goes.

All ways take turns, several times over, so that a machine that is busy for a while is busy for all.
"""

from __future__ import annotations

import gc
import multiprocessing
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from engine.shm.cursors import LosslessReader
from engine.shm.frame_ring import Claim, FrameWriter
from engine.shm.ring import Ring, RingLayout
from engine.shm.segment import Segment
from engine.shm.steps import run
from engine.shm.units import OldestUnfinished, UnitLayout, Units
from perf.common import Spread, arguments, machine, report, say

Frame = npt.NDArray[np.uint16]
SLOTS = 16
STAMP = np.dtype([("began_ns", "<i8"), ("frame", "<i8")])
_spawn = multiprocessing.get_context("spawn")


class Way(Protocol):
    """A way from one process to another. `sender` and `receiver` are entered in the process that uses them."""

    def sender(self) -> Any:
        """A context with a function that sends a frame."""

    def receiver(self) -> Any:
        """A context with a function that waits for the next frame and returns one pixel of it and when it began."""


class RingWay:
    """The frame ring as the engine uses it; the receiver also does what a tracker and the linker do to free a slot."""

    name = "ring"

    def __init__(self, shape_hw: tuple[int, int]) -> None:
        self.shape_hw = shape_hw
        self.run_id = secrets.token_hex(8)

    @property
    def _layouts(self) -> tuple[RingLayout, RingLayout, UnitLayout]:
        frames = RingLayout(SLOTS, STAMP, np.dtype(np.uint16), self.shape_hw)
        return frames, RingLayout(4 * SLOTS, STAMP, np.dtype(np.int64), (8,)), UnitLayout(4, (1,))

    @contextmanager
    def sender(self) -> Iterator[Callable[[Frame, int], None]]:
        frames_layout, results_layout, units_layout = self._layouts
        with ExitStack() as stack:
            segments = [
                stack.enter_context(Segment.create(self.run_id, kind, layout.bytes))
                for kind, layout in zip(("frames", "results", "work"), self._layouts)
            ]
            frames, results = Ring(segments[0], frames_layout), Ring(segments[1], results_layout)
            writer = FrameWriter(frames, results, Units(segments[2], 0, units_layout), hold_s=3.0)

            ready = writer.prepare()

            def send(frame: Frame, began_ns: int) -> None:
                nonlocal ready
                claim = ready or writer.claim(10.0, live=False)
                assert isinstance(claim, Claim), claim
                np.copyto(claim.pixels, frame)
                claim.meta["began_ns"] = began_ns
                writer.publish(claim)
                ready = writer.prepare()  # as the receiver does, while it has nothing else to do

            yield send

    @contextmanager
    def receiver(self) -> Iterator[Callable[[], tuple[int, int]]]:
        frames_layout, results_layout, units_layout = self._layouts
        with ExitStack() as stack:
            segments = [
                stack.enter_context(Segment.attach(self.run_id, kind, populate="read"))
                for kind in ("frames", "results", "work")
            ]
            frames, results = Ring(segments[0], frames_layout), Ring(segments[1], results_layout)
            units = Units(segments[2], 0, units_layout)
            reader, oldest = LosslessReader(frames, 0), OldestUnfinished(units, 0)

            def receive() -> tuple[int, int]:
                place = reader.next(10.0)
                assert isinstance(place, int), place
                with frames.view(place) as entry:
                    seen_ns = time.monotonic_ns()
                    began_ns = int(entry.meta["began_ns"])
                    assert entry.data[-1, -1] == entry.data[0, 0]
                unit = run(units.claim(oldest.look(frames.newest), frames.newest, 0, 0))
                assert unit is not None
                run(units.done(unit, lambda: frames.newest))
                results.publish(place, "link")
                frames.released.ring()
                return seen_ns, began_ns

            yield receive


class QueueWay:
    """`multiprocessing.Queue`: the array is pickled, written to a pipe, read, unpickled."""

    name = "multiprocessing.Queue"

    def __init__(self, shape_hw: tuple[int, int]) -> None:
        self.queue = _spawn.Queue(2)

    @contextmanager
    def sender(self) -> Iterator[Callable[[Frame, int], None]]:
        yield lambda frame, began_ns: self.queue.put((frame, began_ns))
        self.queue.close()
        self.queue.join_thread()

    @contextmanager
    def receiver(self) -> Iterator[Callable[[], tuple[int, int]]]:
        def receive() -> tuple[int, int]:
            frame, began_ns = self.queue.get(timeout=10)
            seen_ns = time.monotonic_ns()
            assert frame[-1, -1] == frame[0, 0]
            return seen_ns, began_ns

        yield receive


class PipeWay:
    """`multiprocessing.Pipe` at its best: raw bytes, received into a buffer that is there already."""

    name = "multiprocessing.Pipe"

    def __init__(self, shape_hw: tuple[int, int]) -> None:
        self.shape_hw = shape_hw
        self.there, self.here = _spawn.Pipe(duplex=False)

    @contextmanager
    def sender(self) -> Iterator[Callable[[Frame, int], None]]:
        def send(frame: Frame, began_ns: int) -> None:
            self.here.send_bytes(began_ns.to_bytes(8, "little"))
            self.here.send_bytes(memoryview(frame))

        yield send
        self.here.close()

    @contextmanager
    def receiver(self) -> Iterator[Callable[[], tuple[int, int]]]:
        buffer = np.zeros(self.shape_hw, np.uint16)
        flat = memoryview(buffer).cast("B")

        def receive() -> tuple[int, int]:
            began_ns = int.from_bytes(self.there.recv_bytes(), "little")
            self.there.recv_bytes_into(flat)
            seen_ns = time.monotonic_ns()
            assert buffer[-1, -1] == buffer[0, 0]
            return seen_ns, began_ns

        yield receive


WAYS: tuple[Any, ...] = (RingWay, PipeWay, QueueWay)


@dataclass
class Figures:
    """Of one way, over all its turns."""

    latency_ms: list[float] = field(default_factory=list)
    send_cpu_ms: list[float] = field(default_factory=list)  # a frame, one value a turn
    receive_cpu_ms: list[float] = field(default_factory=list)
    frames_per_s: list[float] = field(default_factory=list)


def receive_all(way: Way, phases: tuple[int, ...], answer: Any) -> None:
    """In the other process: take so many frames in each phase and report each phase as it ends."""
    with way.receiver() as receive:
        answer.send("ready")
        for count in phases:
            gc.disable()
            times = [receive()]
            began_cpu = time.process_time()
            times += [receive() for _ in range(count - 1)]
            cpu_ms = (time.process_time() - began_cpu) * 1e3 / max(1, count - 1)
            gc.enable()
            answer.send((times, cpu_ms))


def turn(make: Any, frames: list[Frame], fps: float, seconds: float, figures: Figures) -> None:
    """One turn of a way: warm up, then a steady pace, then as fast as it goes."""
    way, warm = make(frames[0].shape), 2 * SLOTS
    steady, flat_out = max(8, int(fps * seconds)), max(32, int(2 * fps * seconds))
    answer, there = _spawn.Pipe(duplex=False)
    with way.sender() as send:
        process = _spawn.Process(target=receive_all, args=(way, (warm, steady, flat_out), there))
        process.start()
        assert answer.recv() == "ready"
        for n in range(warm):
            send(frames[n % len(frames)], time.monotonic_ns())
        answer.recv()

        began_cpu = time.process_time()
        for n in pace(steady, fps):
            send(frames[n % len(frames)], time.monotonic_ns())
        times, receive_cpu_ms = answer.recv()
        figures.send_cpu_ms.append((time.process_time() - began_cpu) * 1e3 / steady)
        figures.receive_cpu_ms.append(receive_cpu_ms)
        figures.latency_ms += [(seen_ns - began_ns) / 1e6 for seen_ns, began_ns in times]

        for n in range(flat_out):
            send(frames[n % len(frames)], time.monotonic_ns())
        times, _ = answer.recv()
        figures.frames_per_s.append((flat_out - 1) / (times[-1][0] - times[0][0]) * 1e9)
        process.join()


def copy_turn(frames: list[Frame], fps: float, seconds: float, figures: Figures) -> None:
    """Copy the frames into memory of the ring's size, at the same pace."""
    slots = np.zeros((SLOTS, *frames[0].shape), np.uint16)
    for n in range(2 * SLOTS):
        np.copyto(slots[n % SLOTS], frames[n % len(frames)])
    began_cpu, count = time.process_time(), max(8, int(fps * seconds))
    for n in pace(count, fps):
        began_ns = time.monotonic_ns()
        np.copyto(slots[n % SLOTS], frames[n % len(frames)])
        figures.latency_ms.append((time.monotonic_ns() - began_ns) / 1e6)
    figures.send_cpu_ms.append((time.process_time() - began_cpu) * 1e3 / count)
    began_ns, count = time.monotonic_ns(), 2 * count
    for n in range(count):
        np.copyto(slots[n % SLOTS], frames[n % len(frames)])
    figures.frames_per_s.append(count / (time.monotonic_ns() - began_ns) * 1e9)


def pace(count: int, fps: float) -> Iterator[int]:
    """Count at a steady pace; who is late goes on at once and is not made to catch up."""
    due = time.monotonic()
    for n in range(count):
        due = max(due + 1 / fps, time.monotonic())
        while (left := due - time.monotonic()) > 0:
            time.sleep(left)
        yield n


def row(name: str, figures: Figures, floor_ms: float) -> dict[str, Any]:
    hop = Spread.of(figures.latency_ms)
    return {
        "way": name,
        "hop p50 ms": hop.p50,
        "p99 ms": hop.p99,
        "x copy": hop.p50 / floor_ms,
        "frames/s": float(np.median(figures.frames_per_s)),
        "sender CPU ms": float(np.median(figures.send_cpu_ms)),
        "receiver CPU ms": float(np.median(figures.receive_cpu_ms)) if figures.receive_cpu_ms else float("nan"),
    }


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="steady part of each turn")
    parser.add_argument("--turns", type=int, default=5, help="of each way")
    parser.add_argument("--fps", type=float, default=50.0, help="the steady pace")
    parser.add_argument("--height", type=int, default=2048)
    parser.add_argument("--width", type=int, default=2048)
    options = parser.parse_args()
    machine_was = machine()
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 60000, (options.height, options.width), dtype=np.uint16) for _ in range(4)]
    for frame in frames:
        frame[-1, -1] = frame[0, 0]
    copies, all_figures = Figures(), {make.name: Figures() for make in WAYS}
    for number in range(options.turns):
        say(f"turn {number + 1} of {options.turns}")
        copy_turn(frames, options.fps, options.seconds, copies)
        for make in WAYS:
            turn(make, frames, options.fps, options.seconds, all_figures[make.name])
    floor_ms = Spread.of(copies.latency_ms).p50
    rows = [row("copy alone (the floor)", copies, floor_ms)]
    rows += [row(name, figures, floor_ms) for name, figures in all_figures.items()]
    ratio = rows[1]["x copy"]
    size_mib = frames[0].nbytes / 2**20
    report(
        f"One hop of a {size_mib:.0f} MiB frame to another process (latency and CPU at {options.fps:g} frames/s)",
        rows,
        machine_was,
        notes=[f"The ring's hop takes {ratio:.2f} times one copy of the frame; the limit we set ourselves is 1.25."],
        facts={"frame_mib": size_mib, "fps": options.fps, "turns": options.turns, "ring_over_copy": ratio},
        as_json=options.json,
    )


if __name__ == "__main__":
    main()
