"""Colours and letters of the window: dark, for a dark laboratory."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bridge.monitor.painter import Rectangle

BACKGROUND, PANEL, LINE, TEXT, DIM = "#0d0f12", "#15181d", "#333a44", "#d5d9df", "#8b93a0"
ACCENT, SECOND, RED, AMBER = "#53b8a5", "#7aa2f7", "#ff4d4d", "#e8a33d"
SMALL, NORMAL = 8.0, 9.0


def make_axes(
    figure: Figure, rectangle: Rectangle, title: str = "", margins: Rectangle = (0.052, 0.046, 0.012, 0.03)
) -> Axes:
    """Axes in a panel's rectangle, with room for labels: left, bottom, right, top, in parts of the figure."""
    left, bottom, width, height = rectangle
    ml, mb, mr, mt = margins
    axes = figure.add_axes((left + ml, bottom + mb, width - ml - mr, height - mb - mt))
    axes.set_facecolor(PANEL)
    axes.tick_params(colors=DIM, labelsize=SMALL, length=3, width=0.6)
    for spine in axes.spines.values():
        spine.set_color(LINE)
        spine.set_linewidth(0.8)
    axes.xaxis.label.set(color=DIM, fontsize=SMALL)
    axes.yaxis.label.set(color=DIM, fontsize=SMALL)
    if title:
        axes.set_title(title, fontsize=NORMAL, color=TEXT, loc="left", pad=4)
    return axes


def make_blank(figure: Figure, rectangle: Rectangle) -> Axes:
    """Axes without ticks and frame: for text and pictures, 0 to 1 in both directions."""
    axes = figure.add_axes(rectangle)
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    return axes


def text(axes: Axes, x: float, y: float, words: str = "", **more: Any) -> Any:
    """Text in parts of the axes."""
    options: dict[str, Any] = {"color": TEXT, "fontsize": NORMAL, "transform": axes.transAxes, "va": "top"}
    return axes.text(x, y, words, **(options | more))
