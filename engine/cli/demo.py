"""`ringtrack demo`: a simulated camera, tracked live, compared with where its beads really were."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import click

from engine.cli import output

if TYPE_CHECKING:
    from engine.cli.truth import Comparison
    from engine.experiment import Experiment
    from engine.supervisor.summary import RunSummary

LATE_FRAMES = 10  # latency of more frames than this is worth a word


@click.command()
@click.option("--seconds", type=click.FloatRange(min=1), default=10.0, show_default=True, help="How long it runs.")
@click.option("--fps", type=click.FloatRange(min=1), default=50.0, show_default=True, help="Frames a second.")
@click.option("--size", type=click.IntRange(64, 4096), default=512, show_default=True, help="Pixels of a side.")
@click.option("--beads", type=click.IntRange(1, 4000), default=40, show_default=True, help="In each frame.")
@click.option("--closed-loop", is_flag=True, help="Beads are caught by light and assembled into a pattern.")
@click.option("--data", default="demo", show_default=True, help="Folder for the run.")
@output.settings_options
@output.json_option
def command(
    seconds: float, fps: float, size: int, beads: int, closed_loop: bool, data: str, overrides: tuple[str, ...],
    as_json: bool,
) -> int:  # fmt: skip
    """Track a simulated camera, live, and compare with the truth.

    Beads of 1 µm diffuse in water; each pixel has Poisson noise. A sender of its own gives the frames to the receiver
    over TCP, as a camera program would. It ends with a table and a plot of the trajectories.
    """
    if closed_loop:
        from engine.cli.closed_loop import demonstrate

        return demonstrate(
            seconds=seconds, fps=fps, size=size, beads=beads, data=data, overrides=overrides, as_json=as_json
        )
    from bridge.simulator import Scene, Simulator
    from engine.cli.truth import compare
    from engine.experiment import Experiment
    from engine.supervisor import run

    apart = 0.6 * size / math.sqrt(beads)  # at the start; two beads that touch are one spot to any camera
    scene: dict[str, Any] = {"width": size, "height": size, "beads": beads, "fps": fps, "seed": 1, "distance_px": apart}
    source = "simulated?" + urlencode(scene | {"frames": round(seconds * fps)})
    experiment = Experiment.load(None, [*_settings(size, fps, data), *overrides])
    output.talk(
        f"a simulated camera: {beads} beads of 1 µm in water, {size} x {size} pixels, {fps:g} frames/s, {seconds:g} s"
    )
    load = _load()
    summary = run(experiment, source=source, say=output.talk)
    if not summary.frames_recorded:
        output.talk(f"ringtrack: nothing was recorded. {summary.reason}")
        return summary.status or 1
    output.talk("comparing with the truth and drawing …")
    folder = Path(summary.run_folder)
    simulator = Simulator(Scene(**scene))
    found = compare(folder, simulator)
    from engine.cli.picture import draw  # matplotlib, which takes a second

    picture = draw(folder, simulator, found, summary)
    if as_json:
        output.result_json(_plain(summary, found, picture))
    else:
        output.result("\n" + _table(experiment, summary, found, picture))
    if remark := _busy(summary, fps, load):
        output.talk(f"ringtrack: {remark}")
    if summary.reason:
        output.talk(f"ringtrack: {summary.reason}")
    return summary.status


def _settings(size: int, fps: float, data: str) -> list[str]:
    """What suits the simulated beads: spots of 2.5 pixels sigma, 600 counts above a background of 100.

    Their mass is near 20 000, that of a maximum of the noise near 500: minmass stands between. Beads cover a
    few hundredths of the picture, so maxima below the 90th percentile are noise and need not be looked at.
    """
    return [
        "experiment.name=demo",
        f"experiment.data={data}",
        "camera.listen=tcp://127.0.0.1:50072",
        "control.listen=tcp://127.0.0.1:50073",
        f"camera.width={size}",
        f"camera.height={size}",
        f"camera.fps={fps}",
        "camera.pixel_um=0.1",
        "tracking.diameter=13",
        "tracking.separation=14",
        "tracking.minmass=4000",
        "tracking.percentile=90",
        "tracking.max_ecc=0",
        "linking.search_range=8",
        "linking.memory=3",
        "notes.sample=simulated beads of 1 µm in water",
    ]


def _table(experiment: Experiment, summary: RunSummary, found: Comparison, picture: Path) -> str:
    latency, missed = summary.latency_ms, found.true - found.matched - found.close
    camera, tracking, share = experiment.camera, experiment.tracking, 100 * found.matched / found.true
    rows = [
        ("frames", f"{summary.frames_recorded} recorded of {summary.frames_received} received"),
        ("lost frames", str(summary.frames_lost)),
        ("beads", f"{found.matched} found of {found.true} true ({share:.2f} %)"),
        ("", f"{found.close} closer to another than {tracking.separation} px, which is one spot; {missed} missed"),
        ("", f"{found.extra} found where there is none"),
        ("RMS error", f"{found.rms_px:.4f} px of a coordinate, {found.rms_px * camera.pixel_um * 1000:.1f} nm"),
        ("", f"{found.rms_all_px:.4f} px with those that are close to another"),
        ("tracks", f"{found.tracks} for {found.beads} beads; {found.swaps} times a track went on with another bead"),
        ("speed", f"{summary.fps:.1f} frames/s (the camera gives {camera.fps:g})"),
        ("latency", f"p50 {latency['p50']:.1f} ms, p99 {latency['p99']:.1f} ms, from received to published"),
        (
            "settings",
            f"diameter {tracking.diameter}, separation {tracking.separation}, minmass {tracking.minmass:g}, "
            f"percentile {tracking.percentile:g}, search_range {experiment.linking.search_range:g}",
        ),
        ("files", summary.run_folder),
        ("plot", str(picture)),
    ]
    return output.table(rows)


def _load() -> float:
    """Processes that want a core, those of others included (mean of the last minute)."""
    return os.getloadavg()[0]


def _busy(summary: RunSummary, fps: float, load: float) -> str:
    """Why a run was late, as far as it can be seen from here; "" if it was not."""
    p99, cores = summary.latency_ms["p99"], len(os.sched_getaffinity(0))
    if not summary.frames_lost and p99 < LATE_FRAMES * 1000 / fps:
        return ""
    why = f"{cores} cores had {load:.1f} processes of others to run" if load > cores / 2 else f"{cores} cores are few"
    return (
        f"this machine was late (p99 {p99:.0f} ms, {summary.frames_lost} frames lost): {why}. "
        f"Try: ringtrack demo --fps {max(1, round(fps / 2))}"
    )


def _plain(summary: RunSummary, found: Comparison, picture: Path) -> dict[str, Any]:
    import msgspec

    sums = {name: value for name, value in vars(found).items() if name != "errors_px"}
    return {"summary": msgspec.to_builtins(summary), "truth": sums | {"picture": str(picture)}}
