"""The pictures of a run's report, as PNG."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from engine.rows import STEP_TIMES

if TYPE_CHECKING:
    from engine.experiment import Experiment
    from recorders.run import Run

MOST_WAYS = 300
MOST_ROWS = 200_000
SIDE_PX = 900


def _figure(width: float, height: float, columns: int = 1) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns)
    for each in np.atleast_1d(axes):
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def trajectories(tracks: Any, settings: Experiment) -> bytes:
    """The ways of the particles that were seen longest."""
    camera = settings.camera
    unit, name = (camera.pixel_um, "µm") if camera.pixel_um else (1.0, "pixels")
    figure, axes = _figure(8.4, 8.4 * min(1.3, camera.height / camera.width))
    longest = tracks["particle"].value_counts().head(MOST_WAYS).index if len(tracks) else []
    chosen = tracks[tracks["particle"].isin(longest)].sort_values(["particle", "frame"])
    ways, colours = [], []
    for particle, rows in chosen.groupby("particle"):
        every = max(1, len(rows) // 2000)
        ways.append(rows[["x", "y"]].to_numpy()[::every] * unit)
        colours.append(int(particle) % 97)
    lines = LineCollection(ways, linewidths=0.8, cmap="turbo")
    lines.set_array(np.asarray(colours, float))
    axes.add_collection(lines)
    axes.set(xlim=(0, camera.width * unit), ylim=(camera.height * unit, 0), aspect="equal", xlabel=name, ylabel=name)
    return _png(figure)


def counts(table: Any, settings: Experiment) -> bytes:
    """Particles a frame and frames a second over the time of the run."""
    figure, (left, right) = _figure(10, 3.2, 2)
    tracked = table[table["state"] == "tracked"]
    seconds = tracked["frame"].to_numpy() / settings.camera.fps
    every = max(1, len(seconds) // 5000)
    left.plot(seconds[::every], tracked["rows"].to_numpy()[::every], lw=0.8, color="tab:blue")
    left.set(xlabel="camera time, s", ylabel="particles", ylim=(0, None))
    published = tracked["t_published_ns"].to_numpy() if "t_published_ns" in tracked else np.zeros(0)
    if len(published) > 1:
        since = (published - published[0]) / 1e9
        whole = max(1, int(since[-1]))
        rate, edges = np.histogram(since[since < whole], bins=whole, range=(0, whole))
        right.stairs(rate, edges, color="tab:green", fill=True, alpha=0.6)
    right.set(xlabel="s since the first frame", ylabel="frames/s published", ylim=(0, None))
    return _png(figure)


def latency(table: Any, told: dict[str, Any]) -> bytes:
    """Histogram from received to published; medians of the steps."""
    figure, (left, right) = _figure(10, 3.2, 2)
    tracked = table[table["state"] == "tracked"]
    took = {
        name: (tracked[end] - tracked[start]).to_numpy() / 1e6
        for name, (start, end) in STEP_TIMES.items()
        if start in tracked and end in tracked and len(tracked)
    }
    total = took.get("total", np.zeros(0))
    total = total[total > 0]
    if len(total):
        edges = np.geomspace(max(1e-3, total.min() / 1.1), total.max() * 1.1, 60)
        left.hist(total, edges, color="tab:blue")
        left.set_xscale("log")
        for share in (50, 99):
            at = float(np.percentile(total, share))
            left.axvline(at, color="black", lw=0.8)
            left.text(at, 1.01, f"{share} %: {at:.3g}", fontsize=8, transform=left.get_xaxis_transform())
    left.set(xlabel="ms from received to published", ylabel="frames")
    names = list(took)
    right.barh(names, [float(np.median(took[n])) for n in names], color="tab:orange", height=0.5)
    for i, n in enumerate(names):
        right.text(float(np.median(took[n])), i, f"  {np.median(took[n]):.3g}", va="center", fontsize=8)
    right.invert_yaxis()
    right.set_xlabel("ms, median")
    return _png(figure)


def features(tracks: Any) -> bytes:
    """Histograms of what was measured of each feature."""
    figure, axes = _figure(10, 2.6, 4)
    every = max(1, len(tracks) // MOST_ROWS)
    for each, name in zip(axes, ("mass", "size", "ecc", "signal")):
        values = tracks[name].to_numpy()[::every]
        values = values[np.isfinite(values)]
        if len(values):
            each.hist(values, 60, range=tuple(np.percentile(values, (0.1, 99.9)) + (-1e-9, 1e-9)), color="tab:blue")
        each.set(xlabel=name, yticks=[])
    return _png(figure)


def samples(record: Run, most: int) -> list[tuple[bytes, str]]:
    """Frames from the beginning to the end with their particles; none where no images were kept."""
    from recorders.parts import RunError

    try:
        pictures = record.frames
        numbers = pictures.numbers
    except RunError:
        return []
    chosen = numbers[np.unique(np.linspace(0, len(numbers) - 1, most).astype(int))] if most and len(numbers) else []
    tracks, found = record.tracks, []
    for number in chosen:
        image = pictures[int(number)]
        rows = tracks[tracks["frame"] == number]
        step = max(1, -(-max(image.shape) // SIDE_PX))
        figure, axes = _figure(6.4, 6.4 * image.shape[0] / image.shape[1])
        low, high = np.percentile(image, (0.5, 99.8))
        height, width = image.shape
        axes.imshow(image[::step, ::step], cmap="gray", vmin=low, vmax=max(high, low + 1),
                    extent=(-0.5, width - 0.5, height - 0.5, -0.5))  # fmt: skip
        axes.plot(rows["x"], rows["y"], "o", mfc="none", mec="tab:cyan", ms=9)
        axes.set_axis_off()
        found.append((_png(figure), f"Frame {number}: {len(rows)} particles"))
    return found
