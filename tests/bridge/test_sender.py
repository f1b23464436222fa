"""The sender against a receiver that is real but for shared memory, over 127.0.0.1."""

from __future__ import annotations

import socket
import threading

import numpy as np
import pytest
from helpers_reception import FakeReceiver, Memory, image, wait_until

from bridge.outcomes import Outcome
from bridge.sender import Sender
from bridge.wire import Verdict
from engine.accounting import Cause, Step
from engine.errors import ClosedError, MachineError, PeerError


def test_frames_arrive_whole_in_order_and_are_answered() -> None:
    memory = Memory()
    outcomes: list[Outcome] = []
    with FakeReceiver(memory) as receiver, Sender(receiver.address, live=False, on_done=outcomes.append) as sender:
        for n in range(200):
            sender.send(image(n), file_name=f"f{n}.tif", token=n)
        statistics = sender.close()
    assert memory.counters == memory.numbers == list(range(200))
    assert all(int(pixels[0, 0]) == n % 250 == int(pixels[-1, -1]) for n, (_, _, pixels) in enumerate(memory.frames))
    assert [header.file_name for _, header, _ in memory.frames][:2] == ["f0.tif", "f1.tif"]
    assert (statistics.offered, statistics.taken, statistics.lost, statistics.waiting) == (200, 200, 0, 0)
    assert statistics.closed
    assert receiver.counts["byes"] == 1
    assert [outcome.token for outcome in outcomes] == list(range(200))
    assert {outcome.verdict for outcome in outcomes} == {Verdict.TAKEN}


def test_a_frame_that_was_sent_is_the_callers_to_overwrite() -> None:
    memory = Memory(shape=(512, 512))
    picture = np.zeros((512, 512), np.uint16)
    with FakeReceiver(memory) as receiver, Sender(receiver.address, live=False) as sender:
        for n in range(60):
            picture[:] = n
            sender.send(picture)
        sender.close()
    assert all((pixels == n).all() for n, (_, _, pixels) in enumerate(memory.frames))
    assert len(memory.frames) == 60


def test_without_a_copy_every_other_array_is_sent_too() -> None:
    memory = Memory()
    wide = np.arange(48 * 128, dtype=np.uint16).reshape(48, 128)
    with FakeReceiver(memory) as receiver, Sender(receiver.address, live=False) as sender:
        sender.send(wide[:, ::2], copy=False)
        sender.send(wide[:, :64].astype(">u2"), copy=False)
        sender.close()
    assert (memory.frames[0][2] == wide[:, ::2]).all()
    assert (memory.frames[1][2] == wide[:, :64]).all()


def test_a_receiver_that_starts_again_costs_a_finite_source_nothing() -> None:
    memory = Memory()
    with FakeReceiver(memory) as first:
        address = first.address
        sender = Sender(address, live=False, buffer_frames=8)
        sender.__enter__()
        for n in range(50):
            sender.send(image(n))
    frames = threading.Thread(target=lambda: [sender.send(image(n)) for n in range(50, 150)])
    frames.start()
    with FakeReceiver(memory, address):
        wait_until(lambda: len(memory.frames) > 90)
    with FakeReceiver(memory, address) as third:
        frames.join()
        statistics = sender.close()
    assert memory.counters == memory.numbers == list(range(150))
    assert memory.losses == []
    assert statistics.taken == 150
    assert statistics.receivers == 3
    assert third.counts["byes"] == 1


def test_a_receiver_of_another_run_begins_its_own_account() -> None:
    first, second = Memory(run_id="a" * 16), Memory(run_id="b" * 16)
    with FakeReceiver(first) as receiver:
        address = receiver.address
        sender = Sender(address, live=False)
        sender.__enter__()
        for n in range(10):
            sender.send(image(n), counter=100 + n)
        assert sender.flush(10)
    with FakeReceiver(second, address):
        for n in range(10, 20):
            sender.send(image(n), counter=100 + n)
        sender.close()
    assert first.counters == list(range(100, 110))
    assert second.counters == list(range(110, 120))
    assert second.numbers == list(range(10))
    assert second.losses == []


def test_a_live_source_gives_up_its_oldest_frames_and_says_which() -> None:
    memory = Memory()
    with FakeReceiver(memory) as receiver:
        address = receiver.address
        sender = Sender(address, live=True, buffer_frames=10)
        sender.__enter__()
        for n in range(5):
            sender.send(image(n))
        assert sender.flush(10)
    wait_until(lambda: not sender.statistics.connected)  # what is handed to a connection is never given up
    for n in range(5, 46):
        sender.send(image(n))
    with FakeReceiver(memory, address):
        statistics = sender.close()
    assert statistics.gave_up == {Cause.SENDER_BUFFER_FULL: 31}
    assert memory.counters == [*range(5), *range(36, 46)]
    assert memory.numbers == memory.counters
    assert {(step, cause) for _, _, step, cause in memory.lost} == {(Step.SENDER, Cause.SENDER_BUFFER_FULL)}
    assert sum(last - first + 1 for first, last, _, _ in memory.lost) == 31


