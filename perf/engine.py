"""The engine end to end over TCP: CPU a frame of every process, the highest rate without loss, latency below it.

    python -m perf.engine                      both precisions, some minutes
    python -m perf.engine --seconds 60         as long as a claim of "none lost in 60 s" needs
    python -m perf.engine --sizes 512 --seconds 3 --json

Sender, receiver, trackers, linker and the recording of tracks (HDF5) share this machine. The sender shows frames that
were rendered beforehand: its share is that of sending. Rows of a size, for each precision:

- *at 50/s*: a live camera at 50 frames/s: CPU ms a frame of each process and of all together, latency from received to
  published, what was lost.
- *flat out*: the source is held back: what the pipe takes in the long run. *all but the sender* is what it would take
  if the sender ran elsewhere and the cores were busy all the time: cores / CPU seconds a frame.
- *50 %*, *80 %*, *95 %* of that, live: latency and losses. The highest of them that lost nothing is the *sustained*
  rate.
- *Pool*: a multiprocessing.Pool of `trackpy.locate` tiles fed by a queue, once a size.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from engine.experiment import Experiment
from engine.supervisor import RunSummary, start
from perf.common import arguments, machine, report, say
from perf.main_job import BEADS, SETTINGS, WARM_FRAMES, Onlooker, Watched, folders, pool_row

SETTINGS_HERE = {"diameter": 21, "separation": 18, "minmass": 5000.0, "percentile": 14.0, "max_ecc": 0}
RATE = 50.0  # frames/s at which CPU time is compared


def experiment_for(size: int, fps: float, precision: str, data: Path) -> Experiment:
    """Settings of all runs."""
    settings: dict[str, Any] = {
        "experiment.name": "bench", "experiment.data": data, "experiment.max_lost": 10**9,
        "camera.listen": "tcp://127.0.0.1:50182", "control.listen": "tcp://127.0.0.1:50183", "camera.width": size,
        "camera.height": size, "camera.fps": fps, "linking.search_range": 8, "tracking.precision": precision,
    } | {f"tracking.{name}": value for name, value in SETTINGS_HERE.items()}  # fmt: skip
    return Experiment.load(None, [f"{key}={value}" for key, value in settings.items()])


def one_run(
    size: int, fps: float, seconds: float, live: bool, precision: str, data: Path
) -> tuple[RunSummary, Watched]:
    """A run with the simulated camera: spots of 3.8 pixels and up to 3000 counts."""
    frames = max(3 * WARM_FRAMES, round(fps * seconds))
    options = {"width": size, "height": size, "beads": BEADS.get(size, size * size // 4000), "fps": fps, "seed": 1,
               "loop": 32, "frames": frames, "live": int(live), "sigma_px": 3.8, "signal": 1900}  # fmt: skip
    run = start(experiment_for(size, fps, precision, data), source="simulated?" + urlencode(options))
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


def measure(size: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """All rows of one size."""
    rows: list[dict[str, Any]] = []
    with folders() as (data, _):
        for precision in options.precisions:
            say(f"{size} x {size}, {precision}: at {RATE:g} frames/s")
            rows.append(
                row(size, f"at {RATE:g}/s", precision, *one_run(size, RATE, options.seconds, True, precision, data))
            )
            say(f"{size} x {size}, {precision}: flat out")
            guess = min(60.0 * 2048**2 / size**2, 400.0)
            flat = row(size, "flat out", precision, *one_run(size, guess, options.short, False, precision, data))
            rows.append(flat)
            for share in (0.5, 0.8, 0.95):
                fps = max(1.0, round(share * flat["frames/s"], 1))
                say(f"{size} x {size}, {precision}: at {fps:g} frames/s")
                rows.append(
                    row(
                        size, f"{100 * share:.0f} %", precision,
                        *one_run(size, fps, options.short, True, precision, data),
                    )
                )  # fmt: skip
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


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of the run at 50 frames/s")
    parser.add_argument("--short", type=float, default=8.0, help="seconds of each other run")
    parser.add_argument("--sizes", type=int, nargs="+", default=[2048], help="pixels of a side")
    parser.add_argument("--precisions", nargs="+", default=["double", "single"], choices=["double", "single"])
    parser.add_argument("--alone", action="store_true", help="without the Pool beside it")
    options = parser.parse_args()
    machine_was = machine()
    rows = [line for size in options.sizes for line in measure(size, options)]
    kept_up = [r for r in rows if r["way"].endswith("%") and not r["lost"]]
    best = {p: max((r["frames/s"] for r in kept_up if r["precision"] == p), default=0.0) for p in options.precisions}
    report(
        "The engine end to end, over TCP on one machine",
        rows,
        machine_was,
        notes=[
            "highest rate without loss: " + ", ".join(f"{p} {rate:.1f} frames/s" for p, rate in best.items()),
            f"Settings: {', '.join(f'{name} {value:g}' for name, value in SETTINGS_HERE.items())}; the Pool with "
            f"{', '.join(f'{name} {value:g}' for name, value in SETTINGS.items())}.",
        ],
        facts={"sustained": best},
        as_json=options.json,
    )


if __name__ == "__main__":
    main()
