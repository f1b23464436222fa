"""Keys (CURVE) of the control socket, which needs them as soon as other computers can reach it, and of camera frames
where `camera.encrypt` asks for it.

`ringtrack keys` makes two pairs in the keys folder: `server.key_secret` stays on the tracking PC; `client.key_secret`
goes, by hand, to whoever may steer or send, together with `server.key`. Only who has that key is answered.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

from engine.errors import MachineError
from engine.keys import keys_folder

FILES = ("server.key", "server.key_secret", "client.key", "client.key_secret")
_KEY_BYTES = 40


def make_keys(folder: Path | None = None) -> Path:
    """Make both pairs; the folder. Raises MachineError if there are some already: they are never overwritten."""
    folder = folder or keys_folder()
    if any((folder / name).exists() for name in FILES):
        raise MachineError(f"{folder}: there are keys already; remove them first if nobody uses them any more")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".new-", dir=folder) as beside:  # where nobody else can look
            for name in ("server", "client"):
                _, secret = zmq.auth.create_certificates(beside, name)
                Path(secret).chmod(0o600)
            for name in FILES:
                Path(beside, name).rename(folder / name)
    except OSError as error:
        raise MachineError(f"{folder}: keys cannot be written there: {error.strerror}. Name another folder") from None
    return folder


class Guard:
    """Says for the sockets of one context who may talk to them. A context manager: its thread ends with it."""

    def __init__(self, context: zmq.Context[Any]) -> None:
        self._context = context
        self._authenticator: ThreadAuthenticator | None = None

    def knows(self, client: bytes) -> None:
        """Let in who has this public key, and nobody else."""
        if self._authenticator is None:
            self._authenticator = ThreadAuthenticator(self._context)
            self._authenticator.start()
            self._authenticator.configure_curve_callback(domain="*", credentials_provider=_Known(client))

    def close(self) -> None:
        """End the thread; before the context."""
        authenticator, self._authenticator = self._authenticator, None
        if authenticator is not None:
            authenticator.stop()

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve_with_keys(socket: zmq.Socket[bytes], guard: Guard, why: str) -> None:
    """Let a server socket talk to holders of the client key alone. Raises MachineError, with `why`, without keys."""
    folder = keys_folder()
    try:
        public, secret = _pair(folder / "server.key_secret")
        client = _public(folder / "client.key")
    except OSError:
        raise MachineError(f"{why}, and {folder} has none. Make them with: ringtrack keys") from None
    except ValueError as error:
        raise MachineError(f"{why}, and {error} is damaged. Remove all keys there, and: ringtrack keys") from None
    guard.knows(client)
    socket.curve_publickey, socket.curve_secretkey = public, secret
    socket.curve_server = True


def client_keys(folder: Path | None = None) -> tuple[bytes, bytes, bytes]:
    """Public and secret key of a client, and the server's. Raises MachineError if they are not there."""
    folder = folder or keys_folder()
    try:
        return *_pair(folder / "client.key_secret"), _public(folder / "server.key")
    except (OSError, ValueError):
        raise MachineError(
            f"{folder}: client.key_secret and server.key are needed; copy them from the tracking PC"
        ) from None


def _pair(path: Path) -> tuple[bytes, bytes]:
    """Public and secret key of a file. Raises OSError, and ValueError (with the path) if it holds no such keys."""
    public = _public(path)
    secret = zmq.auth.load_certificate(path)[1] or b""
    if len(secret) != _KEY_BYTES:
        raise ValueError(str(path))
    return public, secret


def _public(path: Path) -> bytes:
    try:
        public = bytes(zmq.auth.load_certificate(path)[0])
    except ValueError:
        raise ValueError(str(path)) from None
    if len(public) != _KEY_BYTES:
        raise ValueError(str(path))
    return public


def call_with_keys(socket: zmq.Socket[bytes], folder: Path | None = None) -> None:
    """Give a client socket its keys. Raises MachineError if they are not there."""
    socket.curve_publickey, socket.curve_secretkey, socket.curve_serverkey = client_keys(folder)


class _Known:
    """Says whether a client's public key is the one that we gave out."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def callback(self, domain: str, key: bytes) -> bool:
        return key == self._key