def test_what_was_given_up_before_the_run_began_is_no_loss_of_the_run() -> None:
    """A camera program that runs all day: it gives its oldest frames up until somebody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    memory = Memory()
    with Sender(address, live=True, buffer_frames=5) as sender:
        for n in range(1000, 1020):
            sender.send(image(n % 250), counter=n)
        for n in range(10):  # saved again
            sender.send(image(n), counter=n)
        with FakeReceiver(memory, address):
            assert sender.flush(10)
            sender.send(image(10), counter=10)
            statistics = sender.close()
    assert statistics.gave_up == {Cause.SENDER_BUFFER_FULL: 25}
    assert memory.counters == list(range(5, 11))
    assert memory.numbers == list(range(6))
    assert memory.losses == []


def test_a_program_that_does_not_ask_hears_of_its_losses(caplog: pytest.LogCaptureFixture) -> None:
    with Sender("tcp://127.0.0.1:9", live=True) as sender:
        sender.send(image(1))
        assert sender.statistics.trouble == "nobody has answered at tcp://127.0.0.1:9 yet"
        sender.close(0.05)
    assert caplog.messages == ["frames given up: 1. nobody has answered at tcp://127.0.0.1:9 yet"]
    caplog.clear()
    with FakeReceiver(Memory()) as receiver, Sender(receiver.address, live=False) as sender:
        for n in range(3):
            sender.send(image(n, shape=(5, 7)), counter=n)
        sender.close()
        assert sender.statistics.refused == 3
    assert len(caplog.messages) == 1, "once for the source, not for each frame"
    assert "refused: the frames of 'camera' are 7x5 uint16; this run takes 64x48 uint16" in caplog.messages[0]


def test_an_address_that_is_none_is_refused_at_once() -> None:
    for wrong in ("tracking-pc", "localhost:50052", "http://localhost:80", "tcp://host"):
        with pytest.raises(ValueError, match="write tcp://host:50052"):
            Sender(wrong)


def test_a_finite_source_waits_for_room() -> None:
    memory = Memory(hold=True)
    with FakeReceiver(memory) as receiver, Sender(receiver.address, live=False, buffer_frames=4) as sender:
        for n in range(4):
            sender.send(image(n))
        with pytest.raises(TimeoutError, match="frame 4: the receiver took nothing"):
            sender.send(image(4), timeout_s=0.05)
        memory.hold = False
        sender.send(image(4))
        sender.close()
    assert memory.counters == list(range(5))


def test_what_the_camera_skipped_is_lost_at_the_camera_and_leaves_its_hole() -> None:
    memory = Memory()
    with FakeReceiver(memory) as receiver, Sender(receiver.address, live=False) as sender:
        for n in [*range(100), *range(105, 120)]:
            sender.send(image(n), counter=n)
        statistics = sender.close()
    assert memory.numbers == [*range(100), *range(105, 120)]
    assert memory.lost == [(100, 104, Step.CAMERA, Cause.CAMERA_SKIPPED)]
    assert statistics.skipped == 5


def test_a_counter_that_starts_again_is_a_second_sequence() -> None:
    memory = Memory()
    with FakeReceiver(memory) as receiver, Sender(receiver.address, live=False) as sender:
        for n in [*range(30), *range(20)]:
            sender.send(image(n), counter=n)
        sender.close()
    assert memory.counters == [*range(30), *range(20)]
    assert memory.numbers == list(range(50))
    assert [known.sequence for known, _, _ in memory.frames] == [0] * 30 + [1] * 20
    assert memory.losses == []
    assert receiver.counts["byes"] == 1


def test_frames_of_another_size_are_refused_counted_and_reported_and_the_run_goes_on() -> None:
    memory = Memory()
    outcomes: list[Outcome] = []
    with FakeReceiver(memory) as receiver, Sender(receiver.address, live=False, on_done=outcomes.append) as sender:
        sender.send(image(0))
        sender.send(image(1, shape=(10, 10)))
        sender.send(image(2, dtype="uint8"))
        sender.send(image(3, shape=(2000, 2000)))
        sender.send(image(4))
        statistics = sender.close()
    assert memory.numbers == [0, 4]
    assert memory.lost == [(n, n, Step.RECEIVER, Cause.REFUSED) for n in (1, 2, 3)]
    assert (statistics.taken, statistics.refused) == (2, 3)
    assert outcomes[1].why == (
        "frame 1 is 10x10 uint16; this run takes 64x48 uint16 (camera.width, camera.height, camera.dtype)"
    )
    assert any("frame 2 is 64x48 uint8" in line for line in receiver.logged)


def test_a_live_frame_that_finds_the_ring_full_is_dropped_by_number() -> None:
    memory = Memory()
    with FakeReceiver(memory) as receiver, Sender(receiver.address) as sender:
        for n in range(30):
            memory.full = 10 <= n < 15
            sender.send(image(n))
            assert sender.flush(10)
        statistics = sender.close()
    assert statistics.dropped == 5
    assert memory.lost == [(n, n, Step.RECEIVER, Cause.RING_FULL) for n in range(10, 15)]
    assert memory.numbers == [*range(10), *range(15, 30)]


def test_what_a_source_could_not_read_is_accounted_for() -> None:
    memory = Memory()
    with FakeReceiver(memory) as receiver, Sender(receiver.address, live=False) as sender:
        sender.send(image(0))
        sender.give_up(1, Cause.FILE_UNREADABLE)
        sender.send(image(2), counter=2)
        sender.give_up(3, Cause.FILE_UNREADABLE)
        sender.close()
    assert memory.numbers == [0, 2]
    assert memory.lost == [(n, n, Step.SENDER, Cause.FILE_UNREADABLE) for n in (1, 3)]


def test_a_second_sender_waits_until_the_first_has_said_bye() -> None:
    memory = Memory()
    with FakeReceiver(memory) as receiver, Sender(receiver.address, source="first", live=False) as first:
        first.send(image(0))
        assert first.flush(5)
        with Sender(receiver.address, source="second", live=False) as second:
            with pytest.raises(PeerError, match='another source "first" is speaking'):
                second.connect(0.3)
            first.close()
            second.send(image(1), counter=0)
            second.close()
    assert memory.counters == [0, 0]
    assert [known.sequence for known, _, _ in memory.frames] == [0, 1]


def test_a_sender_that_died_is_told_where_to_resume() -> None:
    memory = Memory()
    with FakeReceiver(memory) as receiver:
        with Sender(receiver.address, source="folder", live=False) as first:
            for n in range(7):
                first.send(image(n))
            assert first.flush(5)
            first._link.stop()  # dead: no bye
            first._is_open = False
        memory_before = list(memory.counters)
        with FakeReceiver(memory) as again, Sender(again.address, source="folder", live=False) as second:
            assert second.connect(10).resume == 7
            second.send(image(7), counter=7)
            second.close()
    assert memory.counters == [*memory_before, 7]
    assert memory.losses == []


def test_the_offset_of_the_clocks_is_found_and_goes_with_each_frame() -> None:
    offset = 3_600_000_000_000
    memory = Memory(clock_offset_ns=offset)
    with FakeReceiver(memory) as receiver, Sender(receiver.address, live=False) as sender:
        sender.connect()
        for n in range(50):
            sender.send(image(n))
        statistics = sender.close()
    assert statistics.offset is not None
    assert abs(statistics.offset.offset_ns - offset) <= statistics.offset.error_ns < 20_000_000
    assert all(abs((header.offset_ns or 0) - offset) < 50_000_000 for _, header, _ in memory.frames)


def test_one_machine_has_one_clock() -> None:
    from engine.clocks import boot_id

    memory = Memory(boot_id=boot_id())
    with FakeReceiver(memory) as receiver, Sender(receiver.address, live=True) as sender:
        sender.connect()
        sender.send(image(0))
        statistics = sender.close()
    assert statistics.offset is not None
    assert (statistics.offset.offset_ns, statistics.offset.error_ns) == (0, 0)
    assert memory.frames[0][1].offset_ns == 0


def test_what_has_no_answer_when_closing_is_given_up_and_counted() -> None:
    with Sender("tcp://127.0.0.1:9", live=True) as sender:
        for n in range(5):
            sender.send(image(n))
        statistics = sender.close(timeout_s=0.1)
    assert statistics.gave_up == {Cause.SENDER_STOPPED: 5}
    assert not statistics.closed
    with pytest.raises(ClosedError):
        sender.send(image(5))


def test_nobody_there_is_said_in_a_sentence() -> None:
    with Sender("tcp://127.0.0.1:9") as sender:
        with pytest.raises(PeerError, match="no answer in"):
            sender.connect(0.1)
        sender.close(0.0)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((3, 4, 3), np.uint8), "one channel"),
        (np.zeros((3, 4)), "float64"),
        (np.zeros((0, 4), np.uint8), "shape"),
    ],
)
def test_what_is_no_frame_is_refused_where_the_program_can_see_it(bad: np.ndarray, message: str) -> None:
    with Sender("tcp://127.0.0.1:9") as sender:
        with pytest.raises(ValueError, match=message):
            sender.send(bad)
        sender.close(0.0)


def test_a_port_in_use_is_said_in_a_sentence() -> None:
    with (
        FakeReceiver(Memory()) as receiver,
        pytest.raises(MachineError, match="is in use by another program"),
        FakeReceiver(Memory(), receiver.address),
    ):
        pass
