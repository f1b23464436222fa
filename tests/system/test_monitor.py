"""The monitor's window on a run, on a display in memory (Xvfb): mouse and keys are those of Tk and Qt themselves."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.system.running import Ended, Laboratory, wait_until

HAS_DISPLAY = shutil.which("Xvfb") is not None and importlib.util.find_spec("tkinter") is not None
HAS_QT = importlib.util.find_spec("PySide6") is not None
SHOTS = os.environ.get("RINGTRACK_SCREENSHOTS")
SECTIONS: dict[str, dict[str, Any]] = {
    "camera": {"width": 400, "height": 300, "fps": 50.0, "pixel_um": 0.1},
    "tracking": {"diameter": 11, "separation": 12, "minmass": 300.0, "max_ecc": 0.0},
}


@contextmanager
def _display() -> Iterator[str]:
    """A display in memory; its name."""
    reading, writing = os.pipe()
    # -noreset: whoever asks while the server begins anew, as it would after its last client, is turned away.
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1920x1080x24", "-nolisten", "tcp", "-noreset"],
        pass_fds=[writing], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(writing)
    try:
        with os.fdopen(reading) as said:
            yield f":{said.readline().strip()}"
    finally:
        server.terminate()
        server.wait(10)


def _drive(kind: str, address: str, folder: Path, **environ: str) -> Any:
    folder.mkdir()
    return subprocess.Popen(
        [sys.executable, "-m", "tests.system.monitor_driver", kind, address, str(folder)],
        env={**os.environ, **environ}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip


def _facts(process: Any) -> dict[str, Any]:
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    parsed: dict[str, Any] = json.loads(out)
    return parsed


class Story:
    """One run that a window of each toolkit looked at."""

    tk: dict[str, Any]
    qt: dict[str, Any]
    ended: Ended
    folder: Path


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    if not HAS_DISPLAY:
        pytest.skip("NOT TESTED: the monitor's window (no Xvfb, or no tkinter: scripts/debian-tools.sh)")
    story = Story()
    story.folder = tmp_path_factory.mktemp("monitor")
    lab = Laboratory(story.folder)
    settings = lab.settings(SECTIONS)
    with lab.started(settings, "--source", "simulated?beads=25&frames=1000000", "--fps", "50") as run, _display() as x:
        wait_until(lambda: run.published > 5, "frames")
        log = run.folder / "log.jsonl"
        said = wait_until(lambda: [a for a in log.read_text().split('"') if "answered at tcp://" in a], "the address")
        address = said[0].rpartition(" ")[2]
        tk = _drive("tk", address, story.folder / "tk", DISPLAY=x)
        if HAS_QT:  # at the same time: a run has as many windows as people want
            story.qt = _facts(_drive("qt", address, story.folder / "qt", QT_QPA_PLATFORM="offscreen", DISPLAY=x))
        tk.send_signal(signal.SIGSTOP)  # a window that hangs is nobody's business but its own
        before = run.published
        wait_until(lambda: run.published > before + 30, "frames, though a window does not move")
        tk.send_signal(signal.SIGCONT)
        story.tk = _facts(tk)
        story.ended = run.stop()
    return story


def test_what_is_typed_and_slid_is_in_the_data_from_a_stated_version_on(story: Story) -> None:
    assert story.tk["pending"] == {"tracking.separation": 13}
    frames = story.ended.record.frames_table
    assert frames.loc[frames["settings"] == story.tk["applied"], "rows"].max() == 0
    assert frames.loc[frames["settings"] == story.tk["undone"], "rows"].min() > 0
    events = story.ended.record.events
    said = {e["version"]: e for e in map(json.loads, events.loc[events["kind"] == "settings", "json"])}
    assert said[2]["tracking"]["separation"] == 13
    assert said[2]["tracking"]["minmass"] > 100_000


def test_the_display_shows_the_window_with_particles_marked(story: Story) -> None:
    assert story.tk["overlay"] > 200
    assert story.tk["pictures"] > 3  # the rate is measured in perf
    assert "SIMULATED" in story.tk["warning"]
    for tab in ("run", "motion", "trap"):
        shot = np.asarray(Image.open(story.folder / "tk" / f"monitor-{tab}.png").convert("RGB")).astype(int)
        assert (np.abs(shot - (83, 184, 165)).sum(axis=2) < 30).sum() > 500  # marks and curves
        assert (np.abs(shot - (255, 77, 77)).sum(axis=2) < 60).sum() > 50  # "SIMULATED"
        if SHOTS:
            shutil.copy(story.folder / "tk" / f"monitor-{tab}.png", SHOTS)


def test_qt_does_the_same(story: Story) -> None:
    if not HAS_QT:
        pytest.skip("NOT TESTED: the monitor's window with Qt (pip install PySide6-Essentials)")
    assert story.qt["pictures"] > 3
    assert len(list((story.folder / "qt").glob("monitor_*.png"))) == 3
    assert [story.qt[f"tab {tab}"] for tab in ("Motion", "Trap", "Run")] == ["Motion", "Trap", "Run"]


def test_no_frame_was_lost_because_somebody_looked(story: Story) -> None:
    assert story.ended.status == 0
    assert story.ended.summary["frames_lost"] == 0


def test_a_finished_run_is_shown_as_it_went(story: Story) -> None:
    lab = Laboratory(story.folder)
    shown = lab.command(
        "monitor", "latest", "--data", story.ended.folder.parents[1], "--png", "every", "400ms", "--seconds", "1.2",
        "--speed", "4", "--out", story.folder / "pictures",
    )  # fmt: skip
    assert shown.status == 0, shown.stderr
    assert len(list((story.folder / "pictures").glob("monitor_*.png"))) >= 2


def test_without_a_desktop_the_other_ways_are_named(lab: Laboratory) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        lab.environment.pop(name, None)
    told = lab.command("monitor", "tcp://127.0.0.1:9")
    assert told.status == 3
    assert "--png every 5s" in told.stderr
    lost = lab.command("monitor", "nowhere")
    assert (lost.status, "no address (tcp://host:50053), and no run" in lost.stderr) == (2, True)
    if HAS_DISPLAY:
        lab.environment["DISPLAY"] = ":9999"  # as it is left by a session that has ended
        told = lab.command("monitor", "tcp://127.0.0.1:9")
        assert (told.status, "no window can be opened on the desktop :9999" in told.stderr) == (3, True)
