"""The sender's thread: it owns the socket, and asks the outbox what to send.

    poll ─► answers ─► clock offset, outbox ─► outcomes to the caller
         └► outbox.due ─► socket, without a copy

ZeroMQ reconnects by itself, with back-off, and notices a dead line by heartbeats; it tells us of each new connection,
and then the outbox says hello first. Nothing is queued while there is no connection (ZMQ_IMMEDIATE), so whatever was
handed over is on the wire or lost with it.
"""

from __future__ import annotations

import contextlib
import socket as sockets
import threading
import time
from collections.abc import Callable
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from bridge import wire
from bridge.outbox import ByeDue, FrameDue, HelloDue
from bridge.pictures import Picture
from engine.clocks import monotonic_ns

TICK_MS = 100
RETRY_S = 0.5
# On loopback, at 50 frames/s of 8 MiB: 3 % less CPU than 128 KiB; flat out no difference. Linux grants no more than
# net.core.rmem_max and wmem_max.
SOCKET_BUFFER = 256 << 10
HIGH_WATER = 2
REFUSED_WITHOUT_KEYS = "what listens there takes no frames without keys (camera.encrypt): give this sender its keys"
REFUSED_WITH_KEYS = "what listens there has other keys, or takes frames without any (camera.encrypt = false)"
Due = HelloDue | ByeDue | FrameDue[Picture]


class Desk:
    """What the thread asks of the sender; the sender locks."""

    def due(self, now_ns: int) -> Due | None:
        """What to send now."""
        raise NotImplementedError

    def compose(self, due: Due, t_sent_ns: int) -> tuple[bytes, Any | None]:
        """Its header and its pixels (None: the message is one part)."""
        raise NotImplementedError

    def sent(self, due: Due, t_sent_ns: int, tracker: zmq.MessageTracker | None) -> None:
        """ZeroMQ has it."""
        raise NotImplementedError

    def answered(self, answer: wire.Answer, t_ns: int) -> None:
        """An answer came."""
        raise NotImplementedError

    def connected(self, yes: bool) -> None:
        """The connection came or went."""
        raise NotImplementedError

    def complain(self, why: str) -> None:
        """Something came that is no answer."""
        raise NotImplementedError

    def failed(self, error: BaseException) -> None:
        """The thread ended by an error of ours."""
        raise NotImplementedError


class Link:
    """The thread; `start`, `wake` from any thread, `stop` waits for its end."""

    def __init__(
        self, address: str, desk: Desk, clock: Callable[[], int] = monotonic_ns,
        keys: tuple[bytes, bytes, bytes] | None = None,
    ) -> None:  # fmt: skip
        """`keys`: as `bridge.keys.client_keys` gives them, for a receiver that wants frames encrypted."""
        self._address = address
        self._keys = keys
        self._desk = desk
        self._clock = clock
        self._stopping = threading.Event()
        self._bell, self._clapper = sockets.socketpair()
        self._bell.setblocking(False)
        self._clapper.setblocking(False)
        self._last_sent_ns = 0
        self._retry_at = 0.0
        self._thread = threading.Thread(target=self._run, name=f"ringtrack sender to {address}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """There may be something to send."""
        with contextlib.suppress(OSError):  # it has not heard the last one yet, or is gone
            self._clapper.send(b"!")

    def stop(self) -> None:
        self._stopping.set()
        self.wake()
        self._thread.join()
        self._bell.close()
        self._clapper.close()

    def _run(self) -> None:
        try:
            with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
                _prepare(socket)
                if self._keys is not None:
                    socket.curve_publickey, socket.curve_secretkey, socket.curve_serverkey = self._keys
                monitor = socket.get_monitor_socket(
                    zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
                    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
                )  # fmt: skip
                try:
                    socket.connect(self._address)
                    self._talk(socket, monitor)
                finally:
                    socket.disable_monitor()
                    monitor.close(linger=0)
        except BaseException as error:
            self._desk.failed(error)

    def _talk(self, socket: zmq.Socket[bytes], monitor: zmq.Socket[bytes]) -> None:
        poller = zmq.Poller()
        poller.register(socket, zmq.POLLIN)
        poller.register(monitor, zmq.POLLIN)
        poller.register(self._bell, zmq.POLLIN)
        online = False
        while not self._stopping.is_set():
            ready = dict(poller.poll(TICK_MS))
            if self._bell.fileno() in ready:
                self._hush()
            if monitor in ready:
                online = self._watch(monitor, online)
            if socket in ready:
                self._listen(socket)
            if self._retry_at and time.monotonic() >= self._retry_at:
                self._retry_at = 0.0
                with contextlib.suppress(zmq.ZMQError):
                    socket.disconnect(self._address)
                socket.connect(self._address)
            stuck = self._speak(socket) if online else False
            poller.modify(socket, zmq.POLLIN | zmq.POLLOUT if stuck else zmq.POLLIN)

    def _hush(self) -> None:
        with contextlib.suppress(OSError):
            while self._bell.recv(4096):
                pass

    def _watch(self, monitor: zmq.Socket[bytes], online: bool) -> bool:
        while monitor.poll(0):
            event = recv_monitor_message(monitor)["event"]
            if event in (zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, zmq.EVENT_HANDSHAKE_FAILED_AUTH):
                self._desk.complain(REFUSED_WITH_KEYS if self._keys else REFUSED_WITHOUT_KEYS)
                self._retry_at = time.monotonic() + RETRY_S  # ZeroMQ has given up; another run may come there
            online = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
            self._desk.connected(online)
        return online

    def _listen(self, socket: zmq.Socket[bytes]) -> None:
        while socket.poll(0):
            parts = socket.recv_multipart()
            t_ns = self._clock()
            try:
                answer = wire.decode_answer(parts[0])
            except wire.PeerError as error:
                self._desk.complain(str(error))
                continue
            self._desk.answered(answer, t_ns)

    def _speak(self, socket: zmq.Socket[bytes]) -> bool:
        """Send what is due. True if ZeroMQ takes no more for now."""
        while (due := self._desk.due(self._clock())) is not None:
            if not socket.poll(0, zmq.POLLOUT):
                return True
            t_sent_ns = max(self._clock(), self._last_sent_ns + 1)  # a coarse clock must not give two messages one time
            header, pixels = self._desk.compose(due, t_sent_ns)
            tracker = None
            try:
                if pixels is None:
                    socket.send(header, zmq.NOBLOCK)
                else:
                    socket.send(header, zmq.NOBLOCK | zmq.SNDMORE)
                    tracker = socket.send(pixels, zmq.NOBLOCK, copy=False, track=True)
            except zmq.Again:
                return True
            self._last_sent_ns = t_sent_ns
            self._desk.sent(due, t_sent_ns, tracker)
        return False


def _prepare(socket: zmq.Socket[bytes]) -> None:
    socket.set(zmq.LINGER, 0)
    socket.set(zmq.SNDHWM, HIGH_WATER)
    socket.set(zmq.RCVHWM, 1000)
    socket.set(zmq.SNDBUF, SOCKET_BUFFER)
    socket.set(zmq.RCVBUF, SOCKET_BUFFER)
    socket.set(zmq.MAXMSGSIZE, wire.MAX_HEADER_BYTES)
    socket.set(zmq.IMMEDIATE, 1)
    socket.set(zmq.RECONNECT_IVL, 50)
    socket.set(zmq.RECONNECT_IVL_MAX, 1000)
    socket.set(zmq.HEARTBEAT_IVL, 1000)
    socket.set(zmq.HEARTBEAT_TIMEOUT, 5000)
    socket.set(zmq.CONNECT_TIMEOUT, 5000)
