"""Sender: sends a camera program's frames to ringtrack, and loses none in silence.

    with Sender("tcp://tracking-pc:50052", source="orca") as sender:
        sender.send(image)                   # (height, width), uint8 or uint16

`send` returns at once for a live source; a thread does the rest: it keeps each frame until the receiver has answered,
reconnects, sends again what was lost on the way, and measures the distance of the two machines' clocks. When there is
no room for more, a live source gives up its oldest frame that was not on its way yet, and the receiver is told which.

Plain Python: this file runs on the camera PC, whatever its operating system.
"""

from __future__ import annotations

import logging
import platform
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
import zmq

from bridge import wire
from bridge.keys import client_keys
from bridge.link import Desk, Due, Link
from bridge.offset import OffsetEstimator
from bridge.outbox import ByeDue, Done, HelloDue, Outbox
from bridge.outcomes import Account, Outcome, Statistics
from bridge.pictures import Picture, Pixels, Pool
from bridge.wire import Answer, FrameHeader, Verdict
from engine.accounting import Cause
from engine.clocks import boot_id, monotonic_ns
from engine.errors import ClosedError, InternalError, PeerError
from engine.frames import TimeSource

_log = logging.getLogger("ringtrack.sender")
"""Tells of losses whoever gave no `on_done`; on stderr, unless the program has set up logging."""
_ADDRESS = re.compile(r"tcp://\S+:\d{1,5}|ipc://\S+")


