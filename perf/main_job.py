"""The main job, end to end: frames a second, latency, CPU a frame of each process, memory; beside what people use.

    python -m perf.main_job                 the whole table, some minutes
    python -m perf.main_job --seconds 3 --sizes 512 --json

Rows of one size, in one run of this program:

- *flat out*: the simulated camera is held back, so frames/s is what the pipe takes. Its latency is that of a full ring.
- *at 60 %*: a live camera at 60 % of that; latency is from received to published, over TCP on this machine.
- *files*: TIFF files written into a folder on the RAM disk, at 60 % too; latency is from *file closed* to published.
- *Pool*: frames through a `multiprocessing.Queue`, cut into tiles for `trackpy.locate` in a `multiprocessing.Pool`.

The camera runs here too and takes its share of the cores; the simulated one shows a few frames rendered beforehand.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from bridge.simulator import Scene, Simulator
from engine.experiment import Experiment
from engine.rings import Rings
from engine.supervisor import RunSummary, StartedRun, start
from perf.common import Spread, arguments, machine, report, say
from perf.pool import pool_figures

LOAD = 0.6  # of what the pipe takes, where latency is measured
LOOKS_S = 0.2  # between two looks at the processes
WARM_FRAMES = 10
SETTINGS = {"diameter": 13, "separation": 14, "minmass": 4000.0, "percentile": 64.0}


@dataclass
class Watched:
    """What the processes of a run took, looked at from outside."""

    cpu_ms: dict[str, float] = field(default_factory=dict)  # a frame, by kind of process
    memory_mib: float = 0.0  # largest sum of private memory, and the shared memory once


def beads_in(size: int) -> int:
    """How many the simulated camera shows in frames of so many pixels a side."""
    return {512: 100, 2048: 1000}.get(size, size * size // 4000)


@dataclass(frozen=True)
class Look:
    """One look at all processes."""

    received: int  # newest frame in the ring
    published: int  # newest result
    cpu_s: dict[str, float]  # by process


class Onlooker(threading.Thread):
    """Looks at the processes of a run until `finish`; costs it nothing but these looks."""

    def __init__(self, run: StartedRun) -> None:
        super().__init__(name="onlooker", daemon=True)
        self._run, self._over = run, threading.Event()
        self._first: Look | None = None
        self._last: Look | None = None
        self._private = 0
        self._shared = 0

    def run(self) -> None:
        with Rings(self._run.plan, owner=False) as rings:
            self._shared = rings.bytes
            while not self._over.wait(LOOKS_S):
                cpu, private = {}, 0
                for process in self._run.plan.processes:
                    pid = rings.block(process.name).pid
                    if (took := _cpu_s(pid)) is not None:
                        cpu[process.name] = took
                        private += _private_bytes(pid)
                cpu["supervisor"] = _cpu_s(self._run.pid) or 0.0
                self._private = max(self._private, private + _private_bytes(self._run.pid))
                look = Look(rings.frames.newest, rings.results.newest, cpu)
                if self._first is None and look.published >= WARM_FRAMES:
                    self._first = look
                elif self._first is not None and self._first.cpu_s.keys() <= cpu.keys():
                    before = self._last or self._first
                    self._last = look if look.published > before.published else self._last

    def finish(self) -> Watched:
        """The figures of the frames between the first look and the last."""
        self._over.set()
        self.join()
        watched = Watched(memory_mib=(self._private + self._shared) / 2**20)
        first, last = self._first, self._last
        if first is None or last is None or last.published == first.published or last.received == first.received:
            return watched
        for name, before in first.cpu_s.items():
            kind = name.rpartition("-")[0] or name
            # A source that is held back runs ahead of the trackers by a ring.
            arrives = kind in ("sender", "receiver")
            frames = last.received - first.received if arrives else last.published - first.published
            took = (last.cpu_s[name] - before) * 1e3 / frames
            watched.cpu_ms[kind] = watched.cpu_ms.get(kind, 0.0) + took
        return watched


def _cpu_s(pid: int) -> float | None:
    """Seconds of CPU that a process took so far; None if it is gone."""
    import psutil

    try:
        times = psutil.Process(pid).cpu_times()
    except (psutil.Error, ValueError):
        return None
    return float(times.user + times.system)


def _private_bytes(pid: int) -> int:
    """Memory that is this process's alone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")), 0)


def experiment_for(size: int, fps: float, data: Path) -> Experiment:
    """Settings of all runs of a size."""
    settings = {
        "experiment.name": "bench", "experiment.data": data, "experiment.max_lost": 10**9,
        "camera.listen": "tcp://127.0.0.1:50172", "control.listen": "tcp://127.0.0.1:50173",
        "camera.width": size, "camera.height": size, "camera.fps": fps, "linking.search_range": 8,
    } | {f"tracking.{name}": value for name, value in SETTINGS.items()} | {"tracking.max_ecc": 0}  # fmt: skip
    return Experiment.load(None, [f"{key}={value}" for key, value in settings.items()])


def simulated(size: int, fps: float, seconds: float, live: bool, data: Path) -> tuple[RunSummary, Watched]:
    """One run with the simulated camera."""
    frames = max(3 * WARM_FRAMES, round(fps * seconds))
    options = {"width": size, "height": size, "beads": beads_in(size), "fps": fps, "seed": 1,
               "loop": 32, "frames": frames, "live": int(live)}  # fmt: skip
    run = start(experiment_for(size, fps, data), source="simulated?" + urlencode(options))
    onlooker = Onlooker(run)
    onlooker.start()
    summary = run.wait()
    return summary, onlooker.finish()


