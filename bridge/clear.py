"""Pictures in the clear beside a control socket with keys: to encrypt 8 MiB takes longer than all the rest of it.

Requests, results and settings stay encrypted. Where `control.encrypt_pixels` is false the answer to `latest` says
where the pixels can be had instead of holding them:

1. `keep`: the server keeps the pixels under a ticket (16 random bytes), which goes, encrypted, to who asked.
2. The client sends the ticket to the second port, which has no keys.
3. `serve`: the server hands the pixels to the first who shows it, once, within `KEPT_S`.

Somebody on the way can see these pixels and could change them; nothing else.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray

TICKET_BYTES = 16
KEPT_S = 5.0
MOST_KEPT = 32


class ClearPixels:
    """The server's second port. `serve` whenever `socket` can be read."""

    def __init__(self, context: zmq.Context[Any], listen: str, clock: Callable[[], float] = time.monotonic) -> None:
        """At any free port of the interface of `listen` ("tcp://0.0.0.0:50053"). Raises zmq.ZMQBaseError."""
        self._clock = clock
        self._kept: dict[bytes, tuple[float, NDArray[Any]]] = {}
        self.socket = context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.MAXMSGSIZE, 64)
        self.socket.setsockopt(zmq.SNDHWM, 4)
        self.socket.setsockopt(zmq.RCVHWM, 64)
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.socket.setsockopt(zmq.LINGER, 200)
        try:
            self.port = self.socket.bind_to_random_port(listen.rpartition(":")[0])
        except zmq.ZMQBaseError:  # ZMQBindError, too: no port is free
            self.socket.close(linger=0)
            raise

    def keep(self, pixels: NDArray[Any]) -> bytes:
        """The ticket for these pixels, which must not change any more."""
        self._forget()
        while len(self._kept) >= MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        ticket = secrets.token_bytes(TICKET_BYTES)
        self._kept[ticket] = self._clock() + KEPT_S, pixels
        return ticket

    def serve(self) -> None:
        """Hand out what is asked for with a ticket; to others nothing. Never waits."""
        self._forget()
        for _ in range(64):
            try:
                parts = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if len(parts) != 2:
                continue
            _, pixels = self._kept.pop(parts[1], (0.0, np.zeros(0, np.uint8)))
            try:
                self.socket.send_multipart([parts[0], np.ascontiguousarray(pixels)], zmq.NOBLOCK, copy=False)
            except zmq.ZMQError:
                continue  # it left, or does not read

    def close(self) -> None:
        """No more."""
        self._kept.clear()
        self.socket.close(linger=200)

    def _forget(self) -> None:
        now = self._clock()
        for ticket in [ticket for ticket, (end, _) in self._kept.items() if end < now]:
            del self._kept[ticket]


def address_beside(address: str, port: int) -> str:
    """Where the pixels are, for who reached the control server at `address`."""
    return f"{address.rpartition(':')[0]}:{port}"
