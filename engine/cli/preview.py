"""`ringtrack preview`: one frame with what the settings find in it, and better settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli import output

if TYPE_CHECKING:
    from engine.advice import Advice
    from engine.experiment import Experiment

SHOWN_AT_MOST = 1200  # pixels of a frame's longer side in the picture


@click.command()
@click.argument("source")
@click.option("--settings", "path", type=click.Path(path_type=Path), help="A settings file; else our defaults.")
@output.settings_options
@click.option("--frames", type=click.IntRange(min=1), default=5, show_default=True, help="Frames for the steps.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default="preview.png", show_default=True)
@output.json_option
def command(source: str, path: Path | None, overrides: tuple[str, ...], frames: int, out: Path, as_json: bool) -> None:
    """Draw the features of a SOURCE's first frame, their masses, sizes and decimals, and propose settings.

    SOURCE is a TIFF stack, a folder of TIFF files, an array of numpy, or `simulated`. Width, height and type are the
    source's own, whatever the settings say.
    """
    from engine.advice import advise
    from engine.cli.frames import frames_of
    from engine.experiment import Experiment

    images = list(frames_of(source, frames))
    height, width = images[0].shape
    of_source = (f"camera.width={width}", f"camera.height={height}", f"camera.dtype={images[0].dtype}")
    bits = () if images[0].dtype == "uint16" else ("camera.bits=8",)
    experiment = Experiment.load(path, [*overrides, *of_source, *bits])
    found = advise(experiment, images)
    draw(found, experiment, out)
    if as_json:
        output.result_json(_facts(found, out))
    else:
        kept = int(found.kept.sum())
        output.talk(f"{kept} features pass the settings, {int(found.real.sum())} seem real; {out}")
        output.result("\n".join(found.lines()))
    for warning in found.warnings:
        output.talk(f"warning: {warning}")


def _facts(found: Advice, out: Path) -> dict[str, Any]:
    return {
        "picture": str(out),
        "features": len(found.features),
        "kept": int(found.kept.sum()),
        "real": int(found.real.sum()),
        "minmass": found.cut,
        "diameter": found.diameter,
        "percentile": found.percentile,
        "search_range": found.search_range,
        "neighbour_px": found.neighbour_px,
        "subpixel_bias": found.subpixel_bias,
        "warnings": list(found.warnings),
    }


def draw(found: Advice, experiment: Experiment, out: Path) -> None:
    """Write the picture."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    from engine.errors import MachineError

    features, kept = found.features, found.kept
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = plt.figure(figsize=(13, 8), dpi=100, layout="constrained")
        grid = figure.add_gridspec(3, 2, width_ratios=(2.2, 1))
        axes = figure.add_subplot(grid[:, 0])
        step = -(-max(found.frame.shape) // SHOWN_AT_MOST)
        low, high = np.percentile(found.frame[::step, ::step], (1, 99.8))
        height, width = found.frame.shape
        axes.imshow(
            found.frame[::step, ::step], cmap="gray", vmin=low, vmax=max(high, low + 1),
            extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        )  # fmt: skip
        side = (figure.get_size_inches()[0] * 100 * 0.6 / width * experiment.tracking.diameter) ** 2 / 2
        axes.scatter(
            features["x"][kept], features["y"][kept], s=side, facecolors="none", edgecolors="tab:orange", lw=0.8,
            label=f"{int(kept.sum())} that pass the settings",
        )  # fmt: skip
        missed = found.real & ~kept
        axes.scatter(
            features["x"][missed], features["y"][missed], s=side, facecolors="none", edgecolors="tab:cyan", lw=0.8,
            label=f"{int(missed.sum())} that seem real and do not",
        )  # fmt: skip
        axes.legend(loc="upper right", fontsize=8)
        axes.set(xlabel="x (pixels)", ylabel="y (pixels)")
        masses = figure.add_subplot(grid[0, 1])
        positive = features["mass"][features["mass"] > 0]
        if len(positive):
            masses.hist(
                positive, bins=np.geomspace(positive.min(), positive.max() * 1.001, 60).tolist(), color="tab:gray"
            )
        masses.axvline(max(experiment.tracking.minmass, 1e-3), color="tab:orange", label="minmass")
        if found.cut is not None:
            masses.axvline(found.cut, color="tab:green", ls="--", label=f"proposed: {found.cut:g}")
        masses.set(xscale="log", yscale="log", xlabel="mass (counts)", ylabel="features")
        masses.legend(fontsize=8)
        sizes = figure.add_subplot(grid[1, 1])
        sizes.hist(features["size"][~found.real], bins=50, color="tab:gray", alpha=0.7, label="others")
        sizes.hist(features["size"][found.real], bins=50, color="tab:orange", alpha=0.7, label="seem real")
        sizes.set(xlabel="size (radius of gyration, pixels)", ylabel="features")
        sizes.legend(fontsize=8)
        decimals = figure.add_subplot(grid[2, 1])
        for axis, colour in zip("xy", ("tab:blue", "tab:red")):
            decimals.hist(features[axis][found.real] % 1, bins=20, range=(0, 1), histtype="step", color=colour)
        decimals.set(xlabel="decimals of x (blue) and y (red): even, if the diameter fits", ylabel="features")
        try:
            figure.savefig(out, format="png")
        except OSError as error:
            raise MachineError(f"{out}: cannot be written: {error.strerror}") from None
        finally:
            plt.close(figure)
