"""`kill -9` of a recorder at random moments, over a real ring: nothing is lost, nothing is there twice.

RINGTRACK_KILLS says how often (2 here; many in `make faults`).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from engine.accounting import Cause, Step
from engine.supervisor.template import Template
from recorders import Run, h5clear, join
from tests.recorders.killable import SLOTS, Recording, kill_again_and_again

KILLS = int(os.environ.get("RINGTRACK_KILLS", "2"))


@pytest.fixture
def recording(run_folder: Path, template: Template, request: pytest.FixtureRequest) -> Iterator[Recording]:
    run = Recording(run_folder, request.param, template)
    yield run
    run.close()


def record_with_kills(recording: Recording, ring: Any, kills: int, seed: int) -> int:
    """Publish frames (every 7th after a camera gap of two) while the recorder is killed again and again; how many."""
    ledger = recording.rings.ledger
    frame = 0

    def publish(place: int) -> None:
        nonlocal frame
        if place % 7 == 6:
            ledger.append(frame, frame + 1, 0, 1, Step.CAMERA, Cause.CAMERA_SKIPPED)
            frame += 2
        recording.publish(place, ring.meta(frame, 100, ledger=ledger.count), ring.rows(frame, 100))
        frame += 1

    place = kill_again_and_again(recording, publish, kills=kills, places=300, seed=seed, apart_s=0.1)
    recording.publish(place, ring.closing(ledger.count), ring.rows(-1, 0))
    assert recording.reap() == 0, recording.errors
    return frame


def check_hdf5(recording: Recording, ring: Any, frames: int) -> None:
    path = recording.folder.hdf5
    expected = [k for k in range(frames) if k % 9 not in (6, 7)]
    apart = Run.open(path)
    assert apart.frames_table["frame"].tolist() == list(range(frames))
    join.join(path)
    for part in recording.folder.path.glob("*.h5"):
        assert not h5clear.is_marked(part)
    with h5py.File(path) as file:
        undisturbed = np.concatenate([ring.rows(k, 100) for k in expected])
        assert file["tracks"][...].tobytes() == undisturbed.tobytes()
        steps = file["accounting/steps"][...]
        assert steps["lost"].tolist() == [frames - len(expected), 0, 0, 0, 0, 0]
    lost = Run.open(path).frames_table.query("state == 'lost'")
    assert lost["frame"].tolist() == [k for k in range(frames) if k % 9 in (6, 7)]
    assert set(lost["cause"]) == {"skipped by the camera"}


def check_csv(recording: Recording, frames: int) -> None:
    table = pd.read_csv(recording.folder.csv)
    expected = [k for k in range(frames) if k % 9 not in (6, 7)]
    assert table["frame"].tolist() == np.repeat(expected, 100).tolist()
    assert not table.isna().any().any()


def check(recording: Recording, ring: Any, frames: int) -> None:
    if recording.kind == "hdf5":
        check_hdf5(recording, ring, frames)
    else:
        check_csv(recording, frames)


@pytest.mark.parametrize("recording", ["hdf5", "csv"], indirect=True)
def test_a_recorder_killed_again_and_again_loses_nothing(recording: Recording, ring: Any) -> None:
    check(recording, ring, record_with_kills(recording, ring, KILLS, seed=1))


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("recording", ["hdf5", "csv"], indirect=True)
def test_a_recorder_killed_at_many_more_moments_loses_nothing(recording: Recording, ring: Any, seed: int) -> None:
    check(recording, ring, record_with_kills(recording, ring, 20, seed))


@pytest.mark.parametrize("recording", ["hdf5"], indirect=True)
def test_a_killed_recorders_file_is_whole_up_to_its_last_flush(recording: Recording, ring: Any) -> None:
    recording.start()
    recording.wait_ready()
    for place in range(40):
        recording.publish(place, ring.meta(place, 100), ring.rows(place, 100))
    end = time.monotonic() + 10
    while recording.cursors.cursor(0) < 39:
        assert time.monotonic() < end
        time.sleep(0.002)
    flushed = recording.rings.block("hdf5").counters()["frames_recorded"]
    recording.kill()
    assert flushed == 40
    path = recording.folder.hdf5
    with pytest.raises(OSError, match="write"):
        h5py.File(path, "r")
    assert h5clear.clear(path)
    tracks = pd.read_hdf(path, "tracks")
    assert tracks["frame"].tolist() == np.repeat(np.arange(40), 100).tolist()
    assert len(pd.read_hdf(path, "frames")) == 40


@pytest.mark.parametrize("recording", ["hdf5"], indirect=True)
def test_a_live_file_can_be_read_and_its_mark_not_taken(recording: Recording, ring: Any) -> None:
    recording.start()
    recording.wait_ready()
    for place in range(10):
        recording.publish(place, ring.meta(place, 5), ring.rows(place, 5))
    while recording.cursors.cursor(0) < 9:
        time.sleep(0.002)
    path = recording.folder.hdf5
    with pytest.raises(h5clear.NotClearedError, match="living"):
        h5clear.clear(path)
    assert Run.open(path).tracks["frame"].tolist() == np.repeat(np.arange(10), 5).tolist()
    with h5py.File(path, "r", swmr=True) as file:
        assert file["tracks"].shape == (50,)


@pytest.mark.parametrize("recording", ["hdf5", "csv"], indirect=True)
def test_the_death_of_the_supervisor_ends_the_recorder_with_a_whole_file(recording: Recording, ring: Any) -> None:
    recording.start()
    recording.wait_ready()
    for place in range(10):
        recording.publish(place, ring.meta(place, 5), ring.rows(place, 5))
    recording.cut_the_life_line()
    assert recording.reap() == 0
    if recording.kind == "hdf5":
        assert len(pd.read_hdf(recording.folder.hdf5, "tracks")) == 50
    else:
        assert len(pd.read_csv(recording.folder.csv)) == 50


@pytest.mark.parametrize("recording", ["hdf5"], indirect=True)
def test_the_death_of_the_supervisor_costs_nothing_that_was_published(recording: Recording, ring: Any) -> None:
    recording.start()
    recording.wait_ready()
    os.kill(recording.running.pid, signal.SIGSTOP)
    for place in range(SLOTS):
        recording.publish(place, ring.meta(place, 100), ring.rows(place, 100))
    recording.cut_the_life_line()
    os.kill(recording.running.pid, signal.SIGCONT)
    assert recording.reap() == 0
    assert Run.open(recording.folder.hdf5).tracks_array["frame"].tolist() == np.repeat(range(SLOTS), 100).tolist()
    assert not recording.folder.log.exists() or "not in its file" not in recording.folder.log.read_text()


@pytest.mark.parametrize("recording", ["hdf5", "csv"], indirect=True)
def test_a_disk_that_takes_no_more_ends_the_recorder_with_a_sentence(recording: Recording, ring: Any) -> None:
    recording.start()
    recording.wait_ready()
    import resource

    resource.prlimit(recording.running.pid, resource.RLIMIT_FSIZE, (3 << 20, 3 << 20))
    for place in range(2000):
        if not recording.publish(place, ring.meta(place, 100), ring.rows(place, 100)):
            break
    flushed = recording.cursors.cursor(0)
    assert recording.reap() == 3
    assert "stopped: " in recording.errors
    assert "File too large" in recording.errors
    assert "stopped: " in recording.folder.log.read_text()
    if recording.kind == "hdf5":
        assert h5clear.clear(recording.folder.hdf5)
        frames = Run.open(recording.folder.hdf5).frames_table["frame"].tolist()
    else:
        frames = sorted(set(pd.read_csv(recording.folder.csv, skipfooter=1, engine="python")["frame"]))
    assert flushed > 50
    assert frames[: flushed + 1] == list(range(flushed + 1))[: len(frames)]
    assert len(frames) >= flushed
