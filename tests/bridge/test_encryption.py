"""Frames that travel encrypted, over real sockets: only with our keys, and nobody on the way sees a pixel."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from helpers_reception import FakeReceiver, Memory, image, wait_until

from bridge.encryption import cost_of
from bridge.keys import make_keys
from bridge.sender import Sender
from engine.errors import MachineError, PeerError

PATTERN = bytes(range(1, 128))


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RINGTRACK_KEYS", str(tmp_path / "keys"))
    return make_keys()


@contextmanager
def _overheard(address: str) -> Iterator[tuple[str, bytearray]]:
    """A line with a listener on it: its address, and everything that went over it towards the receiver."""
    heard = bytearray()
    to = ("127.0.0.1", int(address.rpartition(":")[2]))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ends: list[socket.socket] = []

        def pump(source: socket.socket, sink: socket.socket, keep: bool) -> None:
            try:
                while data := source.recv(1 << 16):
                    if keep:
                        heard.extend(data)
                    sink.sendall(data)
                sink.shutdown(socket.SHUT_WR)
            except OSError:
                return

        def serve() -> None:
            one, _ = listening.accept()
            other = socket.create_connection(to)
            ends.extend((one, other))
            back = threading.Thread(target=pump, args=(other, one, False))
            back.start()
            pump(one, other, True)
            back.join()

        line = threading.Thread(target=serve)
        line.start()
        try:
            yield f"tcp://127.0.0.1:{listening.getsockname()[1]}", heard
        finally:
            line.join(10)
            for end in ends:
                end.close()


def _hears(sender: Sender, why: str, close: bool = True) -> None:
    wait_until(lambda: why in sender.statistics.trouble)
    with pytest.raises(PeerError, match=re.escape(why)):
        sender.connect(0.01)
    if close:
        sender.close(0.0)


@pytest.mark.parametrize("encrypt", [False, True])
def test_who_listens_on_the_line_sees_pixels_only_where_they_are_not_encrypted(keys: Path, encrypt: bool) -> None:
    memory = Memory(dtype="uint8")
    pixels = np.frombuffer((PATTERN * 25)[: 48 * 64], np.uint8).reshape(48, 64)
    with (
        FakeReceiver(memory, encrypt=encrypt) as receiver,
        _overheard(receiver.address) as (line, heard),
        Sender(line, live=False, keys=keys if encrypt else None) as sender,
    ):
        for _ in range(20):
            sender.send(pixels)
        assert sender.close().taken == 20
    assert all((taken == pixels).all() for _, _, taken in memory.frames)
    assert len(heard) > 20 * pixels.nbytes
    assert (PATTERN in heard) is not encrypt


def test_a_sender_without_our_keys_sends_nothing_and_hears_why(keys: Path, tmp_path: Path) -> None:
    strangers = make_keys(tmp_path / "strangers")
    (strangers / "server.key").write_bytes((keys / "server.key").read_bytes())  # they know whom they talk to
    memory = Memory()
    with FakeReceiver(memory, encrypt=True) as receiver:
        for given, why in ((None, "give this sender its keys"), (strangers, "other keys")):
            with Sender(receiver.address, keys=given) as sender:
                sender.send(image(1))
                _hears(sender, why)
    assert memory.frames == []
    with pytest.raises(MachineError, match="copy them from the tracking PC"):
        Sender("tcp://127.0.0.1:9", keys=tmp_path)


def test_keys_for_a_run_that_wants_none_are_told_of_and_the_next_run_is_found(keys: Path) -> None:
    memory = Memory()
    with ExitStack() as stack:
        with FakeReceiver(Memory()) as receiver:
            sender = stack.enter_context(Sender(receiver.address, keys=keys))
            _hears(sender, "camera.encrypt = false", close=False)
        with FakeReceiver(memory, receiver.address, encrypt=True):
            sender.connect(10)
            sender.send(image(1))
            sender.close()
    assert len(memory.frames) == 1


def test_a_receiver_without_keys_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RINGTRACK_KEYS", str(tmp_path))
    with pytest.raises(MachineError, match="ringtrack keys"), FakeReceiver(Memory(), encrypt=True):
        pass


def test_the_cost_is_measured_and_grows_with_the_pixels() -> None:
    small, large = cost_of(1 << 18, 10), cost_of(1 << 23, 1e4)
    assert 0 < small.frame_ms < large.frame_ms
    assert "of CPU a frame at each end" in small.said()
    assert not large.fits
    assert "too much" in large.said()
