"""What a sender keeps, and what it sends next: the sender without its socket and its thread.

A frame is kept until it has a final answer. Messages of one connection are answered in order, so an answer to a message
says that everything sent before it and still unanswered was lost on the way: it is sent once more. `again` sends all
that is kept once more.

Counters only rise within a *stream*. When the camera's counter starts again, a new stream begins; the old one is ended
first (a bye with `more`), and nothing of the new one leaves before that was answered.

A live source has room for so many frames; when they are used up, the oldest frame that was never handed to ZeroMQ is
given up. What was handed over once is never given up while running: the receiver may have it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from bridge.intake import HOLE
from bridge.wire import FINAL, HELLO_EVERY_S, MAX_RANGES, Answer, Range, Verdict
from engine.accounting import Cause

LATE_NS = 1_000_000_000
LATEST_NS = 8_000_000_000
P = TypeVar("P")


class Kept(Generic[P]):
    """A frame without a final answer."""

    __slots__ = ("after", "bytes", "counter", "handed", "known", "payload", "queued", "t_sent_ns")

    def __init__(self, counter: int, after: int | None, payload: P, size: int) -> None:
        self.counter = counter
        self.after = after  # counter that the source gave before it
        self.payload = payload
        self.bytes = size
        self.handed = False  # ZeroMQ had it, once
        self.queued = True  # has to be sent (again)
        self.known = False  # the receiver has accounted for it: send the header alone, for the answer
        self.t_sent_ns = 0


class StreamState(Generic[P]):
    """One stream: what is kept of it and what was given up."""

    def __init__(self, stream: int, previous: int) -> None:
        self.id = stream
        self.previous = previous
        self.first = -1  # its first counter, -1 before there is one
        self.last = -1  # the last counter it had from its source
        self.kept: OrderedDict[int, Kept[P]] = OrderedDict()
        self.gave_up: list[Range] = []  # not yet acknowledged, in order
        self.ended = False
        self.more = True
        self.bye_sent_ns = 0  # 0: has to be sent

    def let_go(self, first: int, last: int, cause: Cause) -> None:
        """Note a loss; ranges that touch become one. Beyond 900 ranges the causes of the oldest ones are merged."""
        ranges = sorted([*self.gave_up, (first, last, int(cause))])
        merged: list[Range] = []
        for one in ranges:
            if merged and merged[-1][1] + 1 == one[0] and (merged[-1][2] == one[2] or len(ranges) > MAX_RANGES - 100):
                merged[-1] = (merged[-1][0], one[1], max(merged[-1][2], one[2]))
            else:
                merged.append(one)
        self.gave_up = merged

    def gave_up_before(self, counter: int) -> list[Range]:
        return [one for one in self.gave_up if one[1] < counter][:MAX_RANGES]


class HelloDue(msgspec.Struct, frozen=True):
    """Say hello for this stream."""

    stream: int
    previous: int


class ByeDue(msgspec.Struct, frozen=True):
    """Say bye for this stream."""

    stream: int
    previous: int
    first: int
    last: int
    gave_up: list[Range]
    more: bool


class FrameDue(Generic[P]):
    """Send this frame."""

    __slots__ = ("frame", "stream")

    def __init__(self, stream: StreamState[P], frame: Kept[P]) -> None:
        self.stream = stream
        self.frame = frame


class Done(Generic[P]):
    """A frame that is over, and how."""

    __slots__ = ("counter", "frame", "payload", "verdict", "why")

    def __init__(self, counter: int, payload: P, verdict: Verdict, why: str, frame: int = -1) -> None:
        self.counter, self.payload, self.verdict, self.why = counter, payload, verdict, why
        self.frame = frame  # its number in the run; -1: not known


class Outbox(Generic[P]):
    """See the module. Not thread-safe: the sender holds its lock around every call."""

    def __init__(self, make_stream: Callable[[], int], live: bool, room_frames: int, room_bytes: int) -> None:
        self._make_stream = make_stream
        self._live = live
        self._room_frames = room_frames
        self._room_bytes = room_bytes
        self._streams: deque[StreamState[P]] = deque([StreamState(make_stream(), 0)])
        self._hello_due = True
        self._welcomed = False
        self._met = False  # the receiver of this run has said welcome
        self._last_answer_ns = 0
        self._last_hello_ns = 0
        self._patience_ns = LATE_NS
        self._not_before_ns = 0
        self.frames = 0
        self.bytes = 0
        self.run_id = ""
        self.incarnation = 0
        self.incarnations = 0
        self.closed = False  # the last bye was answered

    # ---- the source's side

    @property
    def full(self) -> bool:
        """Is there no room for one more?"""
        return self.frames >= self._room_frames or (self.frames > 0 and self.bytes >= self._room_bytes)

    @property
    def welcomed(self) -> bool:
        return self._welcomed

    def offer(self, counter: int, payload: P, size: int) -> list[tuple[Kept[P], Cause]]:
        """Keep a frame to be sent. Gives what had to be given up for it (a live source without room)."""
        stream, after = self._step_to(counter)
        frame = Kept(counter, after, payload, size)
        gone: list[tuple[Kept[P], Cause]] = []
        while self._live and self.full:
            victim = self._oldest_unhanded()
            if victim is None:
                self._give_up(stream, frame, Cause.SENDER_BUFFER_FULL)
                return [*gone, (frame, Cause.SENDER_BUFFER_FULL)]
            self._give_up(*victim, Cause.SENDER_BUFFER_FULL)
            gone.append((victim[1], Cause.SENDER_BUFFER_FULL))
        stream.kept[counter] = frame
        self.frames += 1
        self.bytes += size
        return gone

    def give_up(self, counter: int, cause: Cause) -> None:
        """The source has this counter but no frame for it."""
        stream, after = self._step_to(counter)
        if after is not None and counter > after + 1:
            stream.let_go(after + 1, counter - 1, Cause.CAMERA_SKIPPED)
        stream.let_go(counter, counter, cause)

    def finish(self) -> None:
        """No more frames: say bye when all have their answer."""
        stream = self._streams[-1]
        if not stream.ended:
            stream.ended, stream.more = True, False

    def abandon(self, cause: Cause) -> list[Kept[P]]:
        """Give up whatever has no answer (the receiver knows better for those it has)."""
        gone = []
        for stream in self._streams:
            for frame in list(stream.kept.values()):
                self._give_up(stream, frame, cause)
                gone.append(frame)
        return gone

    # ---- the socket's side

    def due(self, now_ns: int) -> HelloDue | ByeDue | FrameDue[P] | None:
        """What to send now."""
        stream = self._streams[0]
        if self.closed or now_ns < self._not_before_ns:
            return None
        if self._hello_due or self._late(now_ns):
            return HelloDue(stream.id, stream.previous)
        if not self._welcomed:
            return None
        for frame in stream.kept.values():
            if frame.queued:
                return FrameDue(stream, frame)
        if stream.ended and not stream.kept and not stream.bye_sent_ns:
            first = max(stream.first, 0)
            return ByeDue(stream.id, stream.previous, first, stream.last, stream.gave_up[:MAX_RANGES], stream.more)
        return None

    def sent(self, what: HelloDue | ByeDue | FrameDue[P], t_sent_ns: int) -> None:
        """ZeroMQ has it. `t_sent_ns` differs from all others."""
        if isinstance(what, HelloDue):
            if self._last_answer_ns < self._last_hello_ns:
                self._patience_ns = min(2 * self._patience_ns, LATEST_NS)
            self._last_hello_ns = t_sent_ns
            self._hello_due = False
        elif isinstance(what, ByeDue):
            self._streams[0].bye_sent_ns = t_sent_ns
        else:
            what.frame.handed, what.frame.queued, what.frame.t_sent_ns = True, False, t_sent_ns

    def connected(self) -> None:
        """There is a new connection: nothing is sure until the receiver has said where it stands."""
        self._hello_due = True
        self._welcomed = False
        self._not_before_ns = 0

    def answered(self, answer: Answer, now_ns: int) -> list[Done[P]]:
        """Take an answer. Gives the frames that are over."""
        self._last_answer_ns = now_ns
        self._patience_ns = LATE_NS
        if answer.run_id:
            self._meet(answer)
        stream = self._streams[0]
        if answer.stream != stream.id:
            return []
        self._send_once_more(stream, answer.t_sent_ns)
        match answer.verdict:
            case Verdict.WELCOME:
                if not self._met and answer.next < 0 and answer.resume < 0:
                    self._begin_here()
                    stream = self._streams[0]
                    if stream.id != answer.stream:
                        return []
                self._met = self._welcomed = True
                for frame in stream.kept.values():
                    frame.known = frame.counter < answer.next
            case Verdict.BUSY:
                self._send_once_more(stream, now_ns + 1)
                self._welcomed, self._hello_due = False, True
                self._not_before_ns = now_ns + LATE_NS // 2
            case Verdict.AGAIN:
                self._go_back(stream, answer)
            case Verdict.CLOSED:
                self._end(stream)
            case verdict if verdict in FINAL and answer.counter in stream.kept:
                return [self._over(stream, answer)]
        return []

    def refuse(self, is_unfit: Callable[[P], bool], why: str) -> list[Done[P]]:
        """The run takes no frames like the first ones that wait: those are over. Gives them."""
        stream, over = self._streams[0], []
        for frame in list(stream.kept.values()):
            if not is_unfit(frame.payload):
                self._hello_due = True
                break
            del stream.kept[frame.counter]
            self.frames -= 1
            self.bytes -= frame.bytes
            over.append(Done(frame.counter, frame.payload, Verdict.REFUSED, why))
        return over

    @property
    def first(self) -> P | None:
        """What is sent next of all that is kept."""
        return next((frame.payload for frame in self._streams[0].kept.values()), None)

    def in_flight(self) -> int:
        return sum(not frame.queued for frame in self._streams[0].kept.values())

    # ---- how

    def _step_to(self, counter: int) -> tuple[StreamState[P], int | None]:
        """The stream that the counter belongs to, and the counter before it."""
        stream = self._streams[-1]
        if stream.last >= 0 and (counter <= stream.last or counter - stream.last > HOLE):
            stream.ended = True
            stream = StreamState(self._make_stream(), stream.id)
            self._streams.append(stream)
        after = stream.last if stream.last >= 0 else None
        if stream.first < 0:
            stream.first = counter
        stream.last = counter
        return stream, after

    def _oldest_unhanded(self) -> tuple[StreamState[P], Kept[P]] | None:
        for stream in self._streams:
            for frame in stream.kept.values():
                if not frame.handed:
                    return stream, frame
        return None

    def _give_up(self, stream: StreamState[P], frame: Kept[P], cause: Cause) -> None:
        if stream.kept.pop(frame.counter, None) is not None:
            self.frames -= 1
            self.bytes -= frame.bytes
        if frame.after is not None and frame.counter > frame.after + 1:
            stream.let_go(frame.after + 1, frame.counter - 1, Cause.CAMERA_SKIPPED)
        stream.let_go(frame.counter, frame.counter, cause)

    def _late(self, now_ns: int) -> bool:
        """Is it time to ask the receiver where it stands? Also while all is well: a hello measures the clocks best."""
        stream = self._streams[0]
        waits = stream.bye_sent_ns > 0 or any(not frame.queued for frame in stream.kept.values())
        silent_ns = now_ns - max(self._last_answer_ns, self._last_hello_ns)
        if (waits or not self._welcomed) and silent_ns > self._patience_ns:
            return True
        return self._welcomed and now_ns - self._last_hello_ns > HELLO_EVERY_S * 1e9

    def _meet(self, answer: Answer) -> None:
        """Notice a restarted receiver, and another run."""
        if self.run_id and answer.run_id != self.run_id:
            for stream in list(self._streams):
                self._renew(stream)
            self._welcomed, self._hello_due, self._met = False, True, False
        if answer.incarnation != self.incarnation:
            self.incarnations += 1
        self.run_id, self.incarnation = answer.run_id, answer.incarnation

    def _begin_here(self) -> None:
        """The run knows nothing of us yet: what was let go before it began is no loss of this run."""
        while len(self._streams) > 1 and not self._streams[0].kept:
            self._streams.popleft()
            self._welcomed, self._hello_due = False, True
        stream = self._streams[0]
        first = next(iter(stream.kept.values()), None)
        if first is None:
            stream.gave_up, stream.first, stream.last = [], -1, -1
        else:
            stream.gave_up = [one for one in stream.gave_up if one[0] > first.counter]
            stream.first, first.after = first.counter, None

    def _renew(self, stream: StreamState[P]) -> None:
        """Go on under a new stream id, from what is still here: the receiver does not know what the old one knew."""
        stream.previous, stream.id = stream.id, self._make_stream()
        stream.bye_sent_ns = 0
        starts = [frame.counter for frame in stream.kept.values()] + [first for first, _, _ in stream.gave_up]
        stream.first = min(starts, default=-1)
        if not starts:
            stream.last = -1
        for frame in stream.kept.values():
            frame.queued, frame.known = True, False
            if frame.counter == stream.first:
                frame.after = None
        position = self._streams.index(stream)
        if position + 1 < len(self._streams):
            self._streams[position + 1].previous = stream.id

    def _send_once_more(self, stream: StreamState[P], before_ns: int) -> None:
        """What was sent before that and has no answer was lost on the way."""
        for frame in stream.kept.values():
            if not frame.queued and frame.t_sent_ns < before_ns:
                frame.queued = True
        if stream.bye_sent_ns < before_ns:
            stream.bye_sent_ns = 0

    def _go_back(self, stream: StreamState[P], answer: Answer) -> None:
        frame = stream.kept.get(answer.counter)
        if frame is None:
            if answer.counter < 0 and answer.t_sent_ns == stream.bye_sent_ns:
                stream.let_go(answer.next, stream.last, Cause.SENDER_STOPPED)
                stream.bye_sent_ns = 0
            return
        if frame.t_sent_ns != answer.t_sent_ns:
            return  # an older copy of it: it has been sent again since
        for one in stream.kept.values():
            one.queued, one.known = True, False
        if 0 <= answer.next < answer.counter and answer.next not in stream.kept and not self._gave_up(stream, answer):
            self._renew(stream)  # it wants what was answered long ago
            self._welcomed, self._hello_due = False, True

    def _gave_up(self, stream: StreamState[P], answer: Answer) -> bool:
        return any(first <= answer.next <= last for first, last, _ in stream.gave_up)

    def _over(self, stream: StreamState[P], answer: Answer) -> Done[P]:
        frame = stream.kept.pop(answer.counter)
        self.frames -= 1
        self.bytes -= frame.bytes
        stream.gave_up = [one for one in stream.gave_up if one[1] > frame.counter]
        return Done(frame.counter, frame.payload, answer.verdict, answer.why, answer.frame)

    def _end(self, stream: StreamState[P]) -> None:
        if not stream.ended or stream.kept:
            return
        if len(self._streams) > 1:
            self._streams.popleft()
            self._welcomed, self._hello_due = False, True
        else:
            self.closed = True
