"""Red Tweezers: a hologram engine on the graphics card that is told traps by UDP (Bowman et al. 2014, Comput. Phys.
Commun. 185, 268).

A datagram is text: `<data>`, uniforms, `</data>`. Uniform 0 is the number of traps, uniform 2 has 16 numbers a trap:
x, y, z, charge of a vortex; intensity, phase, two unused; the part of the aperture (x, y, radius, one unused); the
length of a line trap (x, y, z) and its gradient of phase. x, y, z are in the engine's own unit, µm as a rule: the
registration has to be made in it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Sequence

from bridge.slm.displays.base import DisplayError, Picture
from bridge.slm.hologram import Trap
from engine.addresses import parse_address
from engine.clocks import NS, monotonic_ns

LARGEST = 60_000
AGAIN_S = 0.04
"""The last datagram is sent again so often: one that was lost is made good, and a computer that has no engine any more
refuses it."""


class RedTweezers:
    """A `Display`. UDP has no answers: an engine that hangs is not noticed, one that has ended is."""

    wants_levels = False

    def __init__(self, address: str) -> None:
        self._to = parse_address(address, scheme="udp://")
        self._socket: socket.socket | None = None
        self._last = b""
        self._sent_ns = 0  # when the last datagram was sent
        self._before_ns = 0  # and the one before it, which nobody refused

    def open(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(self._to)  # only then are refusals heard of
        self._sent_ns = self._before_ns = 0

    def show(self, picture: Picture) -> None:
        self._send(packet(picture.traps))

    def blank(self) -> None:
        self._send(packet([]))

    def look(self) -> None:
        self._hear()
        if self._last and monotonic_ns() - self._sent_ns >= AGAIN_S * NS:
            self._send(self._last)

    def close(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(DisplayError):
                self.blank()
            self._socket.close()
            self._socket = None
        self._last = b""

    def _send(self, data: bytes) -> None:
        if len(data) > LARGEST:
            raise DisplayError(f"{len(data)} bytes of traps; a datagram has room for {LARGEST}")
        now_ns = monotonic_ns()
        try:
            self._here().send(data)
        except OSError as error:
            raise self._gone(error) from None
        self._last, self._before_ns, self._sent_ns = data, self._sent_ns, now_ns
        self._hear()  # on one computer the refusal is there when `send` returns

    def _hear(self) -> None:
        """Raise DisplayError if what was sent last has been refused: the system keeps that for who asks."""
        if number := self._here().getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise self._gone(OSError(number, os.strerror(number)))

    def _here(self) -> socket.socket:
        if self._socket is None:
            raise DisplayError("the socket is not open")
        return self._socket

    def _gone(self, error: OSError) -> DisplayError:
        refused = error.errno == errno.ECONNREFUSED
        why = f"nobody listens at udp://{self._to[0]}:{self._to[1]}" if refused else str(error)
        return DisplayError(why, self._before_ns or None)


def packet(traps: Sequence[Trap]) -> bytes:
    """The datagram of some traps. Without any: one of no intensity, because an engine keeps what it is not told."""
    shown = list(traps) or [Trap(x=0, y=0, intensity=0)]
    numbers = " ".join(
        f"{value:.6f}"
        for trap in shown
        for value in (trap.x, trap.y, trap.z, 0, trap.intensity, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0)
    )
    return f"<data>\n<uniform id=0>\n{len(shown)}\n</uniform>\n<uniform id=2>\n{numbers}\n</uniform>\n</data>".encode()
