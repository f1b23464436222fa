"""`ringtrack demo`: a simulated camera, tracked live, compared with where its beads really were."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import click

from engine.cli import output

if TYPE_CHECKING:
    from engine.cli.truth import Comparison
    from engine.experiment import Experiment
    from engine.supervisor.summary import RunSummary


@click.command()
@click.option("--seconds", type=click.FloatRange(min=1), default=10.0, show_default=True, help="How long it runs.")
@click.option("--fps", type=click.FloatRange(min=1), default=100.0, show_default=True, help="Frames a second.")
@click.option("--size", type=click.IntRange(64, 4096), default=512, show_default=True, help="Pixels of a side.")
@click.option("--beads", type=click.IntRange(1, 4000), default=100, show_default=True, help="In each frame.")
@click.option("--data", default="demo", show_default=True, help="Folder for the run.")
@output.settings_options
@output.json_option
def command(
    seconds: float, fps: float, size: int, beads: int, data: str, overrides: tuple[str, ...], as_json: bool
) -> int:
    """Track a simulated camera, live, and compare with the truth.

    Beads of 1 µm diffuse in water; each pixel has Poisson noise. A sender of its own gives the frames to the receiver
    over TCP, as a camera program would. It ends with a table and a plot of the trajectories.
    """
    from bridge.simulator import Scene, Simulator
    from engine.cli.truth import compare, draw
    from engine.experiment import Experiment
    from engine.supervisor import run

    scene: dict[str, Any] = {"width": size, "height": size, "beads": beads, "fps": fps, "seed": 1}
    source = "simulated?" + urlencode(scene | {"frames": round(seconds * fps)})
    experiment = Experiment.load(None, [*_settings(size, fps, data), *overrides])
    summary = run(experiment, source=source, say=output.talk)
    if not summary.frames_recorded:
        output.talk(f"ringtrack: nothing was recorded. {summary.reason}")
        return summary.status or 1
    output.talk("comparing with the truth …")
    folder = Path(summary.run_folder)
    found = compare(folder, Simulator(Scene(**scene)))
    picture = draw(folder, found)
    if as_json:
        output.result_json(_plain(summary, found, picture))
    else:
        output.result(_table(experiment, summary, found, picture))
    if summary.reason:
        output.talk(f"ringtrack: {summary.reason}")
    return summary.status


def _settings(size: int, fps: float, data: str) -> list[str]:
    """What suits the simulated beads: spots of 2.5 pixels sigma, 600 counts above a background of 100."""
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
        "tracking.percentile=64",
        "tracking.max_ecc=0",
        "linking.search_range=8",
        "linking.memory=3",
        "notes.sample=simulated beads of 1 µm in water",
    ]


def _table(experiment: Experiment, summary: RunSummary, found: Comparison, picture: Path) -> str:
    latency, missed = summary.latency_ms, found.true - found.matched - found.close
    rows = [
        ("frames", f"{summary.frames_recorded} recorded of {summary.frames_received} received"),
        ("lost frames", str(summary.frames_lost)),
        ("beads", f"{found.matched} found of {found.true} true ({100 * found.matched / found.true:.2f} %)"),
        ("", f"{found.close} too close to another to be two features, {missed} missed"),
        ("", f"{found.extra} found where there is none"),
        ("error", f"{found.rms_px:.4f} px RMS in x and y, {found.rms_px * experiment.camera.pixel_um * 1000:.1f} nm"),
        ("", f"{found.rms_all_px:.4f} px with those that touch another ({experiment.tracking.separation} px)"),
        ("tracks", f"{found.tracks} for {found.beads} beads, {found.swaps} times a track changed its bead"),
        ("speed", f"{summary.fps:.1f} frames/s (the camera gives {experiment.camera.fps:g})"),
        ("latency", f"p50 {latency['p50']:.1f} ms, p99 {latency['p99']:.1f} ms, from received to published"),
        ("files", summary.run_folder),
        ("plot", str(picture)),
    ]
    return output.table(rows)


def _plain(summary: RunSummary, found: Comparison, picture: Path) -> dict[str, Any]:
    import msgspec

    return {"summary": msgspec.to_builtins(summary), "truth": vars(found) | {"picture": str(picture)}}
