"""Images that clients upload, and frames of other sizes than the run's."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
import zmq

from bridge import AsyncClient, Client, Sender
from bridge import wire as wire_format
from bridge.control import local_address
from bridge.uploads import fitting, receiver_address
from engine.errors import PeerError, SettingsError
from tests.bridge.helpers_control import SHAPE, served
from tests.bridge.helpers_reception import FakeReceiver, Memory
from tests.bridge.helpers_rings import free_port


def test_an_image_is_uploaded_with_its_number_or_refused_with_the_reason(tmp_path: Path) -> None:
    memory = Memory(shape=SHAPE)
    with FakeReceiver(memory) as receiver, served(tmp_path / "run", camera=receiver.address) as job:
        address = local_address(job.run_id)
        with Client(address, timeout_s=2) as client:
            for number in range(3):
                assert client.upload_image(np.full(SHAPE, number, np.uint16), source="by hand") == number
            for image, said in (
                (np.zeros((3, 3), np.uint16), "an image of 3 x 3 uint16; this run takes 64 x 48 uint16"),
                (np.zeros(SHAPE, np.uint8), "an image of 64 x 48 uint8"),
                (np.zeros(5, np.uint16), "an image has rows and columns, this array has 1 axes"),
                (np.zeros((*SHAPE, 3), np.uint16), "Send one channel"),
            ):
                with pytest.raises(SettingsError, match=said):
                    client.upload_image(image)
            with Client(address, timeout_s=0.4) as second, pytest.raises(PeerError, match='another source "by hand"'):
                second.upload_image(np.zeros(SHAPE, np.uint16))
        assert [frame.max() for _, _, frame in memory.frames] == [0, 1, 2]

        async def with_await() -> list[int]:
            async with AsyncClient(address, timeout_s=2) as client:
                images = (np.full(SHAPE, number, np.uint16) for number in (3, 4))
                return await asyncio.gather(*(client.upload_image(image) for image in images))

        assert sorted(asyncio.run(with_await())) == [3, 4], "the first client said bye: another may speak"
    with served(tmp_path / "deaf", camera=f"tcp://127.0.0.1:{free_port()}") as job, pytest.raises(PeerError):
        Client(local_address(job.run_id), timeout_s=0.3).upload_image(np.zeros(SHAPE, np.uint16))


@pytest.mark.parametrize(
    ("listen", "asked_at", "goes_to"),
    [
        ("tcp://127.0.0.1:50052", "ipc://@ringtrack-abc", "tcp://127.0.0.1:50052"),
        ("tcp://*:50052", "ipc://@ringtrack-abc", "tcp://127.0.0.1:50052"),
        ("tcp://0.0.0.0:50052", "tcp://tracking-pc:50053", "tcp://tracking-pc:50052"),
        ("tcp://192.168.1.5:50052", "tcp://tracking-pc:50053", "tcp://192.168.1.5:50052"),
        ("tcp://*:50052", "tcp://[fe80::1]:50053", "tcp://[fe80::1]:50052"),
        ("ipc://@camera", "ipc://@ringtrack-abc", "ipc://@camera"),
        ("ipc://@camera", "tcp://localhost:50053", "ipc://@camera"),
    ],
)
def test_frames_go_where_the_control_server_was_reached(listen: str, asked_at: str, goes_to: str) -> None:
    assert receiver_address(listen, asked_at) == goes_to


@pytest.mark.parametrize("listen", ["tcp://127.0.0.1:50052", "ipc://@camera"])
def test_a_receiver_for_its_own_machine_is_not_looked_for_on_ours(listen: str) -> None:
    with pytest.raises(PeerError, match=r'camera\.listen = "tcp://\*:50052"'):
        receiver_address(listen, "tcp://tracking-pc:50053")


def test_numbers_in_a_foreign_byte_order_are_sent_in_ours() -> None:
    camera = {"height": 48, "width": 64, "dtype": "uint16"}
    image = fitting(np.arange(48 * 64, dtype=">u2").reshape(SHAPE), camera)
    assert image.dtype == np.uint16
    assert image.dtype.isnative
    assert image[0, 1] == 1


def test_a_source_of_other_frames_is_refused_once_and_costs_the_run_nothing() -> None:
    memory = Memory(shape=SHAPE)
    with FakeReceiver(memory) as receiver:
        said = "the frames of 'wrong' are 10x9 uint16; this run takes 64x48 uint16"
        with (
            Sender(receiver.address, source="wrong", shape=(9, 10), dtype="uint16") as sender,
            pytest.raises(PeerError, match=said),
        ):
            sender.connect(5)
        outcomes: list[str] = []
        with Sender(receiver.address, source="wrong", live=False, on_done=lambda o: outcomes.append(o.why)) as sender:
            for _ in range(3):
                sender.send(np.zeros((9, 10), np.uint16))
            assert sender.flush(5)
            for _ in range(2):  # the region is set right in the camera program
                sender.send(np.zeros(SHAPE, np.uint16))
            statistics = sender.close(10)
        assert (statistics.taken, statistics.refused, statistics.closed) == (2, 3, True)
        assert sum("9 uint16" in why for why in outcomes) == 3
        assert sum("was refused" in text for text in receiver.logged) == 1
    assert memory.lost == []
    assert memory.numbers == [0, 1]


def test_frames_of_a_source_that_never_gave_a_fitting_one_are_no_losses() -> None:
    """A program of its own that says nothing of its frames in its hello, and whose first ones are of another size."""
    memory, stream = Memory(shape=SHAPE), wire_format.new_stream("by hand", "here")

    def frame(counter: int, shape: tuple[int, int]) -> tuple[bytes, bytes]:
        header = wire_format.FrameHeader(
            stream=stream, first=0, counter=counter, after=counter - 1 if counter else None, live=False, shape=shape,
            dtype="uint16",
        )  # fmt: skip
        return wire_format.encode(header), np.zeros(shape, np.uint16).tobytes()

    hello = wire_format.encode(wire_format.Hello(stream=stream, live=False))
    with FakeReceiver(memory) as receiver, zmq.Context() as context, context.socket(zmq.DEALER) as camera:
        camera.setsockopt(zmq.LINGER, 0)
        camera.connect(receiver.address)
        verdicts = []
        for parts in ((hello,), frame(0, (9, 9)), frame(1, (9, 9)), frame(2, SHAPE), frame(3, (9, 9)), frame(4, SHAPE)):
            camera.send_multipart(parts)
            assert camera.poll(5000)
            verdicts.append(wire_format.decode_answer(camera.recv()).verdict.value)
    assert verdicts == ["welcome", "refused", "refused", "taken", "refused", "taken"]
    assert memory.counters == [2, 4]
    assert [(first, last) for first, last, *_ in memory.lost] == [(1, 1)], "only what came after it was accepted"
