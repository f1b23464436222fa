"""The receiver's conversation with senders: one socket, one message at a time, one answer to each.

    poll ─► identity, header ─► decide (intake) ─► claim a slot ─► recv_into the slot ─► publish ─► answer

A slot is claimed only when a wanted frame is there to fill it (libzmq hands over whole messages), the pixels are
written into it by ZeroMQ itself, and a slot whose frame turned out to be wrong is used for the next one. Where frames
and losses go is behind `Store`: the rings in a run, a list in tests.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol

import msgspec
import zmq

from bridge import wire
from bridge.drops import Drops
from bridge.intake import Again, Busy, Duplicate, Intake, Known, Lost, Settle, Take
from bridge.keys import Guard, serve_with_keys
from bridge.link import HIGH_WATER, SOCKET_BUFFER
from bridge.pictures import Pixels
from bridge.wire import Answer, Bye, FrameHeader, Hello, Verdict
from engine.accounting import Cause, Step
from engine.clocks import monotonic_ns
from engine.errors import MachineError, PeerError

LARGEST_FRAME = 256 << 20  # more than this is no frame of another size but somebody else's traffic: cut off
COUNTERS = (
    "received",  # frames published
    "duplicates",
    "again",
    "dropped",
    "refused",
    "foreign",  # messages that were not ours
    "busy",  # messages of a second source
    "hellos",
    "byes",  # ends of a source
    "bytes",
)


class NoSlot(Enum):
    """Why there is no slot for a frame."""

    FULL = "full"  # a live source, and trackers are behind
    STOPPING = "stopping"


class Store(Protocol):
    """Where frames and losses go. What was published or written survives this process."""

    def claim(self, live: bool) -> Pixels | NoSlot:
        """A slot of the run's shape to fill. A finite source waits here."""
        ...

    def publish(self, header: FrameHeader, known: Known, t_received_ns: int) -> None:
        """The slot claimed last is a frame now."""
        ...

    def lose(self, lost: Lost) -> None:
        """Write a loss into the ledger."""
        ...

    def ended(self, stream: int) -> None:
        """Note that the source said bye, as the end of this stream."""
        ...


class Expected(msgspec.Struct, frozen=True):
    """What the run is made for."""

    shape: tuple[int, int]
    dtype: str
    fps: float
    run_id: str
    incarnation: int
    boot_id: str

    def fault(self, header: FrameHeader) -> str:
        """Why the frame cannot be taken, or ""."""
        if header.shape != self.shape or header.dtype != self.dtype:
            return f"frame {header.counter} is {_size(header.shape)} {header.dtype}; {self._wanted}"
        return ""

    def fault_of_source(self, hello: Hello) -> str:
        """Why none of a source's frames can be taken, or "": also where it does not say what they are."""
        if hello.shape is None or (hello.shape, hello.dtype) == (self.shape, self.dtype):
            return ""
        return f"the frames of {hello.source!r} are {_size(hello.shape)} {hello.dtype}; {self._wanted}"

    @property
    def _wanted(self) -> str:
        return f"this run takes {_size(self.shape)} {self.dtype} (camera.width, camera.height, camera.dtype)"


