"""How the run goes: rates and counts, times of the steps, focus, statistics of the particles, head line and log."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from bridge.monitor import measures, style
from bridge.monitor.feed import Connection, Facts
from bridge.monitor.memory import Memory
from bridge.monitor.painter import Rectangle
from bridge.monitor.words import Words

STEPS = ("network", "tracking", "linking", "recording", "total")


class Head:
    """The line at the top: connection, name, recording with duration and size, frame, rates, losses."""

    def __init__(self, figure: Figure, rectangle: Rectangle) -> None:
        self.rectangle, self.dirty = rectangle, True
        self._axes = style.make_blank(figure, rectangle)
        self.axes = [self._axes]
        (self._lamp,) = self._axes.plot([0.012], [0.5], "o", ms=9, color=style.AMBER)
        self._name = Words(self._axes, 0.022, 0.5, va="center", size=11, face="bold")
        (self._dot,) = self._axes.plot([0.335], [0.5], "o", ms=10, color=style.RED)
        self._record = Words(self._axes, 0.345, 0.5, va="center")
        self._figures = Words(self._axes, 0.99, 0.5, va="center", ha="right", face="mono")
        self.moving: list[Artist] = [self._lamp, self._name, self._dot, self._record, self._figures]

    def update(self, facts: Facts, connection: Connection, frame: int, shown: float) -> None:
        colours = {Connection.LIVE: style.ACCENT, Connection.LOST: style.RED, Connection.ENDED: style.RED}
        self._lamp.set_color(colours.get(connection, style.AMBER))
        name = facts.hello.get("name", "")
        self._name.set_text(f"{name}  ·  {connection.value}" if name else connection.value)
        recording = recording_of(facts)
        self._dot.set_visible(recording is not None)
        self._record.set_text(recording or ("nothing is recorded" if facts.metrics else ""))
        m = facts.metrics
        lost = m.get("lost", 0)
        self._figures.set_color(style.RED if lost else style.TEXT)
        self._figures.set_text(
            f"frame {frame}   {m.get('track_count', 0)} particles   {m.get('process_rate', 0.0):.1f} frames/s   "
            f"{shown:.0f} shown/s   lost {lost}"
        )
        self.dirty = True


def recording_of(facts: Facts) -> str | None:
    """Name, duration and size of what is being recorded; None: nothing is."""
    take = facts.metrics.get("recording")
    if not take or take["state"] != "on":
        return None
    if not any(on for name, on in take["outputs"].items() if name != "lsl"):
        return None
    seconds = int(take["seconds"])
    folder = str(facts.hello.get("run_folder", "")).rsplit("/", 1)[-1]
    return f"{folder}: {take['name']}  {seconds // 60:02d}:{seconds % 60:02d}  {take['bytes'] / 1e6:.1f} MB"


class Rates:
    """Frames a second and particles, over the last minutes."""

    def __init__(self, figure: Figure, rectangle: Rectangle) -> None:
        self.rectangle, self.dirty = rectangle, True
        self._axes = style.make_axes(figure, rectangle, "", (0.052, 0.046, 0.045, 0.03))
        self._second = self._axes.twinx()
        self._second.tick_params(colors=style.SECOND, labelsize=style.SMALL, length=3)
        self._second.set_frame_on(False)
        self.axes = [self._axes, self._second]
        self._axes.set_xlabel("seconds ago")
        self._axes.xaxis.set_major_locator(MaxNLocator(5))
        (self._rate,) = self._axes.plot([], [], color=style.ACCENT, lw=1.3)
        (self._count,) = self._second.plot([], [], color=style.SECOND, lw=1.1)
        self._words = Words(self._axes, 0.0, 1.11, color=style.ACCENT)
        self._particles = Words(self._axes, 1.0, 1.11, color=style.SECOND, ha="right")
        self.moving: list[Artist] = [self._rate, self._count, self._words, self._particles]

    def update(self, memory: Memory) -> None:
        if len(memory.seconds) < 2:
            return
        t = np.asarray(memory.seconds) - memory.seconds[-1]
        self._rate.set_data(t, memory.rate)
        self._count.set_data(t, memory.count)
        self._axes.set_xlim(-measures.span_of(-float(t[0])), 0)
        for axes, values in ((self._axes, memory.rate), (self._second, memory.count)):
            axes.set_ylim(0, measures.sticky((0.0, axes.get_ylim()[1]), 0.0, max(1.0, *values))[1])
        self._words.set_text(f"{memory.rate[-1]:.1f} frames/s")
        self._particles.set_text(f"{memory.count[-1]} particles")
        self.dirty = True


class StepTimes:
    """Milliseconds of each step: bar to the median, line to 99 %."""

    def __init__(self, figure: Figure, rectangle: Rectangle) -> None:
        self.rectangle, self.dirty = rectangle, True
        self._axes = style.make_axes(figure, rectangle, "Time of a frame, ms: median, 99 %")
        self.axes = [self._axes]
        at = np.arange(len(STEPS))
        colours = [style.ACCENT] * (len(STEPS) - 1) + [style.SECOND]
        self._bars = self._axes.barh(at, np.zeros(len(STEPS)), height=0.55, color=colours)
        self._lines = [self._axes.plot([0, 0], [i, i], color=style.TEXT, lw=1.2)[0] for i in at]
        self._words = [Words(self._axes, 0, 0, size=style.SMALL, va="center") for _ in STEPS]
        self.moving: list[Artist] = [*self._bars, *self._lines, *self._words]
        self._axes.set_yticks(at, STEPS)
        self._axes.set_ylim(len(STEPS) - 0.4, -0.6)

    def update(self, facts: Facts) -> None:
        took = facts.metrics.get("step_ms", {})
        most = 1e-3
        for name, bar, line, words in zip(STEPS, self._bars, self._lines, self._words):
            figures = took.get(name) or {}
            p50, p99 = float(figures.get("p50", 0.0)), float(figures.get("p99", 0.0))
            bar.set_width(p50)
            line.set_xdata([p50, max(p50, p99)])
            words.set_text(f"  {p50:.2f} / {p99:.2f}" if figures else "  not measured")
            most = max(most, p99, p50)
        self._axes.set_xlim(0, measures.sticky((0.0, self._axes.get_xlim()[1] / 1.75), 0.0, most)[1] * 1.75)
        right = self._axes.get_xlim()[1]
        for i, (words, line) in enumerate(zip(self._words, self._lines)):
            words.move(float(np.max(line.get_xdata())) / right + 0.02, 1 - (i + 0.6) / (len(STEPS) + 0.2))
        self.dirty = True


class Focus:
    """Mean size and signal of the beads and sharpness of the picture, each relative to its median, over time."""

    NAMES = (("size", style.ACCENT), ("signal", style.SECOND), ("sharpness", style.AMBER))

    def __init__(self, figure: Figure, rectangle: Rectangle) -> None:
        self.rectangle, self.dirty = rectangle, True
        self._axes = style.make_axes(figure, rectangle)
        self.axes = [self._axes]
        self._axes.set_xlabel("focus: relative to the median, seconds ago")
        self._axes.xaxis.set_major_locator(MaxNLocator(5))
        self._lines = [self._axes.plot([], [], color=colour, lw=1.2)[0] for _, colour in self.NAMES]
        self._words = [
            Words(self._axes, 0.31 * i, 1.11, name, color=colour, size=style.SMALL)
            for i, (name, colour) in enumerate(self.NAMES)
        ]
        self.moving: list[Artist] = [*self._lines, *self._words]

    def update(self, memory: Memory) -> None:
        if len(memory.focus) < 2:
            return
        t = np.asarray(memory.focus_seconds) - memory.focus_seconds[-1]
        values = np.asarray(memory.focus)
        low, high = 0.9, 1.1
        for (name, _), line, words, column in zip(self.NAMES, self._lines, self._words, values.T):
            good = column[np.isfinite(column)]
            middle = float(np.median(good)) if len(good) else 0.0
            if middle <= 0:
                line.set_data([], [])
                words.set_text(f"{name} –")
                continue
            relative = column / middle
            line.set_data(t, relative)
            words.set_text(f"{name} {column[-1]:.3g}")
            low, high = min(low, float(np.nanmin(relative))), max(high, float(np.nanmax(relative)))
        self._axes.set_xlim(-measures.span_of(-float(t[0])), 0)
        a, b = self._axes.get_ylim()
        self._axes.set_ylim(measures.sticky((a, b), low, high))
        self.dirty = True


class Statistics:
    """Of the particles of the newest frame."""

    def __init__(self, figure: Figure, rectangle: Rectangle) -> None:
        self.rectangle, self.dirty = rectangle, True
        left, bottom, width, height = rectangle
        self._axes = style.make_blank(figure, (left + 0.012, bottom + 0.012, width - 0.024, height - 0.024))
        self.axes = [self._axes]
        title = Words(self._axes, 0, 0.99, "Particles of the newest frame")
        self._table = Words(self._axes, 0, 0.88, face="mono", size=8, spacing=1.6)
        self.moving: list[Artist] = [title, self._table]

    def update(self, rows: NDArray[Any], facts: Facts) -> None:
        self._table.set_text(statistics_text(rows, facts.pixel_um))
        self.dirty = True


def statistics_text(rows: NDArray[Any], pixel_um: float) -> str:
    """Mean, standard deviation and range of what was measured; positions in pixels and, if calibrated, in µm."""
    lines = [f"{len(rows)} particles", f"{'':8}{'mean':>9}{'std':>9}{'least':>9}{'most':>9}"]
    names = [("mass", "mass", 1.0), ("signal", "signal", 1.0), ("size", "size px", 1.0), ("ecc", "ecc", 1.0),
             ("x", "x px", 1.0), ("y", "y px", 1.0)]  # fmt: skip
    if pixel_um:
        names += [("x", "x µm", pixel_um), ("y", "y µm", pixel_um)]
    for field, label, unit in names:
        figures = (value * unit for value in measures.spread(rows[field]))
        lines.append(f"{label:8}" + "".join(f"{value:>9.4g}" for value in figures))
    return "\n".join(lines)


class LogLines:
    """The last lines of the run's log, and what the window itself has to say."""

    LINES = 4

    def __init__(self, figure: Figure, rectangle: Rectangle) -> None:
        self.rectangle, self.dirty = rectangle, True
        left, bottom, width, height = rectangle
        self._axes = style.make_blank(figure, (left + 0.008, bottom, width - 0.016, height))
        self.axes = [self._axes]
        at = [0.97 - i / (self.LINES + 0.2) for i in range(self.LINES)]
        self._lines = [Words(self._axes, 0, y, face="mono", size=style.SMALL) for y in at]
        self.moving: list[Artist] = list(self._lines)
        self._own: list[tuple[float, str, str]] = []

    def say(self, words: str, wrong: bool = False) -> None:
        """A line of the window's own."""
        self._own = [*self._own[-5:], (time.time(), "error" if wrong else "own", words)]
        self.dirty = True

    def update(self, log: list[dict[str, Any]]) -> None:
        colours = {"warning": style.AMBER, "error": style.RED, "own": style.ACCENT}
        entries = [
            (float(line.get("t_utc_ns", 0)) / 1e9, str(line.get("level", "")),
             f"{line.get('process', '')}: {line.get('message', '')}")
            for line in log
        ]  # fmt: skip
        entries = sorted([*entries, *((t, level, f"monitor: {words}") for t, level, words in self._own)])
        for line, (t, level, words) in zip(self._lines, entries[-self.LINES :]):
            line.set_text(time.strftime("%H:%M:%S ", time.localtime(t)) + words.replace("\n", " ")[:190])
            line.set_color(colours.get(level, style.DIM))
        self.dirty = True
