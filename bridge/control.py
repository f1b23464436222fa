"""The control server: a process of its own that answers programs and people who steer a run.

It looks at the rings as a live reader and is the one writer of the settings by version; nothing waits for it, and its
death costs the run nothing: the next one goes on with the versions where it stopped. It listens at `control.listen`
and, for programs on this machine, at a name that belongs to this run alone (`local_address`).

A request that has to wait (the next result, the first frame under new settings) is *pending* and answered later; a
client that does not read its answers loses them, and nobody else notices.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import zmq
from numpy.typing import NDArray

from bridge import control_wire as wire
from bridge.clear import ClearPixels
from bridge.desk import Desk, Found, Later
from bridge.keys import Guard, serve_with_keys
from engine.addresses import is_loopback, parse_address
from engine.errors import RingtrackError, SettingsError

if TYPE_CHECKING:
    from engine.process import Job

COUNTERS = ("requests", "refused", "unread", "changes")
IDLE_MS, BUSY_MS = 100, 2
BIND_EVERY_S = 1.0
MOST_PENDING = 256
MOST_OF_ONE = 8  # answers that one client waits for


@dataclass
class Pending:
    """An answer that waits for something to happen."""

    socket: zmq.Socket[bytes]
    identity: bytes
    id: int
    poll: Callable[[bool], Found | None]  # True: the time is over, answer now
    end: float


def local_address(run_id: str) -> str:
    """Where the server of a run is found on its own machine. An abstract name: no file, gone with the process."""
    return f"ipc://@ringtrack-{run_id}"


class Server:
    """The sockets. A context manager; `step` answers what has come."""

    def __init__(self, job: Job, desk: Desk) -> None:
        self._job = job
        self._desk = desk
        self._pending: list[Pending] = []
        self._wanted = {"local": local_address(job.run_id), "control.listen": job.experiment.control.listen}
        self._bound: dict[str, zmq.Socket[bytes]] = {}
        self._said: set[str] = set()
        self._bind_due = 0.0

    def __enter__(self) -> Server:
        self._context = zmq.Context()
        self._clear: ClearPixels | None = None  # where other computers get pixels that are not encrypted
        self._guard = Guard(self._context)
        self._bind()
        return self

    def __exit__(self, *_: object) -> None:
        for socket in self._bound.values():
            socket.close(linger=200)
        if self._clear is not None:
            self._clear.close()
        self._guard.close()
        self._context.term()

    def step(self) -> None:
        """Answer what has come, and what was waited for."""
        if len(self._bound) < len(self._wanted) and time.monotonic() >= self._bind_due:
            self._bind()
        poller = zmq.Poller()
        for socket in self._bound.values():
            poller.register(socket, zmq.POLLIN)
        if self._clear is not None:
            poller.register(self._clear.socket, zmq.POLLIN)
        ready = dict(poller.poll(BUSY_MS if self._pending else IDLE_MS))
        for socket in self._bound.values():
            for _ in range(64 if socket in ready else 0):
                try:
                    parts = socket.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                self._one(socket, parts[0], parts[1:])
        if self._clear is not None and self._clear.socket in ready:
            self._clear.serve()
        self._look_at_pending()

    def _bind(self) -> None:
        """Listen where we do not yet. A port that is taken is told of, and tried again: it never ends the run."""
        self._bind_due = time.monotonic() + BIND_EVERY_S
        for name, address in self._wanted.items():
            if name in self._bound:
                continue
            socket = self._context.socket(zmq.ROUTER)
            socket.setsockopt(zmq.MAXMSGSIZE, wire.LARGEST_REQUEST)
            socket.setsockopt(zmq.SNDHWM, 8)  # answers that a client does not read
            socket.setsockopt(zmq.RCVHWM, 64)
            socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
            socket.setsockopt(zmq.LINGER, 200)
            try:
                keyed = name != "local" and not is_loopback(parse_address(address)[0])
                if keyed:
                    serve_with_keys(socket, self._guard, "other computers can reach it, so it needs keys")
                socket.bind(address)
                if keyed and not self._job.experiment.control.encrypt_pixels:
                    self._clear = ClearPixels(self._context, address)
            except (zmq.ZMQBaseError, RingtrackError) as error:
                socket.close(linger=0)
                if name not in self._said:
                    self._said.add(name)
                    self._job.log("warning", _unheard(name, address, error))
                continue
            self._bound[name] = socket
            self._job.log("info", f"control clients are answered at {socket.get_string(zmq.LAST_ENDPOINT)}")

    def _one(self, socket: zmq.Socket[bytes], identity: bytes, parts: list[bytes]) -> None:
        status = self._job.status
        status.count("requests")
        data = parts[-1] if parts else b""
        try:
            if len(parts) > 2 or (len(parts) == 2 and parts[0]):  # an empty part in front: a REQ socket
                raise SettingsError(f"a request is one part, this one has {len(parts)}")
            request = wire.decode_request(data)
        except RingtrackError as error:
            status.count("refused")
            blame = "version" if isinstance(error, wire.OtherVersionError) else "request"
            self._answer(socket, identity, wire.Answer(id=wire.id_of(data), error=str(error), blame=blame), {})
            return
        if request.run not in ("", self._job.run_id):
            status.count("refused")
            answer = wire.Answer(id=request.id, error=self._another(request.run), blame="run")
            self._answer(socket, identity, answer, {})
            return
        # Before anything is done: an error says that nothing was.
        own = sum(one.socket is socket and one.identity == identity for one in self._pending)
        if own >= MOST_OF_ONE or len(self._pending) >= MOST_PENDING:
            status.count("refused")
            who = "this client waits for" if own >= MOST_OF_ONE else "clients wait for"
            answer = wire.Answer(id=request.id, error=f"{who} too many answers at once; try again", blame="server")
            self._answer(socket, identity, answer, {})
            return
        try:
            result, arrays = self._desk.handle(request)
        except Later as later:
            end = time.monotonic() + later.wait_s
            self._pending.append(Pending(socket, identity, request.id, later.poll, end))
        except Exception as error:
            status.count("refused")
            self._answer(socket, identity, self._refusal(request.id, error), {})
        else:
            answer, arrays = self._beside(socket, request, wire.Answer(id=request.id, result=result), arrays)
            self._answer(socket, identity, answer, arrays)

    def _beside(
        self, socket: zmq.Socket[bytes], request: wire.AnyRequest, answer: wire.Answer, arrays: dict[str, NDArray[Any]]
    ) -> tuple[wire.Answer, dict[str, NDArray[Any]]]:
        """Pixels that need not be encrypted wait at the other port, for who has the ticket."""
        wanted = isinstance(request, wire.Latest) and request.clear and "pixels" in arrays
        if not wanted or self._clear is None or socket is not self._bound.get("control.listen"):
            return answer, arrays
        pixels = arrays["pixels"]
        part = wire.BesidePart("pixels", pixels.dtype.str, pixels.shape, self._clear.keep(pixels))
        left = {name: array for name, array in arrays.items() if name != "pixels"}
        return msgspec.structs.replace(answer, beside=[part], beside_port=self._clear.port), left

    def _another(self, meant: str) -> str:
        return (
            f"the run {meant[:6]} is not here any more: another one, {self._job.run_id[:6]} "
            f"({self._job.run_folder}), answers at this address now"
        )

    def _refusal(self, number: int, error: Exception) -> wire.Answer:
        if isinstance(error, SettingsError):
            return wire.Answer(id=number, error=str(error), blame="settings")
        if isinstance(error, RingtrackError):
            return wire.Answer(id=number, error=str(error), blame="run")
        self._job.log_exception(error)
        return wire.Answer(
            id=number, error=f"internal error, our fault: {type(error).__name__}: {error}", blame="server"
        )

    def _look_at_pending(self) -> None:
        now, left = time.monotonic(), []
        for one in self._pending:
            try:
                found = one.poll(now >= one.end or self._job.stopping)
            except Exception as error:
                self._answer(one.socket, one.identity, self._refusal(one.id, error), {})
                continue
            if found is None:
                left.append(one)
            else:
                self._answer(one.socket, one.identity, wire.Answer(id=one.id, result=found[0]), found[1])
        self._pending = left

    def _answer(
        self, socket: zmq.Socket[bytes], identity: bytes, answer: wire.Answer, arrays: dict[str, NDArray[Any]]
    ) -> None:
        parts = [wire.described(name, array) for name, array in arrays.items()]
        answer = msgspec.structs.replace(answer, run_id=self._job.run_id, arrays=parts)
        try:
            head = msgspec.msgpack.encode(answer)
        except (TypeError, ValueError, OverflowError) as error:
            arrays = {}
            refusal = self._refusal(answer.id, error)
            head = msgspec.msgpack.encode(msgspec.structs.replace(refusal, run_id=self._job.run_id))
        message: list[Any] = [identity, head, *(np.ascontiguousarray(a) for a in arrays.values())]
        try:
            socket.send_multipart(message, zmq.NOBLOCK, copy=False)
        except zmq.ZMQError:  # it left, or does not read: its answers are its own loss
            self._job.status.count("unread")


def _unheard(name: str, address: str, error: Exception) -> str:
    """Why nobody is answered at an address, and what to do."""
    if not (isinstance(error, zmq.ZMQError) and error.errno == zmq.EADDRINUSE):
        return f"{name}: {address} cannot be had: {error}"
    host, port = parse_address(address)
    return (
        f"{name}: {address} is in use, by another run or program; it is tried again. Stop that one (ringtrack status), "
        f"or choose another port for the next run: --set {name}=tcp://{host}:{port + 10}. "
        "Commands on this machine (set, record, monitor, …) reach this run all the same"
    )


def main(job: Job) -> None:
    """Answer until told to stop."""
    desk, trouble = Desk(job), ""
    with closing(desk), Server(job, desk) as server:
        job.status.ready()
        while not job.stopping:
            server.step()
            desk.go_on()
            try:
                desk.recording.look()
                desk.backgrounds.look()
            except (RingtrackError, OSError) as error:
                if str(error) != trouble:
                    trouble = str(error)
                    job.log("error", trouble)
            job.status.beat()
        desk.go_on(ending=True)