class Reception:
    """The socket and what is said over it. A context manager; `step` handles what has come."""

    def __init__(
        self,
        listen: str,
        expected: Expected,
        intake: Intake,
        store: Store,
        count: Callable[[str, int], None] = lambda name, n: None,
        log: Callable[[str, str], None] = lambda level, text: None,
        clock: Callable[[], int] = monotonic_ns,
        encrypt: bool = False,
    ) -> None:
        """`encrypt`: senders need the client key, and everything travels encrypted."""
        self._listen, self._encrypt = listen, encrypt
        self._expected = expected
        self._intake = intake
        self._store = store
        self._count = count
        self._log = log
        self._clock = clock
        self._said: set[str] = set()
        self._refused = 0
        self._drops = Drops(log, clock)

    def __enter__(self) -> Reception:
        self._context = zmq.Context()
        self._guard = Guard(self._context)
        self._socket = self._context.socket(zmq.ROUTER)
        try:
            if self._encrypt:
                serve_with_keys(self._socket, self._guard, "camera.encrypt: it needs keys")
            self._bind()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._drops.close()
        self._socket.close(linger=200)  # the last answers
        self._guard.close()
        self._context.term()

    @property
    def address(self) -> str:
        """Where it listens, with the port that was chosen."""
        return self._socket.get_string(zmq.LAST_ENDPOINT)

    def step(self, timeout_ms: int) -> bool:
        """Handle one message. False if none came in time."""
        if not self._socket.poll(timeout_ms):
            self._drops.look()
            return False
        identity = self._socket.recv()
        if not self._socket.get(zmq.RCVMORE):
            self._foreign("a message without a header")
            return True
        data = self._socket.recv()
        t_ns = self._clock()
        try:
            message = wire.decode(data)
        except PeerError as error:
            self._drain()
            self._foreign(str(error))
            self._answer(identity, t_ns, Verdict.REFUSED, why=str(error))
            return True
        if isinstance(message, FrameHeader):
            self._frame(identity, message, t_ns)
        else:
            self._drain()
            if isinstance(message, Hello):
                self._hello(identity, message, t_ns)
            else:
                self._bye(identity, message, t_ns)
        self._intake.heard(message.stream, self._clock())
        return True

    # ---- the three kinds of messages

    def _hello(self, identity: bytes, hello: Hello, t_ns: int) -> None:
        self._count("hellos", 1)
        fault = self._expected.fault_of_source(hello)
        if fault and not self._intake.knows(hello.stream, hello.previous):
            # Once, before its first frame, and without making it the source that speaks.
            self._say_once(fault, f"a source was refused: {fault}")
            shape, dtype = self._expected.shape, self._expected.dtype
            self._answer(identity, t_ns, Verdict.REFUSED, hello, why=fault, shape=shape, dtype=dtype)
            return
        verdict = self._intake.hello(hello, t_ns)
        if isinstance(verdict, Busy):
            self._busy(identity, hello, verdict, t_ns)
            return
        expected = self._expected
        self._answer(
            identity, t_ns, Verdict.WELCOME, hello, next=verdict.next, resume=verdict.resume,
            boot_id=expected.boot_id, shape=expected.shape, dtype=expected.dtype, fps=expected.fps,
        )  # fmt: skip

    def _bye(self, identity: bytes, bye: Bye, t_ns: int) -> None:
        verdict = self._intake.bye(bye, t_ns)
        if isinstance(verdict, Busy):
            self._busy(identity, bye, verdict, t_ns)
        elif isinstance(verdict, Again):
            self._again(identity, bye, verdict.next, t_ns)
        else:
            self._settle(bye, verdict)
            self._answer(identity, t_ns, Verdict.CLOSED, bye)

    def _settle(self, bye: Bye, settle: Settle) -> None:
        for lost in settle.losses:
            self._lose(lost)
        if settle.end:
            self._store.ended(bye.stream)
            self._intake.close(bye.stream)
            self._count("byes", 1)
            self._log("info", "the source said bye")

    def _frame(self, identity: bytes, header: FrameHeader, t_ns: int) -> None:
        fault = self._expected.fault(header)
        if fault and not self._intake.knows(header.stream, header.previous):
            # Of a source that never gave a frame: it is not this run's, so it is none that the run lost.
            self._drain()
            self._count("refused", 1)
            self._intake.unfit(header.stream, header.counter)
            self._say_once(fault.partition(";")[0].partition(" is ")[2], f"refused: {fault}")
            self._answer(identity, t_ns, Verdict.REFUSED, header, why=fault)
            return
        verdict = self._intake.frame(header, t_ns)
        if isinstance(verdict, Take):
            self._take(identity, header, verdict, t_ns)
            return
        self._drain()
        if isinstance(verdict, Duplicate):
            self._count("duplicates", 1)
            self._answer(identity, t_ns, verdict.verdict, header)
        elif isinstance(verdict, Again):
            self._again(identity, header, verdict.next, t_ns)
        else:
            self._busy(identity, header, verdict, t_ns)

    def _take(self, identity: bytes, header: FrameHeader, take: Take, t_ns: int) -> None:
        fault = self._expected.fault(header)
        if fault:
            self._drain()
            self._refuse(identity, header, take, fault, t_ns)
            return
        if not self._socket.get(zmq.RCVMORE):
            self._again(identity, header, header.counter, t_ns)
            return
        slot = self._store.claim(header.live)
        if isinstance(slot, NoSlot):
            self._drain()
            if slot is NoSlot.FULL:
                self._count("dropped", 1)
                for lost in take.lost(Step.RECEIVER, Cause.RING_FULL):
                    self._lose(lost)
                self._answer(identity, t_ns, Verdict.DROPPED, header, why="the ring is full: tracking is behind")
                self._drops.dropped(take.known.frame)
            return  # stopping: no answer, it is the sender's to account for
        wanted = slot.nbytes
        got = self._socket.recv_into(slot.data, nbytes=wanted)
        t_received_ns = self._clock()
        surplus = self._drain()
        if got == 0 and not surplus:
            self._again(identity, header, header.counter, t_ns)  # the header alone came, of a frame that is wanted
            return
        if got != wanted or surplus:
            more = f" and {surplus} bytes more in further parts" if surplus else ""
            text = f"frame {header.counter} came with {got} bytes of pixels{more}; {wanted} were announced"
            self._refuse(identity, header, take, text, t_ns)
            return
        for lost in take.losses:
            self._lose(lost)
        self._store.publish(header, take.known, t_received_ns)
        self._intake.commit(take.known)
        self._count("received", 1)
        self._count("bytes", wanted)
        self._drops.look()
        self._answer(identity, t_received_ns, Verdict.TAKEN, header, frame=take.known.frame)

    # ---- answers

    def _refuse(self, identity: bytes, header: FrameHeader, take: Take, why: str, t_ns: int) -> None:
        self._count("refused", 1)
        self._refused += 1
        if self._refused <= 10 or self._refused % 1000 == 0:
            self._log("warning", f"refused: {why}")
        for lost in take.lost(Step.RECEIVER, Cause.REFUSED):
            self._lose(lost)
        self._answer(identity, t_ns, Verdict.REFUSED, header, why=why)

    def _again(self, identity: bytes, message: FrameHeader | Bye, next_: int, t_ns: int) -> None:
        self._count("again", 1)
        self._answer(identity, t_ns, Verdict.AGAIN, message, next=next_)

    def _busy(self, identity: bytes, message: wire.Message, busy: Busy, t_ns: int) -> None:
        self._count("busy", 1)
        self._say_once(busy.why.partition(",")[0], f"a second source was refused: {busy.why}")
        self._answer(identity, t_ns, Verdict.BUSY, message, why=busy.why)

    def _foreign(self, what: str) -> None:
        self._count("foreign", 1)
        self._say_once(what, f"refused a message that is not ours: {what}")

    def _say_once(self, key: str, text: str) -> None:
        """Log it, but not at every message of somebody who does not stop."""
        if key not in self._said and len(self._said) < 100:
            self._said.add(key)
            self._log("warning", text)

    def _answer(
        self, identity: bytes, t_ns: int, verdict: Verdict, message: wire.Message | None = None, **more: Any
    ) -> None:
        known = self._intake.known
        if message is not None:
            more.setdefault("next", known.counter + 1 if known and known.stream == message.stream else -1)
            more["stream"], more["t_sent_ns"] = message.stream, message.t_sent_ns
            more["counter"] = message.counter if isinstance(message, FrameHeader) else -1
        answer = Answer(
            verdict=verdict, run_id=self._expected.run_id, incarnation=self._expected.incarnation,
            t_received_ns=t_ns, t_answer_ns=self._clock(), **more,
        )  # fmt: skip
        self._socket.send_multipart([identity, wire.encode(answer)])

    # ---- small things

    def _lose(self, lost: Lost) -> None:
        self._store.lose(lost)
        self._intake.commit_lost(lost)

    def _drain(self) -> int:
        """Read what is left of the message; gives how many bytes that was."""
        size = 0
        while self._socket.get(zmq.RCVMORE):
            size += len(self._socket.recv(copy=False))
        return size

    def _bind(self) -> None:
        socket = self._socket
        height, width = self._expected.shape
        largest = max(4 * height * width * (2 if self._expected.dtype == "uint16" else 1), LARGEST_FRAME)
        socket.set(zmq.MAXMSGSIZE, largest)
        socket.set(zmq.RCVHWM, HIGH_WATER)
        socket.set(zmq.SNDHWM, 1000)
        socket.set(zmq.RCVBUF, SOCKET_BUFFER)
        socket.set(zmq.SNDBUF, SOCKET_BUFFER)
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.HEARTBEAT_IVL, 1000)
        socket.set(zmq.HEARTBEAT_TIMEOUT, 5000)
        try:
            socket.bind(self._listen)
        except zmq.ZMQError as error:
            if error.errno == zmq.EADDRINUSE:
                raise MachineError(
                    f"camera.listen: {self._listen} is in use by another program. Stop it, or choose another address "
                    "(--set camera.listen=tcp://127.0.0.1:50062)"
                ) from None
            raise MachineError(f"camera.listen: cannot listen on {self._listen}: {error}") from None


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[1]}x{shape[0]}"
