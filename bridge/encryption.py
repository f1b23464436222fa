"""What it costs to encrypt frames on their way: measured here, over real sockets of this machine.

ZeroMQ encrypts (CURVE: Curve25519, XSalsa20, Poly1305) in the one thread of its own that a socket has at each end. So
frames that take more than a second of its time a second cannot be had encrypted, however many cores there are.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

import zmq

MEASURED_BYTES = 1 << 20
ROUNDS = 5


@dataclass(frozen=True)
class Cost:
    """Of one end of the connection."""

    frame_ms: float  # of CPU a frame, more than without encryption
    cores: float  # share of a core at the configured rate; the other end takes the same
    fits: bool  # whether one thread at each end can do it

    def said(self) -> str:
        """In words."""
        text = f"{self.frame_ms:.1f} ms of CPU a frame at each end, {100 * self.cores:.0f} % of a core"
        return text if self.fits else text + ": too much for the one thread that does it"


def cost_of(frame_bytes: int, fps: float) -> Cost:
    """What frames of this size and rate would take to encrypt here. Takes about a tenth of a second."""
    plain, encrypted = _cpu_ms(False), _cpu_ms(True)
    frame_ms = max(0.0, encrypted - plain) / 2 * frame_bytes / MEASURED_BYTES  # what is sent grows with its size
    cores = frame_ms * fps / 1000
    return Cost(frame_ms, cores, cores < 1.0)


def _cpu_ms(encrypted: bool) -> float:
    """CPU of this process for one message from socket to socket, both ends; the least of some."""
    pixels = os.urandom(MEASURED_BYTES)
    with zmq.Context() as context, context.socket(zmq.PULL) as taking, context.socket(zmq.PUSH) as giving:
        giving.setsockopt(zmq.LINGER, 0)
        if encrypted:
            _with_keys(taking, giving)
        giving.connect(f"tcp://127.0.0.1:{taking.bind_to_random_port('tcp://127.0.0.1')}")
        took = []
        for _ in range(ROUNDS + 1):  # the first one waits for the connection
            began = time.process_time()
            giving.send(pixels)  # a copy, in both measurements; without it pyzmq keeps a thread and its files
            taking.recv(copy=False)
            took.append(1000 * (time.process_time() - began))
    return min(took[1:])


def _with_keys(server: zmq.Socket[Any], client: zmq.Socket[Any]) -> None:
    public, secret = zmq.curve_keypair()
    server.curve_server, server.curve_publickey, server.curve_secretkey = True, public, secret
    client.curve_serverkey = public
    client.curve_publickey, client.curve_secretkey = zmq.curve_keypair()
