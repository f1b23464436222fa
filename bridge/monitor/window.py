"""The monitor: one window on one feed, driven by a timer; or the same without a window, into files.

At each tick the newest picture is painted if there is one, and one other panel that is due. So a slow screen sees fewer
pictures and never old ones, and nothing waits for it.

Keys: o overlay, t trails, c crosshair, space freeze, 0 fit, + and - zoom, a levels follow the picture (or stay), l no
line cut, s save what the window shows, 1 2 3 tabs. Mouse: wheel zooms, left button drags or chooses a particle, right
button draws a line cut.
"""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bridge.client import Settings
from bridge.monitor import style
from bridge.monitor.controls import Act
from bridge.monitor.feed import Connection, Feed
from bridge.monitor.memory import Memory
from bridge.monitor.screen import TABS, Screen

SIZE_INCHES, DPI = (15.6, 9.4), 100
TICK_MS = 15
PANEL_EVERY_S = 0.06
CLICK_PX = 4.0
PROPOSED_S = 4.0
NEXT_FRAMES = 200


class Monitor:
    """See the module. `figure` has a canvas of the Agg kind."""

    def __init__(self, figure: Figure, feed: Feed, folder: Path) -> None:
        """`folder`: where CSV files and pictures are saved."""
        self.feed, self.memory, self._folder = feed, Memory(), folder
        self.frozen = False
        canvas: Any = figure.canvas
        self._shown: deque[float] = deque(maxlen=120)
        self.pictures = 0
        self._panel_due = self._figures_due = self._proposed_until = 0.0
        self._drag: tuple[float, float, float, float] | None = None
        self._known: Settings | None = None
        settings: dict[str, Act] = {"Preview": self.preview, "Apply": self.apply, "Undo": self.undo}
        acts: dict[str, Act] = {
            "Overlay": self.toggle_overlay, "Trails": self.toggle_trails, "Crosshair": self.toggle_crosshair,
            "Freeze": self.toggle_freeze, "Fit": self.fit, "Levels follow": self.toggle_levels,
            "Record": self.record, "Save ring": self.save_ring, f"Save next {NEXT_FRAMES}": self.save_next,
            "Export CSV": self.export_csv, "Save PNG": self.save_png, "Clear": self.clear,
        }  # fmt: skip
        self.screen = Screen(figure, settings, acts, self._picture_sliders)
        self.screen.buttons.lit("Overlay", True)
        self.screen.buttons.lit("Levels follow", True)
        for name, act in (
            ("button_press_event", self._pressed), ("button_release_event", self._released),
            ("motion_notify_event", self._moved), ("scroll_event", self._scrolled), ("key_press_event", self._key),
        ):  # fmt: skip
            canvas.mpl_connect(name, act)

    # ---- the tick

    def tick(self) -> None:
        """Take what has come, and paint what there is time for."""
        screen, now = self.screen, time.monotonic()
        self.feed.deliver()
        for result in self.feed.results():
            self.memory.add(result.frame, result.rows)
        facts = self.feed.facts
        if facts.settings is not None and facts.settings is not self._known:
            self._known = facts.settings
            screen.settings.fill(facts.settings)
        if now >= self._figures_due and facts.metrics:
            self._figures_due = now + 0.5
            m = facts.metrics
            self.memory.add_figures(m["seconds"], m["process_rate"], m["track_count"])
        recorded = self._take_state() == "on"
        screen.buttons.lit("Record", recorded, "Stop record" if recorded else "Record", style.RED)
        self._take_picture(now)
        if self._proposed_until and now > self._proposed_until:
            self._proposed_until = 0.0
            screen.image.propose(None)
        if screen.image.dirty:
            screen.image.prepare(self.warning())
            screen.painter.paint(screen.image)
        if now >= self._panel_due and not self.frozen:
            self._panel_due = now + PANEL_EVERY_S
            screen.refresh_next(self.memory, facts, self.feed.connection(), self.shown_per_s)
        screen.painter.paint_dirty()

    def _take_picture(self, now: float) -> None:
        picture, image = self.feed.picture(), self.screen.image
        facts = self.feed.facts
        image.shape_hw, image.pixel_um = facts.shape_hw, facts.pixel_um
        most_px, region = image.wanted()
        view = self.feed.view
        view.most_px, view.region, view.paused = most_px, region, self.frozen
        if picture is None or self.frozen:
            return
        image.show(picture, self.memory.trails() if image.show_trails else {})
        if not self._shown or int(now * 2) != int(self._shown[-1] * 2):
            seen_as = (picture.step, picture.corner_yx, picture.pixels.shape)
            self.memory.add_focus(now, picture.rows, picture.pixels, seen_as)
        self._shown.append(now)
        self.pictures += 1

    @property
    def shown_per_s(self) -> float:
        """Pictures a second, over the last two seconds."""
        now = time.monotonic()
        return sum(1 for t in self._shown if now - t < 2.0) / 2.0

    def warning(self) -> str:
        """Red words on the picture: what is simulated, frozen or stale is never taken for live."""
        facts = self.feed.facts
        words = [word for word, is_so in (("RECORDED", facts.recorded), ("SIMULATED", facts.simulated)) if is_so]
        connection = self.feed.connection()
        if self.frozen:
            words.append("FROZEN")
        elif connection is not Connection.LIVE:
            words.append(connection.value.upper())
        return "  ·  ".join(words)

    def snapshot(self) -> NDArray[np.uint8]:
        """Everything brought up to date and drawn: `(height, width, 4)`, for files."""
        screen = self.screen
        screen.refresh_all(self.memory, self.feed.facts, self.feed.connection(), self.shown_per_s)
        screen.image.prepare(self.warning())
        screen.painter.start()
        return screen.painter.picture()

    # ---- what buttons and keys do

    def toggle_overlay(self) -> None:
        image = self.screen.image
        image.overlay = not image.overlay
        self.screen.buttons.lit("Overlay", image.overlay)
        self._again()

    def toggle_trails(self) -> None:
        image = self.screen.image
        image.show_trails = not image.show_trails
        self.screen.buttons.lit("Trails", image.show_trails)
        self._again()

    def toggle_crosshair(self) -> None:
        image = self.screen.image
        image.crosshair = not image.crosshair
        self.screen.buttons.lit("Crosshair", image.crosshair)
        image.dirty = True

    def toggle_freeze(self) -> None:
        """Stop the picture and all panels; the run does not notice."""
        self.frozen = not self.frozen
        self.screen.buttons.lit("Freeze", self.frozen)
        self.screen.image.dirty = True

    def fit(self) -> None:
        self.screen.image.fit()

    def toggle_levels(self) -> None:
        """Black and white follow each picture, or stay where they are."""
        image = self.screen.image
        image.levels = None if image.levels else image._followed
        self.screen.buttons.lit("Levels follow", image.levels is None)
        image.redraw_pixels()

    def clear(self) -> None:
        """Forget trails, histories and statistics; never data."""
        self.memory.clear()
        self._say("trails and statistics are cleared; nothing of the run")

    def preview(self) -> None:
        """Show what the newest frame would have with the pending settings."""
        values = {key.partition(".")[2]: v for key, v in self.screen.settings.pending.items() if "tracking." in key}

        def shown(rows: Any, error: str) -> None:
            if error:
                self._say(error, wrong=True)
                return
            self.screen.image.propose(rows)
            self._proposed_until = time.monotonic() + PROPOSED_S
            self._say(f"preview: {len(rows)} particles (amber squares)")

        self.feed.ask(lambda client: client.preview(values), shown)

    def apply(self) -> None:
        """Put the pending settings into force."""
        values = dict(self.screen.settings.pending)
        if not values:
            self._say("nothing is changed: move a slider or type into a field")
            return
        self.feed.ask(lambda client: client.configure(values), self._set)

    def undo(self) -> None:
        self.feed.ask(lambda client: client.undo(), self._set)

    def _set(self, settings: Any, error: str) -> None:
        if error:
            self._say(error, wrong=True)
            return
        self._known = self.feed.facts.settings = settings
        self.screen.settings.fill(settings, force=True)
        when = "the next frame" if settings.from_frame is None else f"frame {settings.from_frame}"
        self._say(f"settings version {settings.version}, from {when} on")

    def record(self) -> None:
        """Begin a take, or end the one that is going on."""
        action = "stop" if self._take_state() == "on" else "start"
        self._ask(lambda client: client.record(action), lambda take: f"take {take['take']}: {take['state']}")

    def _take_state(self) -> str:
        return str((self.feed.facts.metrics.get("recording") or {}).get("state", "off"))

    def save_ring(self) -> None:
        """All frames that are in the ring now, as one BigTIFF in the run's folder."""
        self._save_stack(0)

    def save_next(self) -> None:
        self._save_stack(NEXT_FRAMES)

    def _save_stack(self, count: int) -> None:
        name = time.strftime("stack_%H%M%S")
        self._ask(lambda client: client.save_stack(name, count), lambda path: f"the run writes {path}")

    def export_csv(self) -> None:
        """The rows that the window remembers."""
        kept = self.memory.frames
        if not kept:
            self._say("there is nothing to export yet", wrong=True)
            return
        try:
            path = self._new_file(f"tracks_{kept[0][0]}_{kept[-1][0]}.csv")
            rows = self.memory.write_csv(path)
        except OSError as error:
            self._say(self._unwritten(error), wrong=True)
            return
        self._say(f"{rows} rows of frames {kept[0][0]} to {kept[-1][0]} are in {path}")

    def save_png(self) -> None:
        """What the window shows."""
        from PIL import Image as Pillow

        try:
            path = self._new_file(f"monitor_{max(0, self.screen.frame):09d}.png")
            Pillow.fromarray(self.screen.painter.picture()).convert("RGB").save(path)
        except OSError as error:
            self._say(self._unwritten(error), wrong=True)
            return
        self._say(f"saved {path}")

    def _unwritten(self, error: OSError) -> str:
        return f"nothing can be written into {self._folder.absolute()}: {error.strerror or error}"

    def _ask(self, what: Any, words: Any) -> None:
        def then(result: Any, error: str) -> None:
            self._say(error or words(result), wrong=bool(error))

        self.feed.ask(what, then)

    def _say(self, words: str, wrong: bool = False) -> None:
        self.screen.log.say(words, wrong)
        self.screen.log.update(self.feed.facts.log)

    def _new_file(self, name: str) -> Path:
        """A path that is not there yet."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path, number = self._folder / name, 1
        while path.exists():
            number += 1
            path = self._folder / f"{Path(name).stem}_{number}{Path(name).suffix}"
        return path

    def _again(self) -> None:
        image = self.screen.image
        if image.image is not None:
            image.show(image.image, self.memory.trails() if image.show_trails else {})

    def _picture_sliders(self, brightness: float, contrast: float) -> None:
        image = self.screen.image
        image.brightness, image.contrast = brightness, contrast
        image.redraw_pixels()

    # ---- mouse and keys

    def _pressed(self, event: Any) -> None:
        settings, image = self.screen.settings, self.screen.image
        for field in settings.fields.values():
            field.click(event.inaxes is field.axes)
        settings.dirty = True
        if event.inaxes is not image.axes[0]:
            return
        if event.button == 1:
            self._drag = event.x, event.y, event.x, event.y
        elif event.button == 3:
            image.cut = ((event.xdata, event.ydata), (event.xdata, event.ydata))
            image.dirty = True

    def _moved(self, event: Any) -> None:
        image = self.screen.image
        inside = event.inaxes is image.axes[0]
        image.cursor_xy = (event.xdata, event.ydata) if inside else None
        image.dirty = True
        if self._drag is not None:
            x0, y0, x, y = self._drag
            if np.hypot(event.x - x0, event.y - y0) > CLICK_PX:
                image.pan(event.x - x, event.y - y)
            self._drag = x0, y0, event.x, event.y
        elif event.button == 3 and inside and image.cut is not None:
            image.cut = image.cut[0], (event.xdata, event.ydata)
            self.screen.cut.update(image)

    def _released(self, event: Any) -> None:
        image, drag, self._drag = self.screen.image, self._drag, None
        if event.button == 3 and image.cut is not None and image.cut[0] == image.cut[1]:
            image.cut = None
        if drag is None or event.inaxes is not image.axes[0]:
            return
        if np.hypot(event.x - drag[0], event.y - drag[1]) <= CLICK_PX:
            image.chosen = image.particle_at(event.xdata, event.ydata)
            self._again()

    def _scrolled(self, event: Any) -> None:
        if event.inaxes is self.screen.image.axes[0]:
            self.screen.image.zoom(event.xdata, event.ydata, 1.25 if event.button == "up" else 0.8)

    def _key(self, event: Any) -> None:
        key, typing = event.key or "", self.screen.settings.typing
        if typing is not None:
            typing.key(key)
            self.screen.settings.dirty = True
            return
        image = self.screen.image
        acts = {
            "o": self.toggle_overlay, "t": self.toggle_trails, "c": self.toggle_crosshair, " ": self.toggle_freeze,
            "0": self.fit, "a": self.toggle_levels, "s": self.save_png,
        }  # fmt: skip
        if key in acts:
            acts[key]()
        elif key in ("+", "-"):
            x0, x1, y0, y1 = image.limits()
            image.zoom((x0 + x1) / 2, (y0 + y1) / 2, 1.25 if key == "+" else 0.8)
        elif key == "l":
            image.cut = None
            image.dirty = True
            self.screen.cut.update(image)
        elif key in ("1", "2", "3"):
            self.screen.choose(TABS[int(key) - 1])