def files(size: int, fps: float, seconds: float, data: Path, folder: Path) -> tuple[RunSummary, Watched, Spread]:
    """One run with files that are written into a watched folder; latency from the file's close, in ms."""
    import tifffile

    from recorders.run import Run

    simulator = Simulator(Scene(width=size, height=size, beads=beads_in(size), seed=1, loop=8))
    images = [image for image, _ in zip_frames(simulator, 8)]
    run = start(experiment_for(size, fps, data), source=str(folder), source_options={"watch": True, "idle_s": 1.0})
    onlooker = Onlooker(run)
    onlooker.start()
    closed_ns: dict[str, int] = {}
    due = time.monotonic()
    for n in range(max(3 * WARM_FRAMES, round(fps * seconds))):
        due += 1 / fps
        time.sleep(max(0.0, due - time.monotonic()))
        if n == 1:  # the sender is loading still: the first file waits for it, the others must not
            _wait_for_first_frame(run)
            due = time.monotonic()
        path = folder / f"frame_{n:06d}.tif"
        tifffile.imwrite(path, images[n % len(images)])
        closed_ns[path.name] = time.monotonic_ns()
    summary = run.wait()
    watched = onlooker.finish()
    table = Run.open(Path(summary.run_folder)).frames_table
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in table["file_name"]]
    published = dict(zip(names, table["t_published_ns"]))
    delays = [(published[name] - at) / 1e6 for name, at in closed_ns.items() if published.get(name, 0) > 0]
    return summary, watched, Spread.of(delays[WARM_FRAMES:])


def _wait_for_first_frame(run: StartedRun) -> None:
    deadline = time.monotonic() + 60
    with Rings(run.plan, owner=False) as rings:
        while rings.frames.newest < 0 and time.monotonic() < deadline:
            time.sleep(0.01)


def zip_frames(simulator: Simulator, count: int) -> Iterator[Any]:
    """The first frames of a simulator."""
    return (frame for frame, _ in zip(simulator.frames(), range(count)))


def row(size: int, way: str, summary: RunSummary, watched: Watched, latency: Spread | None = None) -> dict[str, Any]:
    for loss in summary.lost:
        say(f"{way}: frames {loss.first} to {loss.last} lost at {loss.step}: {loss.cause}")
    took = watched.cpu_ms
    p = summary.latency_ms
    return {
        "frame": f"{size} x {size}",
        "way": way,
        "frames": summary.frames_recorded,
        "lost": summary.frames_lost,
        "frames/s": summary.fps,
        "p50 ms": latency.p50 if latency else p["p50"],
        "p99 ms": latency.p99 if latency else p["p99"],
        "max ms": latency.max if latency else p["max"],
        **{
            f"{label} CPU ms": took.get(kind, float("nan"))
            for label, kind in (
                ("sender", "sender"), ("receiver", "receiver"), ("trackers", "tracker"), ("linker", "linker"),
                ("recorder", "hdf5"), ("supervisor", "supervisor"),
            )
        },
        "memory MiB": watched.memory_mib,
    }  # fmt: skip


def pool_row(size: int, like: dict[str, Any], seconds: float, fps: float) -> dict[str, Any]:
    simulator = Simulator(Scene(width=size, height=size, beads=beads_in(size), seed=1, loop=4))
    images = [image for image, _ in zip_frames(simulator, 4)]
    figures = pool_figures(images, SETTINGS, multiprocessing.cpu_count(), seconds, fps)
    nothing = dict.fromkeys((name for name in like if name.endswith("CPU ms")), float("nan"))
    return like | nothing | figures | {"way": "Pool of trackpy.locate", "lost": 0}


@contextmanager
def folders() -> Iterator[tuple[Path, Path]]:
    """A folder for runs on the disk and one for files on the RAM disk, removed at the end."""
    ram = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path(tempfile.gettempdir())
    data, inbox = Path(tempfile.mkdtemp(prefix="bench-")), Path(tempfile.mkdtemp(prefix="bench-", dir=ram))
    try:
        yield data, inbox
    finally:
        for folder in (data, inbox):
            shutil.rmtree(folder, ignore_errors=True)


def measure(size: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """All rows of one size."""
    rows, seconds = [], options.seconds
    with folders() as (data, inbox):
        say(f"{size} x {size}: flat out")
        guess = 40.0 * 2048**2 / size**2 if size >= 1024 else 150.0
        summary, watched = simulated(size, min(guess, 400.0), seconds, False, data)
        rows.append(row(size, "flat out", summary, watched))
        fps = max(1.0, round(LOAD * summary.fps, 1))
        say(f"{size} x {size}: at {fps:g} frames/s")
        rows.append(row(size, f"at {100 * LOAD:.0f} %", *simulated(size, fps, seconds, True, data)))
        say(f"{size} x {size}: files at {fps:g} frames/s")
        rows.append(row(size, "files", *files(size, fps, seconds, data, inbox)))
    if not options.alone:
        say(f"{size} x {size}: Pool of trackpy.locate")
        rows.append(pool_row(size, rows[0], seconds, fps))
    return rows


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each run, about")
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 2048], help="pixels of a side")
    parser.add_argument("--alone", action="store_true", help="without the Pool beside it")
    options = parser.parse_args()
    machine_was = machine()
    rows = [row for size in options.sizes for row in measure(size, options)]
    report(
        "The main job, from the camera to the published particles",
        rows,
        machine_was,
        notes=[
            f"Settings: {', '.join(f'{name} {value:g}' for name, value in SETTINGS.items())}; "
            "beads a frame: " + ", ".join(f"{beads_in(s)} at {s}" for s in options.sizes) + ".",
            f"at {100 * LOAD:.0f} %: latency from received to published; files: from file closed to published; "
            "Pool: from handed to the queue to all tiles done, without linking and files.",
        ],
        facts={"settings": SETTINGS, "load": LOAD},
        as_json=options.json,
    )


if __name__ == "__main__":
    main()
