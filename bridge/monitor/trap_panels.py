"""One chosen particle: where it was (x-y histogram), the power spectrum of its position, the stiffness of its trap.

The arithmetic, with its corrections for blur, aliasing and localisation error, is that of `engine.physics`.
"""

from __future__ import annotations

import math
import textwrap
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from bridge.monitor import measures, style
from bridge.monitor.feed import Facts
from bridge.monitor.memory import Memory
from bridge.monitor.painter import Rectangle
from bridge.monitor.words import Words
from engine.physics.bead import Bead
from engine.physics.stiffness import Camera, Stiffness, equipartition, longest_stretch, periodogram, power_spectrum

FRAMES = 4096
FEWEST = 64
UNSURE = 30.0
"""An interval whose ends are so far apart says nothing."""


class Trap:
    """Everything about the chosen particle, computed once for the panels that show it."""

    def __init__(self) -> None:
        self.particle: int | None = None
        self.x = np.zeros(0)  # µm (pixels without calibration), one a frame, NaN where unseen
        self.y = np.zeros(0)
        self.found: dict[str, list[Stiffness]] = {}
        self.why = "click on a particle to choose it"
        self.camera = Camera(dt_s=1.0)

    def update(self, memory: Memory, facts: Facts, particle: int | None) -> None:
        """Take the particle's positions out of the memory and estimate its trap."""
        self.particle, self.found = particle, {}
        self.x = self.y = np.zeros(0)
        if particle is None:
            self.why = "click on a particle to choose it"
            return
        frames = memory.last(FRAMES)
        _, x, y = measures.series(frames, np.array([particle]))
        unit = facts.pixel_um or 1.0
        seen = np.flatnonzero(np.isfinite(x[:, 0])) if len(x) else np.zeros(0, int)
        if len(seen) < FEWEST:
            self.why = f"particle {particle}: {len(seen)} positions yet, {FEWEST} are needed"
            return
        self.x, self.y = (each[seen[0] : seen[-1] + 1, 0] * unit for each in (x, y))
        self.camera = Camera(
            dt_s=1 / facts.fps, exposure_s=_exposure_s(facts), localisation_um=_error_px(frames, particle) * unit
        )
        if not facts.pixel_um:
            self.why = "stiffness needs camera.pixel_um: calibrate the scale"
            return
        self.why = ""
        sample = facts.hello.get("sample") or {}
        bead = Bead(
            radius_um=sample.get("radius_um", 0.5), temperature_K=sample.get("temperature_K", 298.15),
            viscosity_mPas=sample.get("viscosity_mPas", 0.89), height_um=sample.get("height_um", 0.0),
        )  # fmt: skip
        for axis, values in (("x", self.x), ("y", self.y)):
            self.found[axis] = []
            for method in (equipartition, power_spectrum):
                try:
                    self.found[axis].append(method(values, self.camera, bead))
                except OverflowError:
                    self.why = f"k{axis}: the fit runs away, as that of a free bead does"
                except (ValueError, np.linalg.LinAlgError) as error:
                    self.why = str(error)

    def words(self) -> str:
        """For people."""
        if self.particle is None or not len(self.x):
            return self.why
        unit = "µm" if self.found else "px"
        lines = [f"particle {self.particle}: {int(np.isfinite(self.x).sum())} positions"]
        for axis, values in (("x", self.x), ("y", self.y)):
            mean, std, low, high = measures.spread(values)
            lines.append(f"{axis}: std {std:.4g} {unit}, range {high - low:.4g}, mean {mean:.5g}")
        for axis, estimates in self.found.items():
            for one in estimates:
                if one.high > UNSURE * one.low:  # a bead that diffuses freely has no stiffness
                    lines.append(f"k{axis}: no trap to be seen ({one.method})")
                    continue
                lines.append(f"k{axis} = {one.k:.3g} pN/µm ({one.method})")
                lines.append(f"     95 %: {one.low:.3g} to {one.high:.3g}")
        return "\n".join([*lines, *textwrap.wrap(self.why, 44)])


def _exposure_s(facts: Facts) -> float:
    given = facts.metrics.get("exposure_us")
    return float(given) * 1e-6 if isinstance(given, int | float) and math.isfinite(given) else 0.0


def _error_px(frames: list[tuple[int, NDArray[Any]]], particle: int) -> float:
    """Localisation error of a coordinate, from the rows' `ep`; 0 where there is none."""
    found = [rows["ep"][rows["particle"] == particle] for _, rows in frames[-200:]]
    ep = np.concatenate(found) if found else np.zeros(0)
    ep = ep[np.isfinite(ep)]
    return float(np.sqrt(np.mean(np.square(ep)))) if len(ep) else 0.0


