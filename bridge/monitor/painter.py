"""Draws one panel at a time into a figure (blitting), because all of them at once take a tenth of a second.

A *panel* owns a rectangle of the figure and the axes in it. All axes are animated: a full draw of the figure (at the
start, after a change of its size) paints the empty background alone, which is kept. A panel's axes (ticks, labels,
titles: slow) are drawn over that when they change, and kept too; what *moves* in it (lines, pictures, words) is drawn
over them each time. A panel without moving things is drawn whole.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

Rectangle = tuple[float, float, float, float]
"""Left, bottom, width, height, in parts of the figure."""


class Panel(Protocol):
    """What the painter paints."""

    rectangle: Rectangle
    axes: list[Axes]
    moving: list[Artist]
    dirty: bool  # it wants to be painted


class Painter:
    """Of one figure with a canvas of the Agg kind (TkAgg, QtAgg, Agg)."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self._canvas: Any = figure.canvas
        self._background: Any = None
        self._panels: list[Panel] = []
        self._turn = 0
        self._kept: dict[int, tuple[Any, Any]] = {}  # of a panel: what its axes looked like, and their picture
        self._connection = self._canvas.mpl_connect("draw_event", self._drawn)

    def panels(self, panels: Iterable[Panel]) -> None:
        """These are shown from now on; axes of others are not."""
        self._panels = list(panels)
        for panel in self._panels:
            for artist in (*panel.axes, *panel.moving):
                artist.set_animated(True)
            panel.dirty = True

    def start(self) -> None:
        """Draw all of it; the canvas has its size."""
        self._canvas.draw()

    def paint(self, panel: Panel, show: bool = True) -> None:
        """One panel, now."""
        if self._background is None:
            return
        box = self._pixels(panel.rectangle)
        look = _look(panel) if panel.moving else None
        kept = self._kept.get(id(panel))
        if kept is not None and look is not None and kept[0] == look:
            self._canvas.restore_region(kept[1])
        else:
            self._restore(box)
            for axes in panel.axes:
                self.figure.draw_artist(axes)
            if look is not None:
                self._kept[id(panel)] = look, self._canvas.copy_from_bbox(box)
        for artist in panel.moving:
            self.figure.draw_artist(artist)
        panel.dirty = False
        if show:
            self._canvas.blit(box)

    def paint_dirty(self, budget_s: float = 0.02) -> None:
        """The panels that want it, in turn, at least one and as many as there is time for."""
        end = time.perf_counter() + budget_s
        for _ in range(len(self._panels)):
            self._turn = (self._turn + 1) % len(self._panels)
            panel = self._panels[self._turn]
            if panel.dirty:
                self.paint(panel)
                if time.perf_counter() > end:
                    return

    def wipe(self, rectangle: Rectangle) -> None:
        """Show the empty background there."""
        if self._background is not None:
            box = self._pixels(rectangle)
            self._restore(box)
            self._canvas.blit(box)

    def picture(self) -> NDArray[np.uint8]:
        """What the window shows, `(height, width, 4)` RGBA: a copy."""
        return np.asarray(self._canvas.buffer_rgba()).copy()

    def close(self) -> None:
        self._canvas.mpl_disconnect(self._connection)

    def _drawn(self, _: Any) -> None:
        self._background = self._canvas.copy_from_bbox(self.figure.bbox)
        self._kept.clear()
        for panel in self._panels:
            self.paint(panel, show=False)
        self._canvas.blit(self.figure.bbox)

    def _restore(self, box: Bbox) -> None:
        """Agg counts rows from the top, and takes where to as a shift."""
        height = self.figure.bbox.height
        self._canvas.restore_region(
            self._background, bbox=(box.x0, height - box.y1, box.x1, height - box.y0), xy=(0, 0)
        )

    def _pixels(self, rectangle: Rectangle) -> Bbox:
        left, bottom, width, height = rectangle
        box = self.figure.bbox
        x0, y0 = np.floor([left * box.width, bottom * box.height])
        x1, y1 = np.ceil([(left + width) * box.width, (bottom + height) * box.height])
        return Bbox.from_extents(x0, y0, min(x1, box.width), min(y1, box.height))


def _look(panel: Panel) -> tuple[Any, ...]:
    """What a panel's axes look like without what moves in them."""
    return tuple(
        (*axes.get_xlim(), *axes.get_ylim(), axes.get_xlabel(), axes.get_ylabel(), axes.get_title(loc="left"))
        for axes in panel.axes
    )
