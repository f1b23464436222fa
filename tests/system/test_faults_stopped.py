"""Who sleeps, hangs or is stopped: the camera never waits for a screen, and who hangs for good is replaced."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest

from engine.shm.cursors import LiveReader
from engine.shm.ring import OverrunError
from tests.system.faults import (
    FRAMES,
    SMALL,
    assert_undisturbed,
    camera,
    lost_numbers,
    lost_rows,
    reached,
    settings_of,
    small,
    strike,
    target,
    undisturbed,
)
from tests.system.running import Laboratory, wait_until


def test_a_live_reader_that_sleeps_holds_nobody_up(lab: Laboratory) -> None:
    frames = 400
    settings = settings_of(256, 100, ring={"seconds": 0.25})
    with lab.started(lab.settings(settings), "--source", camera(256, 100, frames, live=False)) as run:
        screen, pictures = LiveReader(run.rings.results), run.rings.frames
        place = screen.next(30)
        assert place is not None
        newest = pictures.newest
        with pytest.raises(OverrunError), pictures.view(newest):  # asleep over a picture, while the ring goes round
            assert reached(run, newest + 2 * pictures.slots)
        assert screen.next(1) is not None
        assert screen.passed_over > pictures.slots
        ended = run.wait()
    assert ended.status == 0, ended.stderr
    assert ended.counts == (frames, frames, frames, 0)
    assert ended.summary["held_ms"]["readers"] == 0


def test_a_receiver_that_starts_again_goes_on_counting_for_whom_it_waited(lab: Laboratory) -> None:
    with lab.started(lab.settings(SMALL), "--source", lab.stack(small())) as run:
        receiver = run.rings.block("receiver")
        waited_ns = wait_until(lambda: receiver.counters()["held_trackers_ns"], "the ring to be full")
        assert strike(run, ["receiver"]) == ["receiver"]
        ended = run.wait()
    assert ended.summary["held_ms"]["trackers"] >= waited_ns / 1e6
    assert ended.summary["held_ms"]["readers"] == 0


def test_a_recorder_stopped_for_two_seconds_loses_nothing(lab: Laboratory) -> None:
    frames, fps, seconds = 600, 100, 2.0
    settings: dict[str, dict[str, Any]] = {
        "camera": {"width": 512, "height": 512, "dtype": "uint16", "fps": fps},
        "tracking": {"diameter": 11, "separation": 12, "minmass": 1000, "max_ecc": 0},
    }  # all else as it comes: nothing may be lost
    with lab.started(lab.settings(settings), "--source", camera(512, fps, frames)) as run:
        assert reached(run, 100)
        recorder = target(run, "recorder")
        assert recorder is not None
        try:
            recorder.signal(signal.SIGSTOP)
            began, place = time.monotonic(), run.published
            wait_until(lambda: time.monotonic() - began >= seconds, "two seconds to pass")
            assert run.published > place + seconds * fps / 2  # the others have gone on
            recorder.signal(signal.SIGCONT)
        finally:
            recorder.close()
        ended = run.wait()
    assert ended.counts == (frames, frames, frames, 0), ended.summary["lost"]
    assert ended.status == 0, ended.stderr
    assert ended.summary["restarts"] == {}


@pytest.mark.faults
def test_a_tracker_and_a_recorder_stopped_for_good_are_replaced_and_nothing_is_lost(lab: Laboratory) -> None:
    """A finite source waits for them: the tracker five seconds without a heartbeat, the recorder eight."""
    stack = lab.stack(small())
    with lab.started(lab.settings(SMALL), "--source", stack) as run:
        assert reached(run, 20)
        names = []
        for kind in ("tracker", "recorder"):
            life = target(run, kind)
            assert life is not None
            try:
                life.signal(signal.SIGSTOP)
                names.append(life.name)
            finally:
                life.close()
        ended = run.wait()
    assert_undisturbed(ended, undisturbed(lab), FRAMES, names)
    for name in names:
        assert any(line["message"].startswith(f"{name} has not got on") for line in ended.log)


@pytest.mark.faults
def test_a_recorder_stopped_for_good_is_let_go_by_a_live_camera_counted_and_replaced(lab: Laboratory) -> None:
    frames, fps = 1000, 60
    # The settings say five frames a second: 64 places of results, which a stopped recorder fills in a second.
    settings = settings_of(256, 5, ring={"hold_s": 0.5, "seconds": 3.0})
    with lab.started(lab.settings(settings), "--source", camera(256, fps, frames)) as run:
        assert reached(run, 60)
        life = target(run, "recorder")
        assert life is not None
        try:
            life.signal(signal.SIGSTOP)
            receiver = run.rings.block("receiver")
            wait_until(lambda: receiver.counters()["let_go"], "the recorder to be let go")
            life.wait(30)  # killed by the supervisor
        finally:
            life.close()
        ended = run.wait()
    received, tracked, recorded, lost = ended.counts
    assert (received, tracked) == (frames, frames), ended.summary["lost"]
    assert recorded + lost == frames
    assert lost > 64
    rows = lost_rows(ended.record.frames_array)
    assert rows == lost_numbers(ended.summary["lost"])
    assert set(rows.values()) == {("recorder", "overrun")}
    assert ended.summary["restarts"] == {"hdf5": 1}
    assert ended.status == 0, ended.stderr
