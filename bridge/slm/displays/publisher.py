"""Traps and levels by ZeroMQ PUB, for a display program of one's own and for the simulated camera.

A message has one or two parts: a `Said` as msgpack, and the levels, height times width bytes. Without a message for
`WATCHDOG_S` a display has to go dark by itself: whoever sent the light may be dead. While we live one comes every
`ALIVE_S`.
"""

from __future__ import annotations

import time

import msgspec
import zmq

from bridge.slm.displays.base import DisplayError, Picture
from bridge.slm.hologram import Trap

ALIVE_S = 0.05
WATCHDOG_S = 0.3


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """First part of a message."""

    v: int = 1
    what: str  # "show", "blank", "alive"
    showing: bool = False  # of "alive": what was shown last is to stay
    command: int = 0
    frame: int = -1
    t_camera_ns: int = 0
    t_sent_ns: int = 0
    shape: tuple[int, int] = (0, 0)
    traps: list[Trap] = []


class Publisher:
    """A `Display`."""

    wants_levels = True

    def __init__(self, address: str) -> None:
        self._address = address
        self._socket: zmq.Socket[bytes] | None = None
        self._showing, self._due = False, 0.0

    def open(self) -> None:
        self._context = zmq.Context()
        socket = self._context.socket(zmq.PUB)
        socket.setsockopt(zmq.SNDHWM, 4)
        socket.setsockopt(zmq.LINGER, 100)
        try:
            socket.bind(self._address)
        except zmq.ZMQError as error:
            socket.close(linger=0)
            self._context.term()
            raise DisplayError(f"{self._address} cannot be had: {error}") from None
        self._socket = socket

    def show(self, picture: Picture) -> None:
        levels = picture.levels
        said = Said(
            what="show", command=picture.command, frame=picture.frame, t_camera_ns=picture.t_camera_ns,
            t_sent_ns=time.monotonic_ns(), traps=list(picture.traps), shape=(0, 0) if levels is None else levels.shape,
        )  # fmt: skip
        self._send(said, b"" if levels is None else levels.tobytes())
        self._showing = True

    def blank(self) -> None:
        self._showing = False
        self._send(Said(what="blank", t_sent_ns=time.monotonic_ns()))

    def look(self) -> None:
        now = time.monotonic()
        if now >= self._due:
            self._due = now + ALIVE_S
            self._send(Said(what="alive", showing=self._showing, t_sent_ns=time.monotonic_ns()))

    def close(self) -> None:
        if self._socket is not None:
            self.blank()
            self._socket.close()
            self._context.term()
            self._socket = None

    def _send(self, said: Said, levels: bytes = b"") -> None:
        if self._socket is None:
            raise DisplayError(f"{self._address} is not open")
        parts = [msgspec.msgpack.encode(said)]
        self._socket.send_multipart([*parts, levels] if levels else parts)
