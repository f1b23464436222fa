"""The receiver process and real shared memory: what it writes, and how it goes on after `kill -9`."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import psutil
import pytest
import tifffile
from helpers_reception import image
from helpers_rings import Receiving

from bridge.send import COUNTERS, send
from bridge.sender import Sender
from engine.accounting import Cause, Step
from engine.frames import Kind, TimeSource
from engine.shm.status import ProcessState


@pytest.fixture
def receiving(tmp_path: Path) -> Iterator[Receiving]:
    with Receiving(tmp_path) as one:
        yield one


def numbers(receiving: Receiving) -> list[int]:
    metas = receiving.metas()
    return [int(n) for n in metas["frame"][metas["kind"] == Kind.FRAME]]


def test_frames_lie_in_the_ring_with_all_that_is_known_of_them(receiving: Receiving) -> None:
    with Sender(receiving.address, live=True) as sender:
        sender.connect(30)
        sent_ns = time.monotonic_ns()
        sender.send(
            image(7), counter=41, t_ns=sent_ns - 5, t_error_ns=3, time_source=TimeSource.HARDWARE, bits=12,
            region=(10, 20), binning=2, exposure_us=500.0, trigger=9, file_name="µ.tif", extra={"laser": 3},
        )  # fmt: skip
        sender.send(image(8))
        assert sender.close().taken == 2
    with receiving.rings.frames.view(0) as entry:
        assert (entry.data == 7).all()
        meta = entry.meta
        assert (meta["frame"], meta["counter"], meta["sequence"], meta["ledger"]) == (0, 41, 0, 0)
        assert meta["t_source_ns"] == meta["t_camera_ns"] == sent_ns - 5
        assert meta["t_camera_error_ns"] == 3
        assert meta["t_camera_ns"] < meta["t_sent_ns"] < meta["t_received_ns"]
        assert meta["time_source"] == TimeSource.HARDWARE
        assert (meta["bits"], meta["region_y"], meta["region_x"], meta["binning"]) == (12, 10, 20, 2)
        assert (meta["exposure_us"], meta["trigger"], meta["settings"], meta["live"]) == (500.0, 9, 1, 1)
        assert np.isnan(meta["gain"])
        assert meta["checksum"] != 0
        assert meta["file_name"].decode() == "µ.tif"
        assert meta["extra"][: meta["extra_bytes"]] == b"\x81\xa5laser\x03"
    with receiving.rings.frames.view(1) as entry:
        assert (entry.meta["frame"], entry.meta["bits"]) == (1, 16)
    assert receiving.stop() == 0
    closing = receiving.metas()[-1]
    assert (closing["kind"], closing["frame"]) == (Kind.CLOSING, -1)
    counters = receiving.counters()
    assert (counters["received"], counters["byes"]) == (2, 1)


def test_a_stacks_frame_n_was_taken_at_n_over_fps(receiving: Receiving, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", np.stack([image(n) for n in range(20)]))
    assert send(str(tmp_path / "stack.tif"), receiving.address, connect_s=30).ended
    assert [int(t) for t in receiving.metas()["t_source_ns"]] == [n * 20_000_000 for n in range(20)]


def test_a_live_source_is_dropped_by_number_when_the_ring_is_full(tmp_path: Path) -> None:
    with Receiving(tmp_path, slots=16) as receiving, Sender(receiving.address, live=True) as sender:
        sender.connect(30)
        for n in range(30):
            sender.send(image(n))
        statistics = sender.close()
        assert (statistics.taken, statistics.dropped) == (16, 14)
        assert numbers(receiving) == list(range(16))
        assert receiving.losses() == [(n, n, Step.RECEIVER, Cause.RING_FULL) for n in range(16, 30)]
        assert (tmp_path / "log.jsonl").read_text().count("frames are lost from number 16 on") == 1


def test_a_finite_source_is_held_back_when_the_ring_is_full(tmp_path: Path) -> None:
    with Receiving(tmp_path, slots=16) as receiving, Sender(receiving.address, live=False) as sender:
        sender.connect(30)
        for n in range(30):
            sender.send(image(n))
        assert not sender.flush(1.5)
        assert receiving.losses() == []
        beats = receiving.rings.block("receiver").beats
        time.sleep(0.25)
        assert receiving.rings.block("receiver").beats > beats
        statistics = sender.close(0.2)
        assert statistics.taken == 16
        assert statistics.gave_up == {Cause.SENDER_STOPPED: 14}


@pytest.mark.parametrize("live", [False, True], ids=["finite", "live"])
def test_killed_at_random_moments_it_goes_on_exactly(receiving: Receiving, live: bool) -> None:
    """Camera skips, another size, a counter that starts again; the receiver dies six times meanwhile."""
    chance = random.Random(int(live))
    ended = threading.Event()
    statistics = []

    def camera() -> None:
        with Sender(receiving.address, live=live, buffer_frames=400) as sender:
            sender.connect(30)
            for n in range(400):
                if 100 <= n < 105:
                    continue
                counter = n if n < 300 else n - 300
                sender.send(image(n, shape=(8, 8) if n in (50, 51, 301) else (48, 64)), counter=counter)
                time.sleep(0.004)
            statistics.append(sender.close(30))
        ended.set()

    receiving.wait_until_ready()
    thread = threading.Thread(target=camera)
    thread.start()
    kills = 0
    while not ended.wait(chance.uniform(0.1, 0.3)) and kills < 6:
        receiving.kill()
        receiving.start()
        kills += 1
    thread.join()
    assert kills >= 3
    bad = {50, 51, *range(100, 105), 301}
    assert numbers(receiving) == [n for n in range(400) if n not in bad]
    metas = receiving.metas()
    assert [int(s) for s in metas["sequence"]] == [int(n >= 300) for n in numbers(receiving)]
    assert [int(c) for c in metas["counter"]] == [n if n < 300 else n - 300 for n in numbers(receiving)]
    assert receiving.losses() == [
        (50, 50, Step.RECEIVER, Cause.REFUSED),
        (51, 51, Step.RECEIVER, Cause.REFUSED),
        (100, 104, Step.CAMERA, Cause.CAMERA_SKIPPED),
        (301, 301, Step.RECEIVER, Cause.REFUSED),
    ]
    assert all(
        (receiving.rings.frames.payload(place) == int(n) % 250).all() for place, n in enumerate(numbers(receiving))
    )
    assert statistics[0].closed
    assert (statistics[0].refused, statistics[0].taken) == (3, 392)


def test_a_port_in_use_ends_it_with_status_3(receiving: Receiving, tmp_path: Path) -> None:
    receiving.wait_until_ready()
    (tmp_path / "second").mkdir()
    second = Receiving(tmp_path / "second")
    second.plan = msgspec.structs.replace(second.plan, experiment=receiving.plan.experiment)
    second._path.write_bytes(second.plan.encode())
    with second:
        assert second._process is not None
        assert second._process.wait(30) == 3
        assert "is in use by another program" in (tmp_path / "second" / "log.jsonl").read_text()


def test_killed_after_the_bye_it_still_knows_that_the_source_has_ended(receiving: Receiving) -> None:
    receiving.wait_until_ready()
    with Sender(receiving.address, live=False, source="first") as sender:
        sender.send(image(1))
        assert sender.close(20).closed
    receiving.kill()
    receiving.start()
    receiving.wait_until_ready()
    with Sender(receiving.address, live=False, source="second") as sender:
        sender.send(image(2))  # the first is not waited for
        assert sender.close(20).closed
    assert receiving.counters()["byes"] == 2
    assert receiving.counters()["busy"] == 0
    assert list(receiving.metas()["sequence"]) == [0, 1]


def test_a_source_of_the_run_itself_is_sent_once_though_its_sender_is_killed(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", np.stack([image(n) for n in range(300)]))
    with Receiving(tmp_path, source=str(tmp_path / "stack.tif")) as receiving:
        receiving.wait_until_ready()
        with receiving.start_sender() as first:
            while receiving.rings.frames.newest < 5 and first.poll() is None:
                time.sleep(0.0005)
            first.kill()
        for _ in range(2):  # the second finds that all was sent
            with receiving.start_sender() as another:
                assert another.wait(30) == 0
        assert numbers(receiving) == list(range(300))
        assert receiving.losses() == []
        assert receiving.counters()["byes"] == 1
        counts = receiving.rings.block("sender").counters()
        assert (counts["gave_up"], counts["refused"], counts["waiting"]) == (0, 0, 0)


def test_a_bye_that_is_read_after_its_sender_was_killed_still_ends_the_source(tmp_path: Path) -> None:
    """The next sender asks the receiver, who hears of the end only now; it must not begin from the start."""
    stack = [image(n) for n in range(20)]
    tifffile.imwrite(tmp_path / "stack.tif", np.stack(stack))
    with Receiving(tmp_path, source=str(tmp_path / "stack.tif")) as receiving:
        receiving.wait_until_ready()
        with Sender(receiving.address, source=str(tmp_path / "stack.tif"), live=False) as first:
            for n, frame in enumerate(stack):
                first.send(frame, n)
            assert first.flush(10)
            os.kill(receiving.pid, signal.SIGSTOP)
            try:
                first.close(0.2)  # its bye lies unread
                state = receiving.rings.block("sender")
                state.open(os.getpid(), time.time_ns(), COUNTERS)
                state.set("offered", len(stack))
                another = receiving.start_sender()
                while state.state is not ProcessState.READY:
                    time.sleep(0.001)
                while not any(each.status == "ESTABLISHED" for each in psutil.Process(another.pid).net_connections()):
                    time.sleep(0.001)
            finally:
                os.kill(receiving.pid, signal.SIGCONT)
        with another:
            assert another.wait(30) == 0
        assert numbers(receiving) == list(range(20))
