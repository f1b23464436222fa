"""The supervisor killed, told to stop, and told twice."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from recorders import Run, h5clear
from recorders.inspect import inspect
from tests.system.faults import (
    SMALL,
    everybody,
    lost_numbers,
    lost_rows,
    names_in_shm,
    reached,
    small,
    target,
    undisturbed,
)
from tests.system.running import Ended, Laboratory, Running, wait_until

GONE_WITHIN_S = 2.0
CAMERA = "simulated?beads=20&fps=60&loop=16&sigma_px=2.5"
SETTINGS: dict[str, dict[str, Any]] = {
    **SMALL,
    "ring": {"seconds": 2.0, "max_particles": 512},
}


def log_of(run: Running) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]


def has_phase(run: Running, phase: str) -> bool:
    return any(line.get("event") == "phase" and line["message"] == phase for line in log_of(run))


def killed_supervisor(lab: Laboratory, source: str | Path, with_recorder: bool) -> tuple[str, Path, list[str], float]:
    """Run id, folder and segments of a run whose supervisor was killed, and after how long all others were gone."""
    with lab.started(lab.settings(SETTINGS), "--source", source, "--fps", "60") as run:
        reached(run, 40)
        # Something is in the file, so that there is something to be whole.
        wait_until(lambda: run.rings.block("hdf5").counters().get("flushes", 0) >= 2, "the recorder to have flushed")
        lives = everybody(run)
        try:
            assert len(lives) == len(run.plan.processes)
            if with_recorder:
                next(life for life in lives if life.name == "hdf5").signal(signal.SIGKILL)
            run.process.kill()
            run.process.wait()
            began = time.monotonic()
            for life in lives:
                life.wait()
            took = time.monotonic() - began
        finally:
            for life in lives:
                life.close()
        return run.plan.run_id, run.folder, names_in_shm(run.plan.run_id), took


@pytest.mark.parametrize("with_recorder", [False, True], ids=["alone", "and the recorder"])
def test_a_killed_supervisor_leaves_whole_files_and_the_next_start_cleans_up(
    lab: Laboratory, with_recorder: bool
) -> None:
    expected, stack = undisturbed(lab), lab.stack(small())
    for attempt in range(3):
        run_id, folder, segments, took = killed_supervisor(lab, stack, with_recorder)
        assert took < GONE_WITHIN_S
        (file,) = folder.glob("*.h5")
        if with_recorder:
            assert h5clear.is_marked(file)
        else:
            tracks_are_whole(folder, expected)
        ended = lab.run(lab.settings(SETTINGS), "--source", stack)
        assert names_in_shm(run_id) == []
        assert f"the run {folder}" in ended.stderr
        assert "did not end in order; its files are being closed" in ended.stderr
        assert (ended.status, ended.counts) == (0, (len(small()), len(small()), len(small()), 0))
        if all(name in ended.stderr for name in segments if not name.endswith(".kept")):
            break  # or somebody else's run on this machine has been faster
        assert attempt < 2, f"the next start did not say that it removed {segments}:\n{ended.stderr}"
    assert not h5clear.is_marked(file)
    tracks_are_whole(folder, expected)
    tracks = pd.read_hdf(file, "tracks")
    assert tracks["frame"].is_monotonic_increasing
    assert len(pd.read_hdf(file, "frames"))


def tracks_are_whole(folder: Path, expected: bytes) -> None:
    """All that is in the file is right, and it is a good part of what there was to record."""
    record = Run.open(folder)
    tracks, frames = record.tracks_array, record.frames_array
    assert len(frames) > 0
    assert list(frames["frame"]) == list(range(len(frames)))
    assert int(frames["rows"].sum()) == len(tracks)
    assert tracks.tobytes() == expected[: tracks.nbytes]


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.faults)],
    ids=lambda number: number.name,
)
def test_a_signal_ends_a_live_run_in_order(lab: Laboratory, number: signal.Signals) -> None:
    with lab.started(lab.settings(SETTINGS), "--source", CAMERA) as run:
        reached(run, 30)
        run.process.send_signal(number)
        if number != signal.SIGINT:  # who stops a group of processes often tells its leader twice
            run.process.send_signal(number)
        ended = run.wait()
    assert ended.status == 0, ended.stderr
    received, tracked, recorded, lost = ended.counts
    assert received == tracked == recorded >= 30
    assert lost == 0
    assert names_in_shm(ended.summary["run_id"]) == []
    assert ended.record.metadata["processing_metrics"]["complete"]
    table = ended.record.frames_array
    assert lost_rows(table) == lost_numbers(ended.summary["lost"]) == {}
    assert list(table["frame"]) == list(range(received))


def test_a_second_signal_ends_it_by_force(lab: Laboratory) -> None:
    with lab.started(lab.settings(SETTINGS), "--source", CAMERA) as run:
        reached(run, 30)
        recorder = target(run, "recorder")
        assert recorder is not None
        try:
            recorder.signal(signal.SIGSTOP)  # so that the first one cannot be done before the second comes
            run.process.send_signal(signal.SIGINT)
            wait_until(lambda: has_phase(run, "draining"), "the orderly end to have begun")
            run.process.send_signal(signal.SIGINT)
            ended: Ended = run.wait(10)
            assert recorder.dead
        finally:
            recorder.close()
        folder, run_id, lives = run.folder, run.plan.run_id, everybody(run)
    assert lives == []
    assert ended.status == 130
    assert names_in_shm(run_id) == []
    assert not list((lab.runtime / "ringtrack").iterdir())
    record = Run.open(folder)
    assert int(record.frames_array["rows"].sum()) == len(record.tracks_array)
    (file,) = folder.glob("*.h5")
    assert not h5clear.is_marked(file)
    # What the file does not have is lost, by number, for whoever reads the run.
    summary = json.loads((folder / "run.json").read_text())["summary"]
    assert summary["frames_lost"] == summary["frames_received"] - summary["frames_recorded"] > 0
    assert all(step["in_flight"] == 0 for step in summary["accounting"])
    report = inspect(folder)
    assert (report.state, report.frames_lost) == ("cut short", summary["frames_lost"])
    assert int((record.lost["last"] - record.lost["first"] + 1).sum()) == summary["frames_lost"]
    assert set(record.lost["cause"]) == {"stopped by force"}
