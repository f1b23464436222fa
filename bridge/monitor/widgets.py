"""Sliders, fields and buttons that draw nothing themselves: the painter does, when they say that they changed.

matplotlib's own redraw the whole window at each event, which takes a tenth of a second here.
"""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.figure import Figure
from matplotlib.widgets import Button, Slider

from bridge.monitor import style
from bridge.monitor.painter import Rectangle


def make_button(figure: Figure, rectangle: Rectangle, label: str, pressed: Callable[[], None]) -> Button:
    """A button; `pressed` is called at each click."""
    axes = figure.add_axes(rectangle)
    button = Button(axes, label, color="#1e232a", hovercolor="#2a313b")
    button.drawon = False
    button.label.set(color=style.TEXT, fontsize=style.NORMAL)
    for spine in axes.spines.values():
        spine.set_color(style.LINE)
    button.on_clicked(lambda _: pressed())
    return button


def make_slider(
    figure: Figure, rectangle: Rectangle, label: str, ends: tuple[float, float], value: float,
    changed: Callable[[float], None],
) -> Slider:  # fmt: skip
    """A slider with its name on the left; what it says on the right is the caller's (`valtext`)."""
    axes = figure.add_axes(rectangle)
    slider = Slider(
        axes, label, *ends, valinit=value, color=style.ACCENT, track_color=style.LINE, initcolor="none",
        handle_style={"facecolor": style.TEXT, "edgecolor": "none", "size": 9},
    )  # fmt: skip
    slider.drawon = False
    slider.label.set_x(-0.07)  # clear of the knob at the left end
    slider.label.set(color=style.DIM, fontsize=style.NORMAL)
    slider.valtext.set(color=style.TEXT, fontsize=style.NORMAL, family="monospace")
    slider.on_changed(changed)
    return slider


class Field:
    """A short text that is typed: click, type, Enter (or click elsewhere); Escape leaves it as it was."""

    def __init__(self, figure: Figure, rectangle: Rectangle, label: str, entered: Callable[[str], None]) -> None:
        self.axes = figure.add_axes(rectangle)
        self.axes.set(xticks=[], yticks=[], facecolor="#1e232a")
        for spine in self.axes.spines.values():
            spine.set_color(style.LINE)
        style.text(self.axes, -0.06, 0.5, label, ha="right", va="center", color=style.DIM)
        self._shown = style.text(self.axes, 0.94, 0.5, "", ha="right", va="center", family="monospace")
        self._entered = entered
        self.value = ""
        self._typed: str | None = None

    @property
    def active(self) -> bool:
        """Whether keys go here."""
        return self._typed is not None

    def set(self, value: str) -> None:
        """What it shows, unless somebody is typing."""
        self.value = value
        self._redraw()

    def mark(self, edited: bool) -> None:
        """Say that the value is not in force yet."""
        for spine in self.axes.spines.values():
            spine.set_color(style.AMBER if edited or self.active else style.LINE)

    def click(self, inside: bool) -> None:
        """The mouse was pressed: here, or somewhere else."""
        if inside and not self.active:
            self._typed = self.value
        elif not inside and self.active:
            self._done()
        self._redraw()

    def key(self, key: str) -> None:
        """A key, while active."""
        if self._typed is None:
            return
        if key in ("enter", "return"):
            self._done()
        elif key == "escape":
            self._typed = None
        elif key == "backspace":
            self._typed = self._typed[:-1]
        elif len(key) == 1 and len(self._typed) < 24:
            self._typed += key
        self._redraw()

    def _done(self) -> None:
        typed, self._typed = self._typed, None
        if typed is not None and typed != self.value:
            self.value = typed
            self._entered(typed)

    def _redraw(self) -> None:
        self._shown.set_text(self.value if self._typed is None else self._typed + "▏")
        self.mark(False)