class Sender(Desk):
    """See the module. `send` may be called by one thread at a time; constructing it starts nothing."""

    def __init__(
        self,
        address: str,
        *,
        source: str = "camera",
        live: bool = True,
        fps: float = 0.0,
        shape: tuple[int, int] | None = None,
        dtype: str = "",
        buffer_frames: int | None = None,
        buffer_mb: float = 512,
        checksum: bool = True,
        on_done: Callable[[Outcome], None] | None = None,
        clock: Callable[[], int] = monotonic_ns,
        keys: Path | None = None,
    ) -> None:
        """`live=False`: a finite source, for which `send` waits and nothing is ever dropped.

        `shape` (height, width) and `dtype` of the frames to come, where known: a run that takes others says so before
        the first frame; otherwise it hears of them with the first frame.
        `buffer_frames` and `buffer_mb` bound what is kept without an answer (live: 1024 frames, finite: 32).
        `on_done` is called in the sender's thread with the `Outcome` of every frame.
        `keys`: the folder of `client.key_secret` and `server.key`, for a run with `camera.encrypt`.
        Raises ValueError if `address` is none, MachineError if the keys are not there.
        """
        if not _ADDRESS.fullmatch(address):
            raise ValueError(f"address: {address!r} is none; write tcp://host:50052 (or ipc://@name, on this machine)")
        self._hello = wire.Hello(
            stream=0, source=source, host=platform.node(), live=live, fps=fps, boot_id=boot_id(), shape=shape,
            dtype=dtype,
        )  # fmt: skip
        self._live = live
        self._checksum = checksum
        self._on_done = on_done
        self._clock = clock
        self._changed = threading.Condition()
        room = buffer_frames or (1024 if live else 32)
        self._outbox: Outbox[Picture] = Outbox(self._new_stream, live, room, int(buffer_mb * 2**20))
        self._pool = Pool()
        self._offset = OffsetEstimator()
        self._account = Account()
        self._online = False
        self._trouble = ""
        self._failure: BaseException | None = None
        self._is_open = False
        self.welcome: Answer | None = None  # the receiver's first answer: what the run expects, where to resume
        self.unfit = ""  # why the run does not take this source's frames, as it said to our hello
        self._shape_wanted: tuple[int, int] | None = None  # by the newest welcome: another run may want another
        self._link = Link(address, self, clock, client_keys(keys) if keys is not None else None)
        self.address = address

    def __enter__(self) -> Sender:
        self._is_open = True
        self._link.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(timeout_s=5.0 if kind is None else 1.0)

    # ---- the caller's side

    def connect(self, timeout_s: float = 10.0) -> Answer:
        """Wait until the receiver has said welcome. Raises PeerError, with the reason, if it does not."""
        if not self._wait(lambda: self.welcome is not None or bool(self.unfit), timeout_s) or self.unfit:
            raise self.not_welcome(timeout_s)
        assert self.welcome is not None
        return self.welcome

    def not_welcome(self, timeout_s: float) -> PeerError:
        """The error for who waited so long in vain."""
        if self.unfit:
            return PeerError(f"{self.address}: {self.unfit}")
        if self._trouble:
            return PeerError(f"{self.address}: no welcome in {timeout_s:g} s: {self._trouble}")
        return PeerError(
            f"{self.address}: no answer in {timeout_s:g} s. Is `ringtrack run` running there, "
            "and does its camera.listen name this address?"
        )

    def send(
        self,
        image: Pixels,
        counter: int | None = None,
        t_ns: int | None = None,
        *,
        t_error_ns: int = 0,
        time_source: TimeSource = TimeSource.HEADER,
        copy: bool = True,
        token: Any = None,
        timeout_s: float | None = None,
        **header: Any,
    ) -> int:
        """Send a frame; gives its counter.

        `image` is `(height, width)` uint8 or uint16. With `copy=False` it must be C-contiguous and must not be written
        before its outcome is heard of. `counter` is the camera's own (default: one more than the last); what it leaves
        out was skipped by the camera. `t_ns` is the camera time on `engine.clocks.monotonic_ns`; a live frame without
        one has the time of this call. `header`: bits, high_aligned, region, binning, exposure_us, gain, trigger,
        file_name, extra, as `wire.FrameHeader` has them.

        A finite source waits for room, at most `timeout_s` (TimeoutError). Raises ClosedError after `close`.
        """
        pixels = _checked(image)
        if counter is None:
            counter = self._account.last_counter + 1
        if not 0 <= counter <= wire.MAX_COUNTER:
            raise ValueError(f"counter: {counter}; it must be 0 to {wire.MAX_COUNTER}")
        if t_ns is None:
            time_source = TimeSource.ARRIVAL
            if self._live:
                t_ns, time_source = self._clock(), TimeSource.HEADER
        if not self._live and not self._wait(lambda: not self._outbox.full, timeout_s):
            raise TimeoutError(f"frame {counter}: the receiver took nothing for {timeout_s:g} s")
        mine = copy or not pixels.flags.c_contiguous
        if mine:
            with self._changed:
                pixels = self._pool.copy(pixels)
        written = FrameHeader(
            stream=0, first=0, counter=counter, live=self._live,
            shape=(pixels.shape[0], pixels.shape[1]), dtype=pixels.dtype.name,
            t_ns=t_ns, t_error_ns=t_error_ns, time_source=int(time_source),
            checksum=wire.checksum(pixels) if self._checksum else 0, **header,
        )  # fmt: skip
        wire.decode(wire.encode(written))  # what the receiver would refuse is refused here: the program can see it
        picture = Picture(written, pixels, mine, token)
        with self._changed:
            self._check_open()
            self._account.offered(counter)
            for gone, cause in self._outbox.offer(counter, picture, pixels.nbytes):
                self._let_go(gone.payload, cause)
        self._link.wake()
        return counter

    def give_up(self, counter: int, cause: Cause = Cause.FILE_UNREADABLE) -> None:
        """The source has this counter, but no frame for it: account for it."""
        with self._changed:
            self._check_open()
            self._account.without_frame(counter, cause)
            self._outbox.give_up(counter, cause)

    def wait_for_room(self, timeout_s: float | None = None) -> bool:
        """Wait until one more frame can be kept without giving one up. False after `timeout_s`."""
        return self._wait(lambda: not self._outbox.full, timeout_s)

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until every frame has its answer. False after `timeout_s`."""
        return self._wait(lambda: self._outbox.frames == 0, timeout_s)

    def close(self, timeout_s: float = 5.0) -> Statistics:
        """Wait for the answers, say bye and wait for its answer. What has none after `timeout_s` is given up."""
        if not self._is_open:
            return self.statistics
        with self._changed:
            self._outbox.finish()
        self._link.wake()
        try:
            # A run that never took a frame of this source has nothing to be told.
            if not self._wait(lambda: self._outbox.closed or (self.unfit and not self._outbox.frames), timeout_s):
                with self._changed:
                    for frame in self._outbox.abandon(Cause.SENDER_STOPPED):
                        self._let_go(frame.payload, Cause.SENDER_STOPPED)
                self._link.wake()
                self._wait(lambda: self._outbox.closed, min(1.0, timeout_s))
        finally:
            self._is_open = False
            self._link.stop()
            self._tell()
        statistics = self.statistics
        given_up = sum(statistics.gave_up.values())
        if given_up and self._on_done is None:
            _log.warning("frames given up: %d. %s", given_up, statistics.trouble)
        return statistics

    @property
    def statistics(self) -> Statistics:
        """The account so far."""
        with self._changed:
            counts = self._account.counts
            return Statistics(
                offered=counts["offered"], sent=counts["sent"], resent=counts["resent"], taken=counts["taken"],
                dropped=counts["dropped"], refused=counts["refused"], skipped=counts["skipped"],
                gave_up=dict(self._account.gave_up), waiting=self._outbox.frames, connected=self._online,
                closed=self._outbox.closed, receivers=self._outbox.incarnations, run_id=self._outbox.run_id,
                offset=self._offset.estimate(self._clock()), trouble=self._trouble or self._silence(),
            )  # fmt: skip

    # ---- the thread's side (Desk)

    def due(self, now_ns: int) -> Due | None:
        with self._changed:
            self._pool.collect()
            return self._outbox.due(now_ns)

    def compose(self, due: Due, t_sent_ns: int) -> tuple[bytes, Any | None]:
        if isinstance(due, HelloDue):
            hello = msgspec.structs.replace(self._hello, stream=due.stream, previous=due.previous, t_sent_ns=t_sent_ns)
            with self._changed:
                first = self._outbox.first
            if first is not None:
                hello = msgspec.structs.replace(hello, shape=first.header.shape, dtype=first.header.dtype)
            return wire.encode(hello), None
        if isinstance(due, ByeDue):
            bye = wire.Bye(
                stream=due.stream, previous=due.previous, first=due.first, last=due.last,
                gave_up=due.gave_up, more=due.more, t_sent_ns=t_sent_ns,
            )  # fmt: skip
            return wire.encode(bye), None
        kept, stream = due.frame, due.stream
        with self._changed:
            offset = self._offset.estimate(t_sent_ns)
            header = msgspec.structs.replace(
                kept.payload.header, stream=stream.id, previous=stream.previous, first=stream.first, after=kept.after,
                gave_up=stream.gave_up_before(kept.counter), t_sent_ns=t_sent_ns,
                offset_ns=offset.offset_ns if offset else None, offset_error_ns=offset.error_ns if offset else 0,
            )  # fmt: skip
        other_size = self._shape_wanted not in (None, header.shape)
        if kept.known or other_size:  # the receiver needs no pixels to answer
            return wire.encode(header), b""
        return wire.encode(header), kept.payload.pixels

    def sent(self, due: Due, t_sent_ns: int, tracker: zmq.MessageTracker | None) -> None:
        with self._changed:
            if not isinstance(due, HelloDue | ByeDue):
                self._account.counts["resent" if due.frame.handed else "sent"] += 1
                if tracker is not None:
                    due.frame.payload.trackers.append(tracker)
            self._outbox.sent(due, t_sent_ns)

    def answered(self, answer: Answer, t_ns: int) -> None:
        with self._changed:
            if answer.t_sent_ns:
                self._offset.add(answer.t_sent_ns, answer.t_received_ns, answer.t_answer_ns, t_ns)
            if answer.why:
                if self._trouble != answer.why and self._on_done is None and answer.verdict is Verdict.REFUSED:
                    _log.warning("refused: %s", answer.why)
                self._trouble = answer.why
            if answer.verdict is Verdict.REFUSED and answer.stream and answer.counter < 0:
                self.unfit = answer.why
                wanted = answer.shape, answer.dtype
                for done in self._outbox.refuse(lambda p: (p.header.shape, p.header.dtype) != wanted, answer.why):
                    self._over(done)
            if answer.verdict is Verdict.WELCOME:
                self.unfit = ""
                if answer.boot_id and answer.boot_id == self._hello.boot_id:
                    self._offset.same_clock()
                self.welcome = self.welcome or answer
                self._shape_wanted = answer.shape
            for done in self._outbox.answered(answer, t_ns):
                self._over(done)
            self._changed.notify_all()
        self._tell()

    def connected(self, yes: bool) -> None:
        with self._changed:
            self._online = yes
            if yes:
                self._outbox.connected()

    def complain(self, why: str) -> None:
        with self._changed:
            self._trouble = why

    def failed(self, error: BaseException) -> None:
        with self._changed:
            self._failure = error
            self._changed.notify_all()

    # ---- how

    def _silence(self) -> str:
        return "" if self.welcome is not None else f"nobody has answered at {self.address} yet"

    def _new_stream(self) -> int:
        return wire.new_stream(self._hello.source, self._hello.host)

    def _over(self, done: Done[Picture]) -> None:
        self._pool.release(done.payload)
        self._account.answered(done)

    def _let_go(self, picture: Picture, cause: Cause) -> None:
        self._pool.release(picture)
        self._account.let_go(picture, cause)

    def _tell(self) -> None:
        """Tell the caller of outcomes, without holding the lock."""
        with self._changed:
            outcomes = self._account.news()
        if self._on_done is not None:
            for outcome in outcomes:
                self._on_done(outcome)

    def _wait(self, condition: Callable[[], object], timeout_s: float | None) -> bool:
        """Wait until it holds. The clock is read each time, the wake-up is a hint."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            while not condition():
                self._check_open()
                left = 0.1 if end is None else min(0.1, end - time.monotonic())
                if left <= 0:
                    return False
                self._changed.wait(left)
        return True

    def _check_open(self) -> None:
        if self._failure is not None:
            raise InternalError(f"the sender's thread failed: {self._failure!r}") from self._failure
        if not self._is_open:
            raise ClosedError("this sender is closed; use it as `with Sender(...) as sender:`")


def _checked(image: Any) -> Pixels:
    array = np.asanyarray(image)
    if array.ndim != 2 or array.dtype.kind != "u" or array.dtype.itemsize > 2 or array.size == 0:
        raise ValueError(
            f"image: shape {array.shape}, {array.dtype}; it must be (height, width) of uint8 or uint16. "
            "Send one channel of a colour camera"
        )
    native: Pixels = array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
    return native
