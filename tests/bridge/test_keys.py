"""A control server that other computers can reach: keys, or no answer."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import zmq

import bridge.control
from bridge.client import Client
from bridge.control import Server
from bridge.keys import make_keys
from engine.errors import MachineError, PeerError


class Desk:
    """Answers everything alike."""

    def handle(self, request: Any) -> Any:
        return {"said": type(request).__name__}, {}


@contextmanager
def _served(monkeypatch: pytest.MonkeyPatch, keys: Path) -> Iterator[tuple[Server, list[str]]]:
    """A server on a port that it takes for one that others can reach."""
    monkeypatch.setenv("RINGTRACK_KEYS", str(keys))
    monkeypatch.setattr(bridge.control, "is_loopback", lambda _: False)
    said: list[str] = []
    job: Any = SimpleNamespace(
        run_id=f"keys-{keys.name}", log=lambda level, words: said.append(words), stopping=False,
        experiment=SimpleNamespace(control=SimpleNamespace(listen="tcp://127.0.0.1:*")),
        status=SimpleNamespace(count=lambda name, n=1: None),
    )  # fmt: skip
    monkeypatch.setattr(bridge.control, "parse_address", lambda _: ("0.0.0.0", 0))
    with Server(job, Desk()) as server:  # type: ignore[arg-type]
        yield server, said


def _asked(server: Server, address: str, keys: Path | None) -> Any:
    """What a client with these keys is answered; the server does its steps meanwhile."""
    import threading

    answer: list[Any] = []

    def ask() -> None:
        try:
            with Client(address, timeout_s=0.7, keys=keys) as client:
                answer.append(client.call(bridge.control.wire.Hello())[0])
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
