"""Recording at the highest rate that this machine sustains: some minutes with images on, then every frame verified.

    python -m perf.sustained                      two minutes of 2048 x 2048 with 1000 beads, some GB on the disk
    python -m perf.sustained --minutes 0.1 --size 1024

Three runs with the simulated camera, tracked and recorded: *tables alone* and *with images*, flat out (the camera is
held back, so their rates are what the pipe takes), and *live*, a camera that waits for nobody, at --load of the
second's rate, or less if a trial loses a frame. Its frames lie in parts of --part-gb. Then all are read back:
each chunk is decoded, and compared with the checksum that the sender gave; `/frames` has every number once.

*dearer* is the machine's time that a frame takes more with images than without (its cores over the rates); *codec* the
CPU time of shuffle and Zstandard alone, on frames of this camera; *recorder* that of the whole process of images. The
files are removed in the end.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import numpy as np

from bridge.simulator import Scene, Simulator
from engine.errors import MachineError
from engine.supervisor import RunSummary, start
from perf.common import arguments, machine, report, say
from perf.main_job import Onlooker, Watched, experiment_for
from recorders.image_check import check_images
from recorders.packed import chunk
from recorders.parts import part_paths
from recorders.playback import Recording
from recorders.run import Run
from recorders.runfolder import RunFolder

SHORT_S = 30.0
"""Of the runs that find the rate: ten rings, or the ring would hide what a recorder is too slow for."""
TRIALS, SLOWER = 5, 0.9
CODEC_TURNS = 24


def scene_of(size: int, fps: float) -> dict[str, Any]:
    return {"width": size, "height": size, "beads": size * size // 4000, "fps": fps, "seed": 1, "loop": 32}


def run(
    size: int, fps: float, seconds: float, data: Path, *, images: bool, live: bool, part_gb: float
) -> tuple[RunSummary, Watched]:
    """One run; its files stay in `data`."""
    experiment = experiment_for(size, fps, data)
    record = msgspec.structs.replace(experiment.record, images=images, part_gb=part_gb)
    experiment = msgspec.structs.replace(experiment, record=record)
    options = scene_of(size, fps) | {"frames": max(30, round(fps * seconds)), "live": int(live)}
    started = start(experiment, source="simulated?" + urlencode(options))
    onlooker = Onlooker(started)
    onlooker.start()
    return started.wait(), onlooker.finish()


def codec_ms(size: int) -> float:
    """CPU milliseconds of shuffle and Zstandard for a frame of this camera."""
    frames = [image for image, _ in zip(_images(size), range(4))]
    chunk(frames[0], 1)
    began = time.thread_time()
    for turn in range(CODEC_TURNS):
        chunk(frames[turn % len(frames)], 1)
    return (time.thread_time() - began) * 1e3 / CODEC_TURNS


def _images(size: int) -> Any:
    return (image for image, _ in Simulator(Scene(**scene_of(size, 100.0) | {"loop": 4})).frames())


def verified(folder: Path, frames: int) -> dict[str, Any]:
    """Every frame read back. Seconds to find a frame in the middle, as a replay does, are in it."""
    run, paths = RunFolder(folder), part_paths(RunFolder(folder).images)
    began = time.perf_counter()
    found = check_images(run.images)
    seconds = time.perf_counter() - began
    table = Run.open(folder).frames_array
    began = time.perf_counter()
    recording = Recording(folder)
    recording.read(len(recording.numbers) // 2)
    seek_s = time.perf_counter() - began
    size = sum(path.stat().st_size for path in paths.values())
    whole = found.faults == [] and found.frames == found.compared == frames == len(table)
    whole = whole and np.array_equal(table["frame"], np.arange(frames))
    return {
        "parts": len(paths), "bytes": size, "compared": found.compared, "faults": found.faults, "verify_s": seconds,
        "seek_s": seek_s, "whole": bool(whole),
    }  # fmt: skip


class NoRateError(MachineError):
    """No rate was found at which a camera that waits for nobody loses no frame."""


def sustained_rate(fps: float, lost_at: Callable[[float], int]) -> float:
    """The first rate, from `fps` downwards, at which a trial loses no frame (`lost_at`: frames lost at a rate).

    Raises NoRateError after `TRIALS` of them: a rate that was not tried is not measured at.
    """
    tried = []
    for turn in range(TRIALS):
        rate = round(fps * SLOWER**turn, 1)
        say(f"live at {rate:g} frames/s, a trial")
        lost = lost_at(rate)
        if not lost:
            return rate
        tried.append(f"{lost} at {rate:g}")
    raise NoRateError(
        f"No rate was found that this machine sustains: each of {TRIALS} trials lost frames ({', '.join(tried)} "
        "frames/s). Is it busy with something else? --rate measures at a rate of your choice, a smaller --load begins "
        "lower."
    )


def row(what: str, summary: RunSummary, watched: Watched) -> dict[str, Any]:
    took = watched.cpu_ms
    return {
        "what": what, "frames": summary.frames_recorded, "lost": summary.frames_lost, "frames/s": summary.fps,
        "p99 ms": summary.latency_ms["p99"],
        **{
            f"{label} CPU ms": took.get(kind, float("nan"))
            for label, kind in (("trackers", "tracker"), ("images", "images"), ("all", "all"))
        },
    }  # fmt: skip


def main() -> int:
    """Measure and report; 1 if a frame was lost or is not what was sent, 3 if no rate is sustained."""
    parser = arguments(__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="of the live run")
    parser.add_argument("--size", type=int, default=2048, help="pixels of a side")
    parser.add_argument("--load", type=float, default=0.9, help="of the rate flat out with images")
    parser.add_argument("--rate", type=float, default=0.0, help="frames/s of the live run; 0: it is looked for")
    parser.add_argument("--part-gb", type=float, default=1.0)
    parser.add_argument("--short", type=float, default=SHORT_S, help="seconds of the runs that find the rate")
    parser.add_argument("--folder", type=Path, default=None, help="where is written; default: the temporary folder")
    options = parser.parse_args()
    machine_was, size = machine(), options.size
    data = Path(tempfile.mkdtemp(prefix="sustained-", dir=options.folder))
    guess = min(400.0, 40.0 * 2048**2 / size**2)
    try:
        runs: list[tuple[RunSummary, Watched]] = []
        fps = options.rate
        for what, images in () if fps else (("tables alone", False), ("with images", True)):
            say(f"{what}, flat out")
            runs.append(run(size, guess, options.short, data, images=images, live=False, part_gb=options.part_gb))
            shutil.rmtree(runs[-1][0].run_folder, ignore_errors=True)
            fps = options.load * runs[-1][0].fps

        def lost_at(rate: float) -> int:
            trial = run(size, rate, options.short, data, images=True, live=True, part_gb=options.part_gb)[0]
            shutil.rmtree(trial.run_folder, ignore_errors=True)
            return trial.frames_lost

        if runs:
            fps = sustained_rate(fps, lost_at)
        say(f"live at {fps:g} frames/s")
        live = run(size, fps, 60 * options.minutes, data, images=True, live=True, part_gb=options.part_gb)
        say("verifying …")
        found = verified(Path(live[0].run_folder), round(fps * 60 * options.minutes))
    except NoRateError as error:
        say(str(error))
        return error.exit_status
    finally:
        shutil.rmtree(data, ignore_errors=True)
    codec = codec_ms(size)
    cores = len(os.sched_getaffinity(0))
    for _, watched in [*runs, live]:
        watched.cpu_ms["all"] = sum(watched.cpu_ms.values())
    names = ["tables alone", "with images"][: len(runs)] + [f"live {fps:g}/s"]
    rows = [row(what, *one) for what, one in zip(names, [*runs, live])]
    dearer = 1e3 * cores * (1 / runs[1][0].fps - 1 / runs[0][0].fps) if runs else float("nan")
    frame_bytes = size * size * 2
    facts = found | {
        "codec_ms": codec, "recorder_ms": live[1].cpu_ms.get("images", float("nan")), "dearer_ms": dearer,
        "ratio": frame_bytes * found["compared"] / found["bytes"], "raw_mb_s": fps * frame_bytes / 1e6,
        "disk_mb_s": fps * found["bytes"] / max(1, found["compared"]) / 1e6,
    }  # fmt: skip
    good = found["whole"] and not live[0].frames_lost
    notes = [
        f"Live: {facts['raw_mb_s']:.0f} MB/s of pixels, {facts['disk_mb_s']:.0f} MB/s to the disk, ratio "
        f"{facts['ratio']:.2f}, {found['parts']} parts; {found['compared']} frames compared with the sender's "
        f"checksums in {found['verify_s']:.0f} s: {'all are there and equal' if good else 'NOT WHOLE'}.",
        f"CPU of a frame: codec alone {codec:.1f} ms, recorder of images {facts['recorder_ms']:.1f} ms"
        + (f"; with images a frame takes {dearer:.1f} ms more of the machine's {cores} cores." if runs else "."),
        f"A frame in the middle is found in {found['seek_s']:.2f} s.",
        *found["faults"],
    ]
    title = f"Recording of {size} x {size} frames at the highest rate, {options.minutes:g} minutes"
    report(title, rows, machine_was, notes=notes, facts=facts, as_json=options.json)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
