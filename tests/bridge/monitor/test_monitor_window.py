"""The monitor without a run: pictures in, pixels out; mouse and keys as a window gives them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from matplotlib.backend_bases import KeyEvent, MouseEvent
from PIL import Image

import bridge.monitor.feed
import bridge.monitor.show
from bridge.client import Settings
from bridge.monitor.feed import Connection
from bridge.monitor.show import without_window, write_film, write_pictures
from bridge.monitor.window import Monitor
from engine import cli
from engine.cli import monitor as monitor_command
from engine.errors import MachineError, SettingsError
from engine.experiment import Linking, Tracking
from tests.bridge.monitor.made_feed import SHAPE, MadeFeed

AMBER, RED = (232, 163, 61), (255, 40, 40)


class MadeShown(MadeFeed):
    """A feed that has a picture already."""

    def __init__(self) -> None:
        super().__init__()
        self.give(3, [(50, 60)])


class Operator:
    """Does with a monitor what people do."""

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self.canvas: Any = monitor.screen.painter.figure.canvas

    def screen_xy(self, x: float, y: float) -> tuple[float, float]:
        """Where a camera pixel is in the window."""
        at = self.monitor.screen.image.axes[0].transData.transform((x, y))
        return float(at[0]), float(at[1])

    def mouse(self, kind: str, at: tuple[float, float], button: Any = None, **more: Any) -> None:
        event = MouseEvent(kind, self.canvas, *at, button=button, **more)
        self.canvas.callbacks.process(kind, event)

    def click(self, at: tuple[float, float], button: int = 1) -> None:
        self.mouse("button_press_event", at, button)
        self.mouse("button_release_event", at, button)
        self.monitor.tick()

    def press(self, button: Any) -> None:
        """A button of the window, by the mouse."""
        box = button.ax.get_window_extent()
        self.click(((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2))

    def drag(self, a: tuple[float, float], b: tuple[float, float], button: int) -> None:
        self.mouse("button_press_event", a, button)
        self.mouse("motion_notify_event", b, button)
        self.mouse("button_release_event", b, button)
        self.monitor.tick()

    def keys(self, *names: str) -> None:
        for name in names:
            self.canvas.callbacks.process("key_press_event", KeyEvent("key_press_event", self.canvas, name))
        self.monitor.tick()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[MadeFeed, Monitor]:
    """A window takes a second to make: all tests here use one, each with a frame of its own."""
    feed = MadeFeed()
    monitor = without_window(feed, tmp_path_factory.mktemp("monitor"))
    figure = monitor.screen.painter.figure  # matplotlib keeps the files of its letters open: open them all now
    figure.text(0, 0, "$x^{-1}$ \ue000", style="italic").draw(figure.canvas.get_renderer())
    return feed, monitor


@pytest.fixture
def looking(shared: tuple[MadeFeed, Monitor]) -> Iterator[tuple[MadeFeed, Monitor, Operator]]:
    feed, monitor = shared
    monitor.memory.clear()
    monitor.frozen = False
    monitor.screen.image.chosen = monitor.screen.image.cut = None
    monitor.screen.image.fit()
    feed.give(7, [(50, 60), (210, 120)])
    monitor.tick()
    yield feed, monitor, Operator(monitor)
    monitor.screen.choose("Run")


Looking = tuple[MadeFeed, Monitor, Operator]


def _near(picture: Any, at: tuple[float, float], half: int = 16) -> Any:
    """Colours around a place of the window, as `(n, 3)`."""
    row, column = picture.shape[0] - int(at[1]), int(at[0])
    part = picture[max(0, row - half) : row + half, max(0, column - half) : column + half, :3]
    return part.reshape(-1, 3).astype(int)


def _has(colours: Any, colour: tuple[int, int, int], tolerance: int = 60) -> bool:
    return bool((np.abs(colours - colour).sum(axis=1) < tolerance).any())


def test_particles_are_marked_where_they_are(looking: Looking) -> None:
    _, monitor, operator = looking
    picture = monitor.screen.painter.picture()
    accent = (83, 184, 165)
    for x, y in ((50, 60), (210, 120)):
        assert _has(_near(picture, operator.screen_xy(x, y)), accent)
        assert _near(picture, operator.screen_xy(x, y), 3).min() > 200  # the bead itself is white
    assert not _has(_near(picture, operator.screen_xy(120, 180)), accent)


def test_saturated_pixels_are_red(looking: Looking) -> None:
    feed, monitor, operator = looking
    pixels = np.full(SHAPE, 100, np.uint16)
    pixels[100:104, 150:154] = 4095
    feed.give(8, [], pixels)
    monitor.tick()
    picture = monitor.screen.painter.picture()
    assert _has(_near(picture, operator.screen_xy(151.5, 101.5), 2), RED, 10)


def test_what_is_under_the_cursor_is_said_in_pixels_micrometres_and_counts(looking: Looking) -> None:
    _, monitor, operator = looking
    operator.mouse("motion_notify_event", operator.screen_xy(50, 60))
    said = monitor.screen.image.under()
    for part in ("x    50.0", "y    60.0 px", "5.00, 6.00 µm", "900 counts"):
        assert part in said


def test_the_wheel_zooms_about_the_cursor_and_a_region_is_asked_for(looking: Looking) -> None:
    feed, monitor, operator = looking
    at = operator.screen_xy(210, 120)
    for _ in range(8):
        operator.mouse("scroll_event", at, step=1)
    monitor.tick()
    assert operator.screen_xy(210, 120) == pytest.approx(at, abs=1.5)
    monitor.tick()
    y0, y1, x0, x1 = feed.view.region
    assert y0 <= 120 <= y1 < SHAPE[0] + 1
    assert 0 < x0 <= 210 <= x1
    operator.keys("0")
    monitor.tick()
    assert feed.view.region is None


def test_a_click_chooses_a_particle_and_a_right_drag_draws_a_line_cut(looking: Looking) -> None:
    _, monitor, operator = looking
    operator.click(operator.screen_xy(51, 61))
    assert monitor.screen.image.chosen == 0
    assert _has(_near(monitor.screen.painter.picture(), operator.screen_xy(50, 60)), AMBER)
    operator.drag(operator.screen_xy(30, 60), operator.screen_xy(70, 60), button=3)
    along, counts = monitor.screen.image.profile()
    assert along[-1] == pytest.approx(40, abs=0.5)
    assert counts.max() == 900
    assert counts[0] == counts[-1] == 100
    operator.keys("l")
    assert monitor.screen.image.profile() is None


def test_frozen_and_stale_pictures_say_so_in_red(looking: Looking) -> None:
    feed, monitor, operator = looking
    assert monitor.warning() == "SIMULATED"
    feed.state = Connection.STALE
    assert "STALE: NO NEW FRAME" in monitor.warning()
    feed.state = Connection.LIVE
    operator.keys(" ")
    assert "FROZEN" in monitor.warning()
    feed.give(9, [(1, 1)])
    monitor.tick()
    assert monitor.screen.frame == 7
    assert feed.view.paused
    operator.keys(" ")


def test_a_slider_and_a_field_are_pending_until_apply(looking: Looking) -> None:
    feed, monitor, operator = looking
    settings = monitor.screen.settings
    asked: list[dict[str, Any]] = []

    class Run:
        def configure(self, values: dict[str, Any]) -> Settings:
            asked.append(values)
            if values.get("tracking.diameter") == 20:
                raise SettingsError("tracking.diameter: 20 is even")
            return Settings(2, Tracking(diameter=13, separation=12, minmass=400.0), Linking(), 1, 12)

        def undo(self) -> Settings:
            return Settings(3, Tracking(diameter=11, separation=12), Linking(), None, 20)

    feed.client = Run()
    field = settings.fields["tracking.diameter"]
    box = field.axes.get_window_extent()
    operator.click(((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2))
    operator.keys("backspace", "backspace", "2", "0", "enter")
    assert settings.pending == {"tracking.diameter": 20}
    operator.press(settings.button("Apply"))
    monitor.tick()
    assert "20 is even" in monitor.screen.log._own[-1][2]
    operator.click(((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2))
    operator.keys("backspace", "backspace", "1", "3", "enter")
    track = settings.minmass.ax.get_window_extent()
    operator.click((track.x0 + 0.434 * track.width, (track.y0 + track.y1) / 2))
    assert settings.pending["tracking.minmass"] == pytest.approx(400, rel=0.05)
    operator.press(settings.button("Apply"))
    monitor.tick()
    assert asked[-1].keys() == {"tracking.diameter", "tracking.minmass"}
    assert "version 2, from frame 12" in monitor.screen.log._own[-1][2]
    assert settings.pending == {}
    assert field.value == "13"
    operator.press(settings.button("Undo"))
    monitor.tick()
    assert field.value == "11"


def test_every_tab_draws_something_of_a_run(looking: Looking) -> None:
    feed, monitor, operator = looking
    rng = np.random.default_rng(3)
    for frame in range(8, 408):
        feed.give(frame, [(50 + rng.normal(), 60 + rng.normal()), (210 + frame * 0.02, 120)])
    feed.facts.metrics["seconds"] += 5
    monitor.tick()
    operator.click(operator.screen_xy(50, 60))
    seen = {}
    for key, tab in (("1", "Run"), ("2", "Motion"), ("3", "Trap")):
        operator.keys(key)
        seen[tab] = monitor.snapshot()[:, :, :3]
    for a, b in (("Run", "Motion"), ("Motion", "Trap")):
        different = (np.abs(seen[a].astype(int) - seen[b]).sum(axis=2) > 60).mean()
        assert different > 0.01
    assert "exponent" in monitor.screen.displacement._words.get_text()
    words = monitor.screen.words._words.get_text()
    assert "400 positions" in words or "401 positions" in words
    assert "kx" in words


def test_without_a_window_there_is_a_film(tmp_path: Path) -> None:
    feed, zooms = MadeFeed(), []

    def prepare(monitor: Monitor) -> None:
        zooms.append(monitor.screen.image.scale)
        monitor.screen.image.zoom(50, 60, 2)
        if len(zooms) == 2:
            feed.state = Connection.ENDED

    feed.give(3, [(50, 60)])
    assert write_film(feed, tmp_path / "film.gif", prepare=prepare, fps=20) == 3
    with Image.open(tmp_path / "film.gif") as film:
        assert (film.size, film.n_frames) == ((1560, 940), 3)
    with pytest.raises(MachineError, match=r"film\.gif or \.webp"), mock.patch.dict(sys.modules, {"av": None}):
        write_film(feed, tmp_path / "film.mp4")


def test_a_film_that_is_held_in_memory_ends_and_says_so_and_ctrl_c_leaves_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bridge.monitor.show, "MOST_HELD", 2)
    feed, said = MadeFeed(), []
    feed.give(3, [(50, 60)])
    assert write_film(feed, tmp_path / "film.gif", fps=50, said=said.append) == 2
    assert "film.gif ends after 2 pictures" in said[0]

    class Interrupted(MadeFeed):
        def deliver(self) -> None:
            looks.append(1)
            if len(looks) == 2:
                signal.raise_signal(signal.SIGINT)

    looks: list[int] = []
    feed = Interrupted()
    feed.give(3, [(50, 60)])
    monkeypatch.setattr(monitor_command, "_feed", lambda *_: feed)
    monkeypatch.setattr(bridge.monitor.show, "MOST_HELD", 1000)
    assert cli.status_of(["monitor", "--save", str(tmp_path / "cut.gif"), "--seconds", "30"]) == 0
    for name in ("film.gif", "cut.gif"):
        with Image.open(tmp_path / name) as film:
            assert film.size == (1560, 940)
    assert cli.status_of(["monitor", "--save", str(tmp_path / "nowhere" / "film.gif")]) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_what_cannot_be_written_is_said(looking: Looking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    feed, monitor, operator = looking
    (tmp_path / "file").touch()
    monkeypatch.setattr(monitor, "_folder", tmp_path / "file")
    for button in ("Export CSV", "Save PNG"):
        operator.press(monitor.screen.buttons.button(button))
        assert f"nothing can be written into {tmp_path / 'file'}" in monitor.screen.log._own[-1][2]
    feed.state = Connection.LIVE
    with pytest.raises(MachineError, match="cannot be written"):
        write_pictures(MadeShown(), tmp_path / "file", 0.1)


def test_pictures_of_a_dead_address_end_with_3(
    shared: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del shared  # its letters are open already
    monkeypatch.setattr(bridge.monitor.feed, "ANSWER_S", 0.1)
    monkeypatch.setattr(bridge.monitor.show, "SILENCE_S", 0.4)  # without --seconds it would wait for this long
    assert cli.status_of(["monitor", "tcp://127.0.0.1:9", "--png", "every 50ms", "--out", str(tmp_path)]) == 3
    said = capsys.readouterr().err
    assert "no picture" in said
    assert "tcp://127.0.0.1:9 has not answered" in said
    assert not list(tmp_path.iterdir())


def test_a_film_is_mp4_where_that_is_asked_for(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    feed, shown = MadeFeed(), []

    def prepare(monitor: Monitor) -> None:
        shown.append(monitor.snapshot()[:, :, :3])
        if len(shown) == 3:
            feed.state = Connection.ENDED

    feed.give(3, [(50, 60)])
    written = write_film(feed, tmp_path / "film.mp4", prepare=prepare, fps=20)
    with av.open(str(tmp_path / "film.mp4")) as film:
        pictures = [each.to_ndarray(format="rgb24") for each in film.decode(video=0)]
    assert len(pictures) == written >= 3
    assert pictures[0].shape == (940, 1560, 3)
    difference = np.abs(pictures[-1].astype(int) - shown[-1][:940, :1560])
    assert difference.mean() < 4


def test_clear_forgets_and_export_writes_what_was_seen(looking: Looking) -> None:
    _, monitor, operator = looking
    operator.press(monitor.screen.buttons.button("Export CSV"))
    (table,) = monitor._folder.glob("tracks_*.csv")
    assert len(table.read_text().splitlines()) == 3
    operator.press(monitor.screen.buttons.button("Save PNG"))
    assert list(monitor._folder.glob("monitor_000000007*.png"))
    operator.press(monitor.screen.buttons.button("Clear"))
    assert monitor.memory.newest == -1
