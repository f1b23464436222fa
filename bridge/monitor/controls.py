"""Sliders and fields for the settings, with Preview, Apply and Undo; buttons for everything else.

What is changed here is *pending* (amber) until Apply. The run checks it like its file; what it answers is shown in the
log lines.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from matplotlib.artist import Artist
from matplotlib.figure import Figure

from bridge.client import Settings
from bridge.monitor import style
from bridge.monitor.painter import Rectangle
from bridge.monitor.widgets import Field, make_button, make_slider

FIELDS = ("tracking.diameter", "tracking.separation", "tracking.percentile", "linking.memory")
Act = Callable[[], None]


class SettingsPanel:
    """Tracking and linking, as they are in force and as they are wanted."""

    def __init__(self, figure: Figure, rectangle: Rectangle) -> None:
        self.rectangle, self.dirty = rectangle, True
        self.moving: list[Artist] = []
        left, bottom, width, height = rectangle
        title = style.make_blank(figure, rectangle)
        self._title = style.text(title, 0.03, 0.99, "Tracking")
        self.pending: dict[str, Any] = {}
        self._settings: Settings | None = None
        self._filling = False
        row = height / 7.2
        at = [bottom + height - (i + 1.75) * row for i in range(7)]

        def slider(i: int, label: str, ends: tuple[float, float], act: Callable[[float], None]) -> Any:
            return make_slider(figure, (left + 0.33 * width, at[i], 0.43 * width, row * 0.6), label, ends, ends[0], act)

        self.minmass = slider(0, "minmass", (0.0, 6.0), lambda v: self._slid("tracking.minmass", _from_log(v)))
        self.max_ecc = slider(1, "max_ecc", (0.0, 1.0), lambda v: self._slid("tracking.max_ecc", round(v, 3)))
        self.range = slider(2, "search_range", (0.5, 60.0), lambda v: self._slid("linking.search_range", round(v, 1)))
        self.fields = {
            key: Field(
                figure,
                (left + (0.30 + 0.46 * (i % 2)) * width, at[3 + i // 2], 0.18 * width, row * 0.74),
                key.partition(".")[2],
                partial(self._typed, key),
            )
            for i, key in enumerate(FIELDS)
        }
        self._buttons: dict[str, Any] = {}
        self._figure, self._row = figure, (left, at[5], width, row * 0.8)
        self.axes = [title, *(s.ax for s in self._sliders), *(f.axes for f in self.fields.values())]

    @property
    def _sliders(self) -> list[Any]:
        return [self.minmass, self.max_ecc, self.range]

    def add_buttons(self, acts: dict[str, Act]) -> None:
        """In a row beneath."""
        left, bottom, width, height = self._row
        step = 0.94 * width / len(acts)
        for i, (label, act) in enumerate(acts.items()):
            button = make_button(
                self._figure, (left + 0.03 * width + i * step, bottom, step * 0.92, height), label, act
            )
            self._buttons[label] = button
            self.axes.append(button.ax)

    def button(self, label: str) -> Any:
        return self._buttons[label]

    def fill(self, settings: Settings, force: bool = False) -> None:
        """What is in force; what is pending stays, unless `force`."""
        if force:
            self.pending.clear()
        self._settings = settings
        self._filling = True
        try:
            for slider, key, back in (
                (self.minmass, "tracking.minmass", _to_log),
                (self.max_ecc, "tracking.max_ecc", float),
                (self.range, "linking.search_range", float),
            ):
                value = self.pending.get(key, self.in_force(key))
                slider.set_val(min(slider.valmax, max(slider.valmin, back(value))))
                slider.valtext.set_text(f"{value:g}")
            for key, field in self.fields.items():
                field.set(f"{self.pending.get(key, self.in_force(key))}")
        finally:
            self._filling = False
        self._mark()

    def in_force(self, key: str) -> Any:
        """A value of the newest version."""
        section, _, name = key.partition(".")
        return getattr(getattr(self._settings, section), name) if self._settings else 0

    @property
    def typing(self) -> Field | None:
        """The field that keys go to."""
        return next((field for field in self.fields.values() if field.active), None)

    def _slid(self, key: str, value: float) -> None:
        if not self._filling and self._settings is not None:
            self._want(key, value)
            self.fill(self._settings)

    def _typed(self, key: str, text: str) -> None:
        try:
            value: Any = float(text)
        except ValueError:
            value = text  # the run says what is wrong with it
        else:
            value = int(value) if value == int(value) else value
        self._want(key, value)

    def _want(self, key: str, value: Any) -> None:
        if value == self.in_force(key):
            self.pending.pop(key, None)
        else:
            self.pending[key] = value
        self._mark()

    def _mark(self) -> None:
        for key, field in self.fields.items():
            field.mark(key in self.pending)
        for slider, key in zip(
            self._sliders, ("tracking.minmass", "tracking.max_ecc", "linking.search_range"), strict=True
        ):
            slider.valtext.set_color(style.AMBER if key in self.pending else style.TEXT)
        version = f"version {self._settings.version}" if self._settings else ""
        waiting = f"   {len(self.pending)} changed" if self.pending else ""
        self._title.set_text(f"Tracking   {version}{waiting}")
        self._title.set_color(style.AMBER if self.pending else style.TEXT)
        self.dirty = True


class ButtonPanel:
    """Buttons in a grid, some of which show that they are on; two sliders for the picture."""

    COLUMNS = 3

    def __init__(
        self, figure: Figure, rectangle: Rectangle, acts: dict[str, Act], picture: Callable[[float, float], None]
    ) -> None:
        self.rectangle, self.dirty = rectangle, True
        self.moving: list[Artist] = []
        left, bottom, width, height = rectangle
        rows = math.ceil(len(acts) / self.COLUMNS) + 2
        row, column = height / (rows + 0.3), 0.97 * width / self.COLUMNS
        self.axes: list[Any] = []

        def look(_: float) -> None:
            picture(self.brightness.val, 4.0**self.contrast.val)
            self.contrast.valtext.set_text(f"{4.0**self.contrast.val:.2f}")
            self.dirty = True

        place = (left + 0.27 * width, bottom + height - 0.85 * row, 0.5 * width, row * 0.55)
        self.brightness = make_slider(figure, place, "brightness", (-1.0, 1.0), 0.0, look)
        place = (place[0], place[1] - row, place[2], place[3])
        self.contrast = make_slider(figure, place, "contrast", (-1.0, 1.0), 0.0, look)
        self.contrast.valtext.set_text("1.00")
        self._buttons: dict[str, Any] = {}
        self._edges: dict[str, str] = {}
        for i, (label, act) in enumerate(acts.items()):
            x = left + (i % self.COLUMNS) * column
            y = bottom + height - (i // self.COLUMNS + 3) * row
            self._buttons[label] = make_button(figure, (x, y, column * 0.94, row * 0.84), label, act)
        self.axes = [self.brightness.ax, self.contrast.ax, *(b.ax for b in self._buttons.values())]

    def button(self, label: str) -> Any:
        return self._buttons[label]

    def lit(self, label: str, on: bool, words: str = "", colour: str = style.ACCENT) -> None:
        """Show whether what a button stands for is on, and perhaps another name."""
        button = self._buttons[label]
        shown = words or button.label.get_text()
        edge = colour if on else style.LINE
        if button.label.get_text() == shown and self._edges.get(label) == edge:
            return
        self._edges[label] = edge
        button.label.set_text(shown)
        for spine in button.ax.spines.values():
            spine.set_color(edge)
        self.dirty = True


class Tabs:
    """A row of names; one is on."""

    def __init__(self, figure: Figure, rectangle: Rectangle, names: list[str], chosen: Callable[[str], None]) -> None:
        self.rectangle, self.dirty = rectangle, True
        self.moving: list[Artist] = []
        left, bottom, width, height = rectangle
        step = width / len(names)
        self._buttons = {
            name: make_button(
                figure, (left + i * step + 0.004, bottom + 0.12 * height, step - 0.008, 0.76 * height), name,
                partial(chosen, name),
            )
            for i, name in enumerate(names)
        }  # fmt: skip
        self.axes = [button.ax for button in self._buttons.values()]

    def button(self, name: str) -> Any:
        return self._buttons[name]

    def show(self, chosen: str) -> None:
        for name, button in self._buttons.items():
            for spine in button.ax.spines.values():
                spine.set_color(style.ACCENT if name == chosen else style.LINE)
            button.label.set_color(style.TEXT if name == chosen else style.DIM)
        self.dirty = True


def _to_log(value: float) -> float:
    return math.log10(1 + max(0.0, float(value)))


def _from_log(value: float) -> float:
    return float(f"{10**value - 1:.3g}")
