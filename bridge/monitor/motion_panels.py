"""How the particles move: their ways over the last frames, and the mean square displacement."""

from __future__ import annotations

import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from bridge.monitor import measures, style
from bridge.monitor.feed import Facts
from bridge.monitor.memory import Memory
from bridge.monitor.painter import Rectangle
from bridge.monitor.words import Words

FRAMES = 600
PARTICLES = 40


class Trajectories:
    """The ways of the particles that were seen longest, in the frame's coordinates."""

    def __init__(self, figure: Figure, rectangle: Rectangle) -> None:
        self.rectangle, self.dirty = rectangle, True
        self._axes = style.make_axes(figure, rectangle, "Trajectories")
        self._axes.set_aspect("equal", anchor="W")  # a step to the right is as long as one down
        self.axes = [self._axes]
        self._lines = LineCollection([], linewidths=1.2, cmap="turbo")
        self._axes.add_collection(self._lines, autolim=False)
        self._words = Words(self._axes, 1.0, 1.06, ha="right", color=style.DIM)
        self.moving: list[Artist] = [self._lines, self._words]

    def update(self, memory: Memory, facts: Facts) -> None:
        unit = facts.pixel_um or 1.0
        trails = memory.trails(FRAMES, 200)
        segments = [points * unit for points in trails.values() if len(points) > 1]
        self._lines.set_segments(segments)
        self._lines.set_array(np.array([p % 97 for p, points in trails.items() if len(points) > 1], float))
        height, width = facts.shape_hw
        self._axes.set(xlim=(0, width * unit), ylim=(height * unit, 0))
        self._axes.set_xlabel("µm" if facts.pixel_um else "pixels")
        self._words.set_text(f"{len(segments)} particles, {min(FRAMES, len(memory.frames))} frames")
        self.dirty = True


class Displacement:
    """Mean square displacement of the particles seen longest, with the exponent of its first decade."""

    def __init__(self, figure: Figure, rectangle: Rectangle) -> None:
        self.rectangle, self.dirty = rectangle, True
        self._axes = style.make_axes(figure, rectangle, "Mean square displacement")
        self.axes = [self._axes]
        self._axes.set(xscale="log", yscale="log")
        self._axes.set_xlabel("lag, s")
        (self._points,) = self._axes.plot([], [], "o-", color=style.ACCENT, ms=3.5, lw=1)
        self._words = Words(self._axes, 0.98, 0.07, ha="right", va="bottom")
        self.moving: list[Artist] = [self._points, self._words]

    def update(self, memory: Memory, facts: Facts) -> None:
        frames = memory.last(FRAMES)
        chosen = memory.longest(PARTICLES, FRAMES)
        if len(frames) < 8 or not len(chosen):
            return
        unit = facts.pixel_um or 1.0
        _, x, y = measures.series(frames, chosen)
        lags = measures.spaced_lags(len(x))
        msd = measures.displacement(x * unit, y * unit, lags)
        seconds = lags / facts.fps
        good = np.isfinite(msd) & (msd > 0)
        if good.sum() < 2:
            return
        self._points.set_data(seconds[good], msd[good])
        self._axes.set_ylabel("µm²" if facts.pixel_um else "px²", labelpad=1)
        for axis, values in (("x", seconds[good]), ("y", msd[good])):
            now = getattr(self._axes, f"get_{axis}lim")()
            ends = measures.sticky(now, float(values.min()), float(values.max()), logarithmic=True)
            getattr(self._axes, f"set_{axis}lim")(ends)
        first = good & (lags <= 10)
        if first.sum() > 1:
            slope, _ = np.polyfit(np.log(seconds[first]), np.log(msd[first]), 1)
            area = "µm²/s" if facts.pixel_um else "px²/s"
            diffusion = float(msd[good][0] / (4 * seconds[good][0]))
            self._words.set_text(
                f"exponent {slope:.2f}   D(first lag) = {diffusion:.3g} {area}   {len(chosen)} particles"
            )
        self.dirty = True
