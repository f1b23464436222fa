"""Beneath the picture: its histogram, and the counts along a line that was drawn across it."""

from __future__ import annotations

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from bridge.monitor import measures, style
from bridge.monitor.image_panel import ImagePanel
from bridge.monitor.painter import Rectangle
from bridge.monitor.words import Words

BINS = 128


class Histogram:
    """How often each count occurs in the picture, on a logarithmic axis; lines: black and white level."""

    def __init__(self, figure: Figure, rectangle: Rectangle) -> None:
        self.rectangle, self.dirty = rectangle, True
        self._axes = style.make_axes(figure, rectangle, "Histogram of the picture")
        self.axes = [self._axes]
        self._axes.set_xlabel("counts")
        self._axes.set_yscale("log")
        self._steps = self._axes.stairs(np.ones(1), np.arange(2), color=style.ACCENT, fill=True, alpha=0.75)
        self._low, self._high = (self._axes.axvline(0, color=style.AMBER, lw=1) for _ in range(2))
        self.moving: list[Artist] = [self._steps, self._low, self._high]

    def update(self, panel: ImagePanel) -> None:
        if panel.image is None or panel.image.pixels.size == 0:
            return
        pixels = panel.image.pixels
        top = float(pixels.max()) + 1
        counts, edges = np.histogram(pixels[::2, ::2], BINS, range=(0, top))
        self._steps.set_data(np.maximum(counts, 0.5), edges, baseline=0.5)
        low, high = panel.levels or panel._followed or (0.0, top)
        self._low.set_xdata([low, low])
        self._high.set_xdata([high, high])
        self._axes.set_xlim(0, measures.sticky((0.0, self._axes.get_xlim()[1]), 0.0, max(top, high))[1])
        most = measures.sticky((0.5, self._axes.get_ylim()[1]), 0.5, max(10.0, counts.max()), logarithmic=True)[1]
        self._axes.set_ylim(0.5, most)
        self.dirty = True


class LineCut:
    """Counts along the line drawn with the right button."""

    def __init__(self, figure: Figure, rectangle: Rectangle) -> None:
        self.rectangle, self.dirty = rectangle, True
        self._axes = style.make_axes(figure, rectangle, "Line cut")
        self.axes = [self._axes]
        (self._line,) = self._axes.plot([], [], color="#ff8bd2", lw=1.2)
        self._axes.tick_params(
            left=False, bottom=False, labelleft=False, labelbottom=False
        )  # nothing is drawn yet: no figures
        self._hint = Words(
            self._axes, 0.5, 0.5, "draw a line across the picture\nwith the right mouse button", ha="center",
            va="center", color=style.DIM,
        )  # fmt: skip
        self.moving: list[Artist] = [self._line, self._hint]

    def update(self, panel: ImagePanel) -> None:
        profile = panel.profile()
        self._hint.set_visible(profile is None)
        shown = profile is not None
        self._axes.tick_params(left=shown, bottom=shown, labelleft=shown, labelbottom=shown)
        self.dirty = True
        if profile is None:
            self._line.set_data([], [])
            return
        along, counts = profile
        unit = panel.pixel_um or 1.0
        self._line.set_data(along * unit, counts)
        self._axes.set_xlabel("µm" if panel.pixel_um else "pixels")
        good = counts[np.isfinite(counts)]
        if len(good):
            ends = measures.sticky((0.0, self._axes.get_ylim()[1]), 0.0, float(good.max()) + 1)
            self._axes.set(xlim=(0, max(1e-9, float(along[-1]) * unit)), ylim=(0.0, ends[1]))
