"""The engine end to end: CPU a frame of every process, the highest rate without loss, latency below it, and its limits.

    python -m perf.engine                      both precisions, some minutes
    python -m perf.engine --seconds 60         as long as a claim of "none lost in 60 s" needs
    python -m perf.engine --sizes 512 --seconds 3 --json

Sender, receiver, trackers, linker and the recording of tracks (HDF5) share this machine. The sender shows frames that
were rendered beforehand: its share is that of sending. Rows of a size, for each precision, over TCP and over IPC:

- *at 50/s*: a live camera at 50 frames/s: CPU ms a frame of each process and of all together, latency from received to
  published, what was lost.
- *flat out*: the source is held back: what the pipe takes in the long run. *all but the sender* is what it would take
  if the sender ran elsewhere and the cores were busy all the time: cores / CPU seconds a frame.
- *50 %*, *80 %*, *95 %* of that (IPC: 95 %), and *at 100/s*, live: latency and losses. The highest of them that lost
  nothing is the *sustained* rate.
- *Pool*: a multiprocessing.Pool of `trackpy.locate` tiles fed by a queue, once a size.

A second table says what a frame takes at least: *detection alone*, all units of a frame on one core with nothing beside
it, and *bare sockets*, a pair that carries frames and does nothing else (`perf.transport`). What is above them is what
sharing the machine, claiming units, linking and recording cost.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np

from bridge.simulator import Scene, Simulator
from engine.experiment import Experiment
from engine.supervisor import RunSummary, start
from engine.workers.configure import detector_for
from perf import transport
from perf.common import arguments, machine, report, say
from perf.locate import Ours
from perf.main_job import SETTINGS, WARM_FRAMES, Onlooker, Watched, beads_in, folders, pool_row, zip_frames

SETTINGS_HERE = {"diameter": 21, "separation": 18, "minmass": 5000.0, "percentile": 14.0, "max_ecc": 0}
LOOP = 32  # different frames
RATE = 50.0  # frames/s at which CPU time is compared
AIM = 100.0  # frames/s that two cores should take
TURNS, BARE_S = 100, 4.0  # frames detected, and seconds of bare sockets, for what a frame takes at least


def experiment_for(size: int, fps: float, precision: str, data: Path, way: str, more: Sequence[str]) -> Experiment:
    """Settings of all runs; `more` are KEY=VALUE."""
    settings: dict[str, Any] = {
        "experiment.name": "bench", "experiment.data": data, "experiment.max_lost": 10**9,
        "camera.listen": "tcp://127.0.0.1:50182" if way == "tcp" else "ipc://@ringtrack-bench",
        "control.listen": "tcp://127.0.0.1:50183", "camera.width": size,
        "camera.height": size, "camera.fps": fps, "linking.search_range": 8, "tracking.precision": precision,
    } | {f"tracking.{name}": value for name, value in SETTINGS_HERE.items()}  # fmt: skip
    return Experiment.load(None, [*(f"{key}={value}" for key, value in settings.items()), *more])


def one_run(
    size: int, fps: float, seconds: float, live: bool, precision: str, data: Path, way: str, more: Sequence[str]
) -> tuple[RunSummary, Watched]:
    """A run with the simulated camera: spots of 3.8 pixels and up to 3000 counts."""
    frames = max(3 * WARM_FRAMES, round(fps * seconds))
    options = {"width": size, "height": size, "beads": beads_in(size), "fps": fps, "seed": 1,
               "loop": LOOP, "frames": frames, "live": int(live), "sigma_px": 3.8, "signal": 1900}  # fmt: skip
    run = start(experiment_for(size, fps, precision, data, way, more), source="simulated?" + urlencode(options))
    onlooker = Onlooker(run)
    onlooker.start()
    summary = run.wait()
    return summary, onlooker.finish()


def row(size: int, way: str, precision: str, summary: RunSummary, watched: Watched) -> dict[str, Any]:
    """What the table says of a run."""
    took, p = watched.cpu_ms, summary.latency_ms
    everything = sum(took.values()) if took else float("nan")
    cores = len(os.sched_getaffinity(0))
    rest = everything - took.get("sender", 0.0)
    return {
        "frame": f"{size} x {size}",
        "way": way,
        "precision": precision,
        "frames": summary.frames_recorded,
        "lost": summary.frames_lost,
        "frames/s": summary.fps,
        "p50 ms": p["p50"],
        "p99 ms": p["p99"],
        "max ms": p["max"],
        "all CPU ms": everything,
        **{
            f"{label} CPU ms": took.get(kind, float("nan"))
            for label, kind in (
                ("sender", "sender"), ("receiver", "receiver"), ("trackers", "tracker"), ("linker", "linker"),
                ("recorder", "hdf5"), ("supervisor", "supervisor"),
            )
        },
        "all but the sender /s": 1e3 * cores / rest if rest > 0 else float("nan"),
        "memory MiB": watched.memory_mib,
    }  # fmt: skip


def measured_over(
    way: str,
    size: int,
    precision: str,
    data: Path,
    seconds: float,
    shares: Sequence[float],
    options: argparse.Namespace,
) -> list[dict[str, Any]]:
    """The rows of one precision over TCP or IPC."""

    def measured(name: str, fps: float, duration: float, live: bool) -> dict[str, Any]:
        say(f"{size} x {size}, {precision}, {way}: {name}")
        return row(
            size, f"{way}, {name}", precision, *one_run(size, fps, duration, live, precision, data, way, options.set)
        )

    rows = [measured(f"at {RATE:g}/s", RATE, seconds, True)]
    flat = measured("flat out", min(60.0 * 2048**2 / size**2, 400.0), options.short, False)
    for share in shares:
        rows.append(measured(f"{100 * share:.0f} %", max(1.0, round(share * flat["frames/s"], 1)), options.short, True))
    rows.append(measured(f"at {AIM:g}/s", AIM, seconds, True))
    return [rows[0], flat, *rows[1:]]


def measure(size: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """All rows of one size."""
    rows: list[dict[str, Any]] = []
    with folders() as (data, _):
        for precision in options.precisions:
            for way, seconds, shares in (("tcp", options.seconds, (0.5, 0.8, 0.95)), ("ipc", options.short, (0.95,))):
                rows += measured_over(way, size, precision, data, seconds, shares, options)
    if not options.alone:
        say(f"{size} x {size}: Pool of trackpy.locate")
        figures = pool_row(size, rows[0], options.short, RATE)
        missing = {
            "precision": "double",
            "all CPU ms": figures["trackers CPU ms"],
            "all but the sender /s": float("nan"),
        }
        rows.append(figures | missing)
    return rows


def limits(size: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """What a frame takes at least on this machine, now: CPU ms, by part."""
    rows = []
    scene = Scene(width=size, height=size, beads=beads_in(size), seed=1, loop=LOOP, sigma_px=3.8,
                  signal=1900)  # fmt: skip
    images = [image for image, _ in zip_frames(Simulator(scene), LOOP)]
    for precision in options.precisions:
        say(f"{size} x {size}, {precision}: detection alone")
        detector = detector_for(experiment_for(size, RATE, precision, Path(), "tcp", options.set))
        alone = Ours(images, detector, clock=time.thread_time)
        for _ in range(TURNS):
            alone()
        rows.append(
            {
                "frame": f"{size} x {size}", "what": f"detection alone, {precision}",
                "CPU ms": float(np.median(np.sum(list(alone.steps.values()), axis=0))),
                "parts": ", ".join(f"{name} {np.median(times):.1f}" for name, times in alone.steps.items()),
            }
        )  # fmt: skip
    for way in ("tcp", "ipc"):
        say(f"{size} x {size}: bare sockets over {way}")
        bare = transport.one(way, size, BARE_S)
        rows.append(
            {
                "frame": f"{size} x {size}", "what": f"bare sockets, {way}", "CPU ms": bare["both CPU ms"],
                "parts": f"sender {bare['sender CPU ms']:.1f}, receiver {bare['receiver CPU ms']:.1f}; "
                f"checksum {bare['checksum ms']:.1f} more",
            }
        )  # fmt: skip
    return rows


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of the run at 50 frames/s")
    parser.add_argument("--short", type=float, default=8.0, help="seconds of each other run")
    parser.add_argument("--sizes", type=int, nargs="+", default=[2048], help="pixels of a side")
    parser.add_argument("--precisions", nargs="+", default=["double", "single"], choices=["double", "single"])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one more setting of all runs")
    parser.add_argument("--alone", action="store_true", help="without the Pool beside it")
    options = parser.parse_args()
    machine_was = machine()
    rows = [line for size in options.sizes for line in measure(size, options)]
    kept_up = [r for r in rows if not r["way"].endswith("flat out") and not r["lost"]]
    best = {
        f"{p}, {way}": max(
            (r["frames/s"] for r in kept_up if r["precision"] == p and r["way"].startswith(way)), default=0.0
        )
        for p in options.precisions
        for way in ("tcp", "ipc")
    }
    least = [line for size in options.sizes for line in limits(size, options)]
    report(
        "The engine end to end, on one machine",
        rows,
        machine_was,
        notes=[
            "highest rate without loss: " + "; ".join(f"{p}: {rate:.1f} frames/s" for p, rate in best.items()),
            f"Settings: {', '.join(f'{name} {value:g}' for name, value in SETTINGS_HERE.items())}; the Pool with "
            f"{', '.join(f'{name} {value:g}' for name, value in SETTINGS.items())}.",
            *(f"All runs but the Pool: {setting}" for setting in options.set),
        ],
        facts={"sustained": best},
        tables={"What a frame takes at least": least},
        as_json=options.json,
    )


if __name__ == "__main__":
    main()
