"""The picture as the window's own pixels: matplotlib's resampling of a colour image takes ten times as long."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from numpy.typing import NDArray

RED = (255, 40, 40)
Limits = tuple[float, float, float, float]


def on_screen(
    grey: NDArray[np.uint8], over: NDArray[np.bool_] | None, corner_yx: tuple[int, int], step: int, limits: Limits,
    size_wh: tuple[int, int],
) -> tuple[int, int, NDArray[np.uint8]]:  # fmt: skip
    """The part of a screen that a picture covers: its left and top on the screen, RGBA from the top.

    `grey` `(height, width)`: one value for `step` x `step` camera pixels, of which the first lies at `corner_yx`;
    `over`: where red goes. The screen of `size_wh` pixels shows x0, x1, y0, y1 (`limits`, camera pixels). Each pixel of
    the screen shows what is nearest.
    """
    x0, x1, y0, y1 = limits
    parts = []
    for first, last, screen, corner, size in (
        (y0, y1, size_wh[1], corner_yx[0], grey.shape[0]), (x0, x1, size_wh[0], corner_yx[1], grey.shape[1]),
    ):  # fmt: skip
        at = first + (np.arange(screen) + 0.5) * (last - first) / screen
        index = np.floor((at + 0.5 - corner) / step).astype(np.intp)
        inside = np.flatnonzero((index >= 0) & (index < size))
        parts.append((int(inside[0]) if len(inside) else 0, index[inside]))
    (top, rows), (left, columns) = parts
    rgba = np.empty((len(rows), len(columns), 4), np.uint8)
    rgba[..., :3] = grey[rows[:, None], columns][..., None]
    rgba[..., 3] = 255
    if over is not None:
        rgba[over[rows[:, None], columns], :3] = RED
    return left, top, rgba


class Pixels(Artist):
    """A grey picture in axes whose limits are camera pixels, y down."""

    def __init__(self, axes: Axes) -> None:
        super().__init__()
        axes.add_artist(self)
        self._picture: tuple[NDArray[np.uint8], NDArray[np.bool_] | None, tuple[int, int], int] | None = None

    def show(
        self, grey: NDArray[np.uint8], over: NDArray[np.bool_] | None, corner_yx: tuple[int, int], step: int
    ) -> None:
        """Another picture; see `on_screen`."""
        self._picture = grey, over, corner_yx, step

    def draw(self, renderer: Any) -> None:
        """Into what the renderer draws."""
        if self._picture is None or self.axes is None:
            return
        box = self.axes.get_window_extent()
        width, height = round(box.width), round(box.height)
        x0, x1 = self.axes.get_xlim()
        y1, y0 = self.axes.get_ylim()
        left, top, rgba = on_screen(*self._picture, (x0, x1, y0, y1), (width, height))
        if rgba.size == 0:
            return
        gc = renderer.new_gc()
        bottom = round(box.y0) + height - top - rgba.shape[0]
        renderer.draw_image(gc, round(box.x0) + left, bottom, np.ascontiguousarray(rgba[::-1]))
        gc.restore()