class Cloud:
    """Where the particle was: an x-y histogram about its mean."""

    def __init__(self, figure: Figure, rectangle: Rectangle) -> None:
        self._half = 1.0
        self.rectangle, self.dirty = rectangle, True
        self._axes = style.make_axes(figure, rectangle, "Positions")
        self._axes.xaxis.set_major_locator(MaxNLocator(5))
        self.axes = [self._axes]
        self._image = self._axes.imshow(np.zeros((2, 2)), cmap="magma", origin="upper", aspect="equal")
        self._axes.set_anchor("W")
        self.moving: list[Artist] = [self._image]

    def update(self, trap: Trap, facts: Facts) -> None:
        good = np.isfinite(trap.x) & np.isfinite(trap.y)
        self.dirty = True
        if not good.any():
            self._image.set_data(np.zeros((2, 2)))
            return
        x, y = trap.x[good] - trap.x[good].mean(), trap.y[good] - trap.y[good].mean()
        half = measures.sticky((0.0, self._half), 0.0, max(1e-6, 3 * float(max(x.std(), y.std()))))[1]
        self._half = half
        counts, _, _ = np.histogram2d(y, x, 40, range=[[-half, half], [-half, half]])
        self._image.set_data(counts)
        self._image.set_clim(0, max(1.0, float(counts.max())))
        self._image.set_extent((-half, half, half, -half))
        self._axes.set(xlim=(-half, half), ylim=(half, -half))
        self._axes.set_xlabel("x and y about their means, " + ("µm" if facts.pixel_um else "pixels"))


class Spectrum:
    """Power spectrum of the position, averaged in logarithmic bins; line: the fitted corner."""

    def __init__(self, figure: Figure, rectangle: Rectangle) -> None:
        self.rectangle, self.dirty = rectangle, True
        self._axes = style.make_axes(figure, rectangle, "Power spectrum")
        self._style: dict[str, Any] = {"loc": "left", "fontsize": style.NORMAL, "color": style.TEXT, "pad": 4}
        self.axes = [self._axes]
        self._axes.set(xscale="log", yscale="log")
        self._axes.set_xlabel("Hz")
        self._points = [
            self._axes.plot([], [], "o", ms=3, color=colour, label=name)[0]
            for name, colour in (("x", style.ACCENT), ("y", style.SECOND))
        ]
        self._corner = self._axes.axvline(1.0, color=style.AMBER, lw=1, visible=False)
        self.moving: list[Artist] = [*self._points, self._corner]

    def update(self, trap: Trap, facts: Facts) -> None:
        self._axes.set_title(f"Power spectrum, {'µm²' if facts.pixel_um else 'px²'}/Hz", **self._style)
        low, high, ends = math.inf, 0.0, (1.0, 10.0)
        self.dirty = True
        for line, values in zip(self._points, (trap.x, trap.y)):
            stretch = longest_stretch(values) if len(values) else values
            if len(stretch) < FEWEST:
                line.set_data([], [])
                continue
            f, power = periodogram(stretch, trap.camera.dt_s)
            edges = np.geomspace(f[0], f[-1] * 1.001, 40)
            number = np.digitize(f, edges)
            there = np.unique(number)
            fs = np.array([f[number == n].mean() for n in there])
            ps = np.array([power[number == n].mean() for n in there])
            line.set_data(fs, ps)
            low, high, ends = min(low, float(ps.min())), max(high, float(ps.max())), (float(f[0]), float(f[-1]))
        corner = next((one for one in trap.found.get("x", []) if one.method == "power spectrum"), None)
        self._corner.set_visible(corner is not None)
        if corner is not None:
            self._corner.set_xdata([corner.corner_hz] * 2)
        if high > 0:
            self._axes.set_xlim(ends[0] / 1.2, ends[1] * 1.2)
            self._axes.set_ylim(measures.sticky(self._axes.get_ylim(), low, high, logarithmic=True))


class TrapWords:
    """The numbers."""

    def __init__(self, figure: Figure, rectangle: Rectangle) -> None:
        self.rectangle, self.dirty = rectangle, True
        left, bottom, width, height = rectangle
        self._axes = style.make_blank(figure, (left + 0.012, bottom + 0.01, width - 0.024, height - 0.02))
        self.axes = [self._axes]
        title = Words(self._axes, 0, 0.99, "Trap of the chosen particle")
        self._words = Words(self._axes, 0, 0.87, face="mono", size=8, spacing=1.6)
        self.moving: list[Artist] = [title, self._words]

    def update(self, trap: Trap) -> None:
        self._words.set_text(trap.words())
        self.dirty = True


class TimeTrace:
    """x and y of the particle over the last frames, about their means."""

    def __init__(self, figure: Figure, rectangle: Rectangle) -> None:
        self.rectangle, self.dirty = rectangle, True
        self._axes = style.make_axes(figure, rectangle, "Position over time")
        self._style: dict[str, Any] = {"loc": "left", "fontsize": style.NORMAL, "color": style.TEXT, "pad": 4}
        self.axes = [self._axes]
        self._axes.set_xlabel("s")
        self._axes.xaxis.set_major_locator(MaxNLocator(5))
        self._lines = [self._axes.plot([], [], lw=0.8, color=colour)[0] for colour in (style.ACCENT, style.SECOND)]
        self.moving: list[Artist] = list(self._lines)

    def update(self, trap: Trap, facts: Facts) -> None:
        unit = "µm" if facts.pixel_um else "pixels"
        self._axes.set_title(f"Position over time, {unit}", **self._style)
        most = 0.0
        self.dirty = True
        for line, values in zip(self._lines, (trap.x, trap.y)):
            about = values - np.nanmean(values) if len(values) else values
            t = (np.arange(len(about)) - len(about)) * trap.camera.dt_s
            line.set_data(t, about)
            if len(about):
                most = max(most, float(np.nanmax(np.abs(about))))
                self._axes.set_xlim(-measures.span_of(-float(t[0])), 0)
        if most > 0:
            self._axes.set_ylim(measures.sticky(self._axes.get_ylim(), -most, most))
