"""A control server that other computers can reach: keys, or no answer."""

from __future__ import annotations

import asyncio
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import zmq

import bridge.control
from bridge import control_wire as wire
from bridge.async_client import AsyncClient
from bridge.clear import KEPT_S, MOST_KEPT, ClearPixels
from bridge.client import Client
from bridge.control import Server
from bridge.desk import Desk, Found
from bridge.keys import make_keys
from engine.errors import MachineError, PeerError
from engine.rows import ROW

PIXELS = np.arange(60 * 80, dtype=np.uint16).reshape(60, 80)
ROWS = np.zeros(2, ROW)


class Alike(Desk):
    """Answers everything alike."""

    def __init__(self) -> None:
        """It has no run."""

    def handle(self, request: wire.AnyRequest) -> Found:
        if isinstance(request, wire.Latest):
            return {"place": 1, "step": 1, "corner": (0, 0), "meta": {"frame": 7}}, {"rows": ROWS, "pixels": PIXELS}
        return {"said": type(request).__name__}, {}


@contextmanager
def _served(monkeypatch: pytest.MonkeyPatch, keys: Path, encrypt: bool = False) -> Iterator[tuple[Server, list[str]]]:
    """A server on a port that it takes for one that others can reach."""
    monkeypatch.setenv("RINGTRACK_KEYS", str(keys))
    monkeypatch.setattr(bridge.control, "is_loopback", lambda _: False)
    said: list[str] = []
    job: Any = SimpleNamespace(
        run_id=f"keys-{keys.name}", log=lambda level, words: said.append(words), stopping=False,
        experiment=SimpleNamespace(control=SimpleNamespace(listen="tcp://127.0.0.1:*", encrypt_pixels=encrypt)),
        status=SimpleNamespace(count=lambda name, n=1: None),
    )  # fmt: skip
    monkeypatch.setattr(bridge.control, "parse_address", lambda _: ("0.0.0.0", 0))
    with Server(job, Alike()) as server:
        yield server, said


def _asked(server: Server, address: str, keys: Path | None) -> Any:
    """What a client with these keys is answered."""

    def ask() -> Any:
        with Client(address, timeout_s=0.7, keys=keys) as client:
            return client.call(wire.Hello())[0]

    return _meanwhile(server, ask)


def _meanwhile(server: Server, what: Callable[[], Any]) -> Any:
    """What somebody else gets, or the error; the server does its steps meanwhile."""
    answer: list[Any] = []

    def ask() -> None:
        try:
            answer.append(what())
        except (PeerError, MachineError) as error:
            answer.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    while thread.is_alive():
        server.step()
    return answer[0]


def test_only_who_holds_the_client_key_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, strangers = make_keys(tmp_path / "ours"), make_keys(tmp_path / "strangers")
    with _served(monkeypatch, ours) as (server, _):
        address = server._bound["control.listen"].get_string(zmq.LAST_ENDPOINT)
        assert _asked(server, address, ours) == {"said": "Hello"}
        assert "has not answered" in str(_asked(server, address, None))
        (strangers / "server.key").write_bytes((ours / "server.key").read_bytes())  # they know whom they talk to
        assert "has not answered" in str(_asked(server, address, strangers))
        assert "copy them from the tracking PC" in str(_asked(server, address, tmp_path))


def test_without_keys_nobody_else_can_reach_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with _served(monkeypatch, tmp_path / "none") as (server, said):
        assert "control.listen" not in server._bound
        assert any("ringtrack keys" in words for words in said)
        assert _asked(server, "ipc://@ringtrack-keys-none", None) == {"said": "Hello"}


def test_keys_are_for_their_owner_and_never_overwritten(tmp_path: Path) -> None:
    folder = make_keys(tmp_path / "keys")
    for secret in folder.glob("*.key_secret"):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    with pytest.raises(MachineError, match="keys already"):
        make_keys(folder)
    before = (folder / "client.key_secret").read_bytes()
    (folder / "server.key_secret").unlink()  # as on the computer that steers
    with pytest.raises(MachineError, match="keys already"):
        make_keys(folder)
    assert (folder / "client.key_secret").read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == ["client.key", "client.key_secret", "server.key"]
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match="keys cannot be written there"):
        make_keys(tmp_path / "file")


def test_keys_that_are_damaged_or_of_the_wrong_kind_are_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = make_keys(tmp_path / "keys")
    (keys / "client.key_secret").write_bytes((keys / "client.key").read_bytes())  # copied under the wrong name
    with Client("tcp://127.0.0.1:9", keys=str(keys)) as client, pytest.raises(MachineError, match="copy them from"):
        client.hello()
    (keys / "server.key_secret").write_text("not a key")
    with _served(monkeypatch, keys) as (server, said):
        assert "control.listen" not in server._bound
        assert any("server.key_secret is damaged" in words for words in said)


async def _latest(address: str, keys: Path) -> Any:
    async with AsyncClient(address, timeout_s=3, keys=keys) as client:
        return await client.get_latest_image()


@pytest.mark.parametrize("encrypt", [False, True])
def test_pixels_for_other_computers_are_encrypted_only_where_asked(
    encrypt: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Any] = []
    decode = wire.decode_answer

    def noted(parts: list[Any]) -> Any:
        answers.append(parts)
        return decode(parts)

    monkeypatch.setattr(wire, "decode_answer", noted)
    keys = make_keys(tmp_path / "keys")
    with _served(monkeypatch, keys, encrypt) as (server, _):
        address = server._bound["control.listen"].get_string(zmq.LAST_ENDPOINT)

        def look() -> Any:
            with Client(address, timeout_s=3, keys=keys) as client:
                return client.get_latest_image(), client.get_latest_image()

        first, second = _meanwhile(server, look)
        third = _meanwhile(server, lambda: asyncio.run(_latest(address, keys)))
        assert (server._clear is None) is encrypt
    for image in (first, second, third):
        np.testing.assert_array_equal(image.pixels, PIXELS)
        assert (image.frame, len(image.rows)) == (7, 2)
    over_the_keyed_line = [sum(memoryview(part).nbytes for part in parts) > PIXELS.nbytes for parts in answers]
    assert over_the_keyed_line == [encrypt] * 3


def test_a_ticket_is_good_once_and_not_for_long_and_nobody_can_guess_one() -> None:
    now = [0.0]
    with zmq.Context() as context:
        clear = ClearPixels(context, "tcp://127.0.0.1:50053", clock=lambda: now[0])
        with context.socket(zmq.DEALER) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.connect(f"tcp://127.0.0.1:{clear.port}")

            def got(ticket: bytes) -> int:
                socket.send(ticket)
                assert clear.socket.poll(3000)
                clear.serve()
                assert socket.poll(3000)
                return len(socket.recv())

            ticket, late = clear.keep(PIXELS), clear.keep(PIXELS)
            assert got(bytes(16)) == 0
            assert got(ticket) == PIXELS.nbytes
            assert got(ticket) == 0
            now[0] = KEPT_S + 0.1
            assert got(late) == 0
            many = [clear.keep(PIXELS) for _ in range(MOST_KEPT + 1)]
            assert got(many[0]) == 0  # who asks and never fetches costs no memory without end
            assert got(many[-1]) == PIXELS.nbytes
        clear.close()
