"""The demonstration's picture: trajectories over a camera frame, and how far what was found is from the truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from bridge.simulator import Simulator
    from engine.cli.truth import Comparison
    from engine.supervisor.summary import RunSummary

LONGEST_DRAWN = 400  # trajectories
SHORTEST_DRAWN_S = 0.2
LAGS = 24  # points of the mean squared displacement


def draw(folder: Path, simulator: Simulator, found: Comparison, summary: RunSummary) -> Path:
    """Write `trajectories.png` into the folder of a run with the simulated camera."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    from recorders.run import Run

    run = Run.open(folder)
    scene = simulator.scene
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = plt.figure(figsize=(11, 6.9), dpi=100, layout="constrained")
        grid = figure.add_gridspec(2, 2, width_ratios=(1.9, 1))
        _trajectories(figure, figure.add_subplot(grid[:, 0]), run.tracks, simulator)
        _displacement(figure.add_subplot(grid[0, 1]), run.tracks, simulator)
        _errors(figure.add_subplot(grid[1, 1]), found, scene.pixel_um)
        figure.suptitle(
            f"{found.beads} simulated beads of {2 * scene.radius_um:g} µm in water, {summary.frames_recorded} frames "
            f"of {scene.width} x {scene.height} at {scene.fps:g} frames/s: {summary.frames_lost} lost, "
            f"{100 * found.matched / found.true:.1f} % of the beads found",
            fontsize=11,
        )
        path = folder / "trajectories.png"
        figure.savefig(path)
        plt.close(figure)
    return path


def _trajectories(figure: Any, axes: Any, tracks: pd.DataFrame, simulator: Simulator) -> None:
    """Every track from its first frame (dark) to its last one (bright), over the last camera frame."""
    from matplotlib.collections import LineCollection

    scene = simulator.scene
    last = int(tracks["frame"].max())
    image, _ = next(simulator.frames(last))
    side, down = scene.width * scene.pixel_um, scene.height * scene.pixel_um
    half = scene.pixel_um / 2
    dark = scene.background + 4 * np.sqrt(scene.background)  # noise is white
    extent = (-half, side - half, down - half, -half)
    axes.imshow(image, cmap="gray_r", vmin=dark, vmax=2 * image.max(), extent=extent)
    lengths = tracks["particle"].value_counts()
    drawn = lengths[lengths >= SHORTEST_DRAWN_S * scene.fps].index[:LONGEST_DRAWN]
    segments: list[Any] = []
    times: list[Any] = []
    for _, rows in tracks[tracks["particle"].isin(drawn)].groupby("particle"):
        xy = rows[["x", "y"]].to_numpy() * scene.pixel_um
        segments.append(np.stack([xy[:-1], xy[1:]], axis=1))
        times.append(rows["frame"].to_numpy()[1:] / scene.fps)
    lines = LineCollection(list(np.concatenate(segments)), cmap="plasma", linewidths=0.9, rasterized=True)
    lines.set_array(np.concatenate(times))
    lines.set_clim(0, max(last / scene.fps, 1 / scene.fps))
    axes.add_collection(lines)
    figure.colorbar(lines, ax=axes, label="time (s)", shrink=0.6, pad=0.015)
    axes.set(xlabel="x (µm)", ylabel="y (µm)", title="Trajectories, over the last camera frame")


def _displacement(axes: Any, tracks: pd.DataFrame, simulator: Simulator) -> None:
    """Mean squared displacement against what Stokes and Einstein expect of these beads."""
    scene = simulator.scene
    longest = max(2, (int(tracks["frame"].max()) + 1) // 4)
    lags = np.unique(np.geomspace(1, longest, LAGS).astype(int))
    keyed = tracks[["particle", "frame", "x", "y"]]
    means = []
    for lag in lags:
        pairs = keyed.merge(keyed.assign(frame=keyed["frame"] - lag), on=["particle", "frame"], suffixes=("", "_later"))
        squares = (pairs["x_later"] - pairs["x"]) ** 2 + (pairs["y_later"] - pairs["y"]) ** 2
        means.append(float(squares.mean()) * scene.pixel_um**2)
    seconds = lags / scene.fps
    axes.loglog(seconds, means, "o", markersize=3.5, color="tab:blue", label="tracked")
    expected = 4 * scene.diffusion_um2_s * seconds
    axes.loglog(seconds, expected, color="0.3", linewidth=1, label=f"4 D t, D = {scene.diffusion_um2_s:.3f} µm²/s")
    axes.set(xlabel="lag time (s)", ylabel="mean squared displacement (µm²)", title="Diffusion, beside Stokes-Einstein")
    axes.legend(frameon=False)


def _errors(axes: Any, found: Comparison, pixel_um: float) -> None:
    """Distribution of found minus true, of beads that stand alone."""
    errors = found.errors_px
    reach = max(4.5 * found.rms_px, 1e-3)
    axes.hist(errors, bins=np.linspace(-reach, reach, 61), color="tab:blue", density=True)
    axes.set(
        xlabel="found minus true, x and y (pixels)",
        yticks=[],
        title=f"Error: {found.rms_px:.3f} px RMS ({found.rms_px * pixel_um * 1000:.1f} nm)",
    )
    axes.spines["left"].set_visible(False)
