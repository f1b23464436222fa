"""`kill -9` of a recorder at random moments, over a real ring: nothing is lost, nothing is there twice.

RINGTRACK_KILLS says how often (2 here; many in `make faults`).
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
import pandas as pd
import pytest

from engine.accounting import Cause, Step
from engine.experiment import Experiment
from engine.plan import Geometry, Plan, ProcessPlan
from engine.rings import Rings
from engine.shm.cursors import CursorTable
from engine.shm.status import ProcessState
from recorders import Run, h5clear, join
from recorders.runfolder import RunFolder

REPOSITORY = Path(__file__).parents[2]
KILLS = int(os.environ.get("RINGTRACK_KILLS", "2"))
SLOTS = 64


class Recording:
    """A run with a recorder and nothing else; the test publishes results in the linker's place."""

    def __init__(self, folder: Path, kind: str, *, side: int = 16, of_frames: bool = False, **record: Any) -> None:
        """`of_frames`: it reads the ring of frames, of `side` x `side` pixels. `record`: settings of that section."""
        experiment = Experiment()
        experiment = msgspec.structs.replace(
            experiment,
            camera=msgspec.structs.replace(experiment.camera, width=side, height=side),
            ring=msgspec.structs.replace(experiment.ring, max_particles=200),
            record=msgspec.structs.replace(experiment.record, **{"flush_s": 0.02, **record}),
        )
        self.folder = RunFolder(folder)
        self.plan = Plan(
            run_id=os.urandom(8).hex(),
            pid=os.getpid(),
            started_utc_ns=0,
            started_mono_ns=0,
            run_folder=str(folder),
            experiment=experiment,
            geometry=Geometry(
                frame_slots=SLOTS if of_frames else 2,
                result_slots=SLOTS,
                depth=2,
                units_of_step=(1,),
                scratch_bytes=64,
                state_bytes=64,
                blocks=1,
            ),
            processes=(
                ProcessPlan(
                    name=kind,
                    target=f"recorders.{kind}:main",
                    kind=kind,
                    block=0,
                    reader=-1 if of_frames else 0,
                    frame_reader=0 if of_frames else -1,
                ),
            ),
        )
        self.kind = kind
        self.plan_file = folder / "plan.json"
        self.plan_file.write_bytes(self.plan.encode())
        self.rings = Rings.create(self.plan)
        self.cursors = CursorTable(self.rings.frames if of_frames else self.rings.results)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.rings.block(self.kind).reset()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "engine.child", f"recorders.{self.kind}:main", self.kind, str(self.plan_file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=self.folder.path,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )

    def wait_ready(self) -> None:
        assert self.process
        end = time.monotonic() + 30
        while self.rings.block(self.kind).state != ProcessState.READY:
            assert self.process.poll() is None, self.process.stderr.read().decode()  # type: ignore[union-attr]
            assert time.monotonic() < end, "the recorder was not ready in time"
            time.sleep(0.002)

    def publish(self, place: int, meta: np.void, rows: np.ndarray) -> bool:
        """Wait for room as the linker does, then publish; False if the recorder ended meanwhile."""
        assert self.process
        results = self.rings.results
        while place - SLOTS > self.cursors.cursor(0):
            if self.process.poll() is not None:
                return False
            time.sleep(0.0005)
        results.invalidate(place)
        results.record(place)[0] = meta
        results.payload(place)[: len(rows)] = rows
        results.publish(place, "test")
        return True

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.reap()

    def reap(self) -> int:
        assert self.process
        _, self.errors = self.process.communicate(timeout=60)
        status = self.process.returncode
        self.process = None
        return status

    def close(self) -> None:
        if self.process:
            self.kill()
        del self.cursors
        self.rings.close()


@pytest.fixture
def recording(run_folder: Path, request: pytest.FixtureRequest) -> Iterator[Recording]:
    run = Recording(run_folder, request.param)
    yield run
    run.close()


def record_with_kills(recording: Recording, ring: Any, kills: int, seed: int) -> int:
    """Publish frames (every 7th after a camera gap of two) while the recorder is killed again and again; how many."""
    random_moment = random.Random(seed)
    started = time.monotonic()
    recording.start()
    recording.wait_ready()
    start_s = time.monotonic() - started
    place = frame = killed = 0
    next_kill = time.monotonic() + random_moment.uniform(0.0, 0.1)
    while killed < kills or place < 300:
        if place % 7 == 6:
            recording.rings.ledger.append(frame, frame + 1, 0, 1, Step.CAMERA, Cause.CAMERA_SKIPPED)
            frame += 2
        recording.publish(place, ring.meta(frame, 100, ledger=recording.rings.ledger.count), ring.rows(frame, 100))
        place, frame = place + 1, frame + 1
        if killed < kills and time.monotonic() >= next_kill:
            recording.kill()
            killed += 1
            recording.start()
            if random_moment.random() < 0.3:  # and once more while it makes its file
                time.sleep(start_s * random_moment.uniform(0.75, 1.05))
                recording.kill()
                killed += 1
                recording.start()
            recording.wait_ready()
            next_kill = time.monotonic() + random_moment.uniform(0.0, 0.1)
    recording.publish(place, ring.closing(recording.rings.ledger.count), ring.rows(-1, 0))
    assert recording.reap() == 0, recording.errors.decode()
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
    assert recording.process
    assert recording.process.stdin
    recording.process.stdin.close()
    recording.process.stdin = None
    assert recording.reap() == 0
    if recording.kind == "hdf5":
        assert len(pd.read_hdf(recording.folder.hdf5, "tracks")) == 50
    else:
        assert len(pd.read_csv(recording.folder.csv)) == 50


@pytest.mark.parametrize("recording", ["hdf5", "csv"], indirect=True)
def test_a_disk_that_takes_no_more_ends_the_recorder_with_a_sentence(recording: Recording, ring: Any) -> None:
    recording.start()
    recording.wait_ready()
    assert recording.process
    import resource

    resource.prlimit(recording.process.pid, resource.RLIMIT_FSIZE, (3 << 20, 3 << 20))
    for place in range(2000):
        if not recording.publish(place, ring.meta(place, 100), ring.rows(place, 100)):
            break
    flushed = recording.cursors.cursor(0)
    assert recording.reap() == 3
    assert b"stopped: " in recording.errors
    assert b"File too large" in recording.errors
    assert "stopped: " in recording.folder.log.read_text()
    if recording.kind == "hdf5":
        assert h5clear.clear(recording.folder.hdf5)
        frames = Run.open(recording.folder.hdf5).frames_table["frame"].tolist()
    else:
        frames = sorted(set(pd.read_csv(recording.folder.csv, skipfooter=1, engine="python")["frame"]))
    assert flushed > 50
    assert frames[: flushed + 1] == list(range(flushed + 1))[: len(frames)]
    assert len(frames) >= flushed
