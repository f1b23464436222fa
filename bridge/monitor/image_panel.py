"""The picture with its particles: zoom, levels, saturated pixels in red, trails, crosshair, line cut, scale bar.

Coordinates are pixels of the camera, whatever part of the frame was fetched and however it was reduced. What is shown
is at most as fine as the screen: the feed is told which region, and how many pixels of it, are wanted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bridge.client import Image
from bridge.monitor import measures, style
from bridge.monitor.painter import Rectangle
from bridge.monitor.pixels import Pixels
from bridge.monitor.words import Words

TRAIL_COLOURS = 12
NEAR_PX = 12.0  # screen pixels: a click so near to a particle chooses it


class ImagePanel:
    """See the module; the window connects the events."""

    def __init__(self, figure: Figure, rectangle: Rectangle) -> None:
        self.rectangle = rectangle
        self.dirty = True
        left, bottom, width, height = rectangle
        edge = 0.004
        self._axes = figure.add_axes((left + edge, bottom + edge, width - 2 * edge, height - 2 * edge))
        self._axes.set(xticks=[], yticks=[], facecolor="black")
        for spine in self._axes.spines.values():
            spine.set_color(style.LINE)
        self.axes = [self._axes]
        self._figure = figure
        self._image = Pixels(self._axes)
        (self._marks,) = self._axes.plot([], [], "o", mfc="none", mec=style.ACCENT, mew=1.2, ms=12, zorder=3)
        (self._chosen,) = self._axes.plot([], [], "s", mfc="none", mec=style.AMBER, mew=1.6, ms=18, zorder=4)
        (self._proposed,) = self._axes.plot([], [], "s", mfc="none", mec=style.AMBER, mew=1.2, ms=9, zorder=4)
        self._trails = LineCollection([], linewidths=1.1, zorder=2, cmap="hsv")
        self._trails.set_clim(0, TRAIL_COLOURS)
        self._axes.add_collection(self._trails, autolim=False)
        self._cross = [self._axes.axhline(0, color=style.AMBER, lw=0.7, zorder=5, visible=False),
                       self._axes.axvline(0, color=style.AMBER, lw=0.7, zorder=5, visible=False)]  # fmt: skip
        (self._cut,) = self._axes.plot([], [], "-", color="#ff8bd2", lw=1.4, zorder=5)
        (self._bar,) = self._axes.plot([], [], "-", color="white", lw=4, solid_capstyle="butt", zorder=6)
        self._bar_text = Words(self._axes, 0.017, 0.01, va="bottom", color="white", back=0.5)
        self._warning = Words(self._axes, 0.015, 0.985, color=style.RED, size=13, face="bold", back=0.5)
        self._under = Words(
            self._axes, 0.985, 0.01, ha="right", va="bottom", size=style.SMALL, face="mono", color="white", back=0.5
        )
        self.moving: list[Artist] = [
            self._image, self._trails, self._marks, self._chosen, self._proposed, *self._cross, self._cut, self._bar,
            self._bar_text, self._warning, self._under,
        ]  # fmt: skip
        self.image: Image | None = None
        self.shape_hw = (0, 0)
        self.pixel_um = 0.0
        self.saturation = 65535
        self.brightness, self.contrast = 0.0, 1.0
        self.levels: tuple[float, float] | None = None  # None: follow the picture
        self._followed: tuple[float, float] | None = None
        self.overlay, self.show_trails, self.crosshair = True, False, False
        self.chosen: int | None = None
        self.cursor_xy: tuple[float, float] | None = None
        self.cut: tuple[tuple[float, float], tuple[float, float]] | None = None
        self._view: tuple[float, float, float] | None = None  # centre x, y and camera pixels a screen pixel; None: fit

    # ---- what is seen

    @property
    def size_px(self) -> tuple[float, float]:
        """Width and height of the panel on the screen."""
        box = self._axes.get_window_extent()
        return max(1.0, box.width), max(1.0, box.height)

    @property
    def scale(self) -> float:
        """Camera pixels a screen pixel."""
        return self._fit()[2] if self._view is None else self._view[2]

    def _fit(self) -> tuple[float, float, float]:
        height, width = self.shape_hw
        across, down = self.size_px
        return (width - 1) / 2, (height - 1) / 2, max(width / across, height / down, 1e-6)

    def limits(self) -> tuple[float, float, float, float]:
        """x0, x1, y0, y1 of what the panel shows, camera pixels."""
        x, y, scale = self._view or self._fit()
        across, down = self.size_px
        return x - across * scale / 2, x + across * scale / 2, y - down * scale / 2, y + down * scale / 2

    def wanted(self) -> tuple[int, tuple[int, int, int, int] | None]:
        """Most pixels of a side, and the region y0, y1, x0, x1 (None: all), for the feed."""
        across, down = self.size_px
        if self._view is None:
            height, width = self.shape_hw
            return max(64, int(max(width, height) / self.scale) + 1) if height else int(max(across, down)), None
        x0, x1, y0, y1 = self.limits()
        height, width = self.shape_hw
        region = (max(0, int(y0)), min(height, int(y1) + 2), max(0, int(x0)), min(width, int(x1) + 2))
        return int(max(across, down)), region

    def zoom(self, x: float, y: float, factor: float) -> None:
        """Closer (above 1) about a point of the camera's frame, which stays where it is."""
        cx, cy, scale = self._view or self._fit()
        new = float(np.clip(scale / factor, 0.02, 2 * self._fit()[2]))
        self._view = x + (cx - x) * new / scale, y + (cy - y) * new / scale, new
        self.dirty = True

    def pan(self, dx_screen: float, dy_screen: float) -> None:
        """Move the picture by screen pixels (right, up)."""
        cx, cy, scale = self._view or self._fit()
        self._view = cx - dx_screen * scale, cy + dy_screen * scale, scale
        self.dirty = True

    def fit(self) -> None:
        """All of the frame."""
        self._view = None
        self.dirty = True

    # ---- what is drawn

    def show(self, image: Image, trails: dict[int, NDArray[np.float64]]) -> None:
        """Another picture."""
        self.image = image
        self.dirty = True
        auto = measures.levels(image.pixels)
        if self._followed is None:
            self._followed = auto
        a, b = self._followed
        self._followed = a + 0.2 * (auto[0] - a), b + 0.2 * (auto[1] - b)
        self.redraw_pixels()
        self._mark(image.rows)
        segments = [points for points in trails.values() if len(points) > 1] if self.show_trails else []
        self._trails.set_segments(segments)
        if segments:
            ids = [particle % TRAIL_COLOURS for particle, points in trails.items() if len(points) > 1]
            self._trails.set_array(np.asarray(ids))

    def redraw_pixels(self) -> None:
        """The newest picture again, as levels, brightness and contrast are now."""
        image = self.image
        if image is None or image.pixels.size == 0:
            return
        low, high = self.levels or self._followed or (0.0, 1.0)
        table = measures.grey_table(low, high, self.brightness, self.contrast, 8 * image.pixels.dtype.itemsize)
        grey = table[image.pixels]
        over = None
        if image.saturated is not None and len(image.saturated):
            over = np.zeros(grey.shape, bool)
            over.reshape(-1)[image.saturated] = True
        self._image.show(grey, over, image.corner_yx, image.step)
        self.dirty = True

    def prepare(self, warning: str) -> None:
        """Put everything where it belongs; before the painter paints."""
        x0, x1, y0, y1 = self.limits()
        self._axes.set_xlim(x0, x1)
        self._axes.set_ylim(y1, y0)
        self._warning.set_text(warning)
        self._warning.set_visible(bool(warning))
        self._scale_bar(x0, y1)
        for line in self._cross:
            line.set_visible(self.crosshair and self.cursor_xy is not None)
        if self.cursor_xy is not None:
            self._cross[0].set_ydata([self.cursor_xy[1]] * 2)
            self._cross[1].set_xdata([self.cursor_xy[0]] * 2)
        self._under.set_text(self.under())
        self._under.set_visible(bool(self._under.get_text()))
        ends = np.array(self.cut) if self.cut else np.zeros((0, 2))
        self._cut.set_data(ends[:, 0], ends[:, 1])

    def propose(self, xy: NDArray[Any] | None) -> None:
        """Squares where other settings would find particles; None: no more."""
        x, y = (xy["x"], xy["y"]) if xy is not None else (np.zeros(0), np.zeros(0))
        self._proposed.set_data(x, y)
        self.dirty = True

    def under(self) -> str:
        """What is under the cursor: place in pixels and µm, counts."""
        if self.cursor_xy is None or not self.shape_hw[0]:
            return ""
        x, y = self.cursor_xy
        if not (-0.5 <= x < self.shape_hw[1] - 0.5 and -0.5 <= y < self.shape_hw[0] - 0.5):
            return ""
        said = f"x {x:7.1f}  y {y:7.1f} px"
        if self.pixel_um:
            said += f"   {x * self.pixel_um:.2f}, {y * self.pixel_um:.2f} µm"
        counts = self.counts_at(x, y)
        if counts is not None and self.image is not None:
            mean = f" (mean of {self.image.step}²)" if self.image.step > 1 else ""
            said += f"   {counts:.0f} counts{mean}"
        return said

    def counts_at(self, x: float, y: float) -> float | None:
        """Of the picture's pixel there."""
        image = self.image
        if image is None:
            return None
        row = int((y + 0.5 - image.corner_yx[0]) // image.step)
        column = int((x + 0.5 - image.corner_yx[1]) // image.step)
        if 0 <= row < image.pixels.shape[0] and 0 <= column < image.pixels.shape[1]:
            return float(image.pixels[row, column])
        return None

    def particle_at(self, x: float, y: float) -> int | None:
        """The particle that is nearest, if it is near on the screen."""
        if self.image is None or not len(self.image.rows):
            return None
        rows = self.image.rows
        distance = np.hypot(rows["x"] - x, rows["y"] - y)
        nearest = int(np.argmin(distance))
        return int(rows["particle"][nearest]) if distance[nearest] <= NEAR_PX * self.scale else None

    def profile(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Counts along the line cut: distance from its start in camera pixels, counts; None without a line."""
        if self.cut is None or self.image is None:
            return None
        (xa, ya), (xb, yb) = self.cut
        length = float(np.hypot(xb - xa, yb - ya))
        points = max(2, int(length / self.image.step) + 1)
        along = np.linspace(0, 1, points)
        x = (xa + along * (xb - xa) + 0.5 - self.image.corner_yx[1]) // self.image.step
        y = (ya + along * (yb - ya) + 0.5 - self.image.corner_yx[0]) // self.image.step
        rows, columns = self.image.pixels.shape
        inside = (x >= 0) & (y >= 0) & (x < columns) & (y < rows)
        counts = np.full(points, np.nan)
        counts[inside] = self.image.pixels[y[inside].astype(int), x[inside].astype(int)]
        return along * length, counts

    def _mark(self, rows: NDArray[Any]) -> None:
        shown = rows if self.overlay else rows[:0]
        self._marks.set_data(shown["x"], shown["y"])
        size = float(np.median(rows["size"])) if len(rows) else 3.0
        self._marks.set_markersize(float(np.clip((2.4 * size + 2) / self.scale, 7, 60)) * 72 / self._figure.dpi * 1.6)
        chosen = rows[rows["particle"] == self.chosen] if self.chosen is not None else rows[:0]
        self._chosen.set_data(chosen["x"], chosen["y"])

    def _scale_bar(self, x0: float, y1: float) -> None:
        unit = self.pixel_um or 1.0
        length = measures.bar_length(130 * self.scale * unit)
        x, y = x0 + 14 * self.scale, y1 - 33 * self.scale
        self._bar.set_data([x, x + length / unit], [y, y])
        self._bar_text.set_text(f"{length:g} {'µm' if self.pixel_um else 'px'}")
