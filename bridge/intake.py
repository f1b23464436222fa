"""What the receiver decides of each message: a frame is taken, known already, wanted later, or not at all.

The camera's counter is what frames are counted by. The receiver knows the last counter it has accounted for; the next
one is *wanted*. A frame further on is taken only if everything between is explained by its header, and what is
explained is lost, by number, with its cause:

- `after`: between it and the frame, the camera's own counter jumped;
- `gave_up`: the sender had to let these go;
- a new stream of the same sequence: what lies before its first counter went with the sender that stopped.

Otherwise the answer is *again*, and the sender goes back. A new stream whose counters start again (or a hole of more
than 10 000) opens the next *sequence*: frame numbers go on after the last one.

Everything here is pure: a decision changes nothing until `commit`, which the receiver calls when the ring has the
frame or the ledger the loss. All it needs after a crash is `Known`, which lies in the segments.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from bridge.wire import SENDER_CAUSES, SPEAKER_SILENT_S, Bye, Explained, FrameHeader, Hello, Verdict, same_source
from engine.accounting import Cause, Step

HOLE = 10_000  # a camera's counter that jumps further has been set anew
REMEMBERED = 4096  # streams that ended, and ranges that were dropped or refused


class Known(msgspec.Struct, frozen=True):
    """The last counter that is accounted for, taken or lost."""

    stream: int
    counter: int
    sequence: int
    frame: int  # its frame number


class Lost(msgspec.Struct, frozen=True):
    """A range of frames that are lost: a record for the ledger."""

    first: int  # frame numbers, both included
    last: int
    step: Step
    cause: Cause
    known: Known  # what is known once this is written


class Take(msgspec.Struct, frozen=True):
    """The frame is wanted now: first write `losses`, then the frame as number `known.frame`."""

    losses: tuple[Lost, ...]
    known: Known

    def lost(self, step: Step, cause: Cause) -> tuple[Lost, ...]:
        """The losses if the frame itself is lost as well."""
        number = self.known.frame
        return (*self.losses, Lost(number, number, step, cause, self.known))


class Settle(msgspec.Struct, frozen=True):
    """A stream ended: write `losses`. `end` if it was the source's last and is heard of for the first time."""

    losses: tuple[Lost, ...]
    end: bool


class Duplicate(msgspec.Struct, frozen=True):
    """It was answered before: this is what was said."""

    verdict: Verdict


class Again(msgspec.Struct, frozen=True):
    """Not in order: the sender has to go back to this counter."""

    next: int


class Busy(msgspec.Struct, frozen=True):
    """Another source is speaking."""

    why: str


class Welcome(msgspec.Struct, frozen=True):
    """A hello is answered with the counters that are wanted; -1: any."""

    next: int
    resume: int


class Intake:
    """One receiver's memory; one thread uses it."""

    def __init__(self, known: Known | None = None, heard_ns: int = 0) -> None:
        self.known = known
        self._speaker = known.stream if known else 0
        self._speaker_name = ""
        self._heard_ns = heard_ns
        self._closed = known is None  # the source said bye: another may speak at once
        self._bye_of = 0  # the stream that said so
        self._ended: OrderedDict[int, int] = OrderedDict()  # streams before this one: their last counter
        self._unfit: OrderedDict[int, int] = OrderedDict()  # streams of other frames than ours: the last of these
        self._gone: OrderedDict[tuple[int, int, int], Verdict] = OrderedDict()  # (stream, first, last)

    # ---- decisions

    def knows(self, stream: int, previous: int) -> bool:
        """Whether anything of this stream, or of the one of the same sender before it, was ever taken or lost."""
        last = self.known.stream if self.known else 0
        return stream in (last, *self._ended) or (previous != 0 and previous in (last, *self._ended))

    def hello(self, hello: Hello, now_ns: int) -> Welcome | Busy:
        """Decide on a hello: who speaks, and from where."""
        busy = self._hear(hello.stream, hello.previous, now_ns, hello.source)
        if busy:
            return busy
        if self.known is None:
            return Welcome(-1, -1)
        wanted = self.known.counter + 1
        if hello.stream == self.known.stream:
            return Welcome(wanted, -1)
        if hello.stream in self._ended:
            return Welcome(self._ended[hello.stream] + 1, -1)
        return Welcome(-1, wanted if not self._closed and same_source(hello.stream, self.known.stream) else -1)

    def frame(self, header: FrameHeader, now_ns: int) -> Take | Duplicate | Again | Busy:
        """Decide on a frame by its header alone."""
        if header.counter <= self._last_of(header.stream):
            return Duplicate(self._was(header.stream, header.counter))
        busy = self._hear(header.stream, header.previous, now_ns)
        if busy:
            return busy
        walk = self._explain(header, header.counter, header.after)
        if isinstance(walk, Again):
            return walk
        return Take(tuple(walk.losses), walk.at(header.counter))

    def bye(self, bye: Bye, now_ns: int) -> Settle | Again | Busy:
        """Decide on the end of a stream: what it never sent is lost."""
        if bye.stream in self._ended:
            return Settle((), end=False)
        busy = self._hear(bye.stream, bye.previous, now_ns)
        if busy:
            return busy
        end = not bye.more and bye.stream != self._bye_of
        if bye.last <= self._last_of(bye.stream):
            return Settle((), end)
        walk = self._explain(bye, bye.last + 1, bye.last)
        if isinstance(walk, Again):
            return walk
        return Settle(tuple(walk.losses), end)

    # ---- what was done

    def commit(self, known: Known) -> None:
        """The ring or the ledger has it."""
        if self.known is not None and self.known.stream != known.stream:
            self._ended[self.known.stream] = self.known.counter
            if len(self._ended) > REMEMBERED:
                self._ended.popitem(last=False)
        self.known = known
        self._closed = False

    def commit_lost(self, lost: Lost) -> None:
        """The ledger has it."""
        self.commit(lost.known)
        if lost.step is Step.RECEIVER:
            back = lost.known.counter - lost.known.frame
            verdict = Verdict.DROPPED if lost.cause is Cause.RING_FULL else Verdict.REFUSED
            self._gone[lost.known.stream, lost.first + back, lost.last + back] = verdict
            if len(self._gone) > REMEMBERED:
                self._gone.popitem(last=False)

    def unfit(self, stream: int, counter: int) -> None:
        """A frame of a stream that never gave one was refused: nobody asks for it again, and it is no loss."""
        self._unfit[stream] = counter
        if len(self._unfit) > REMEMBERED:
            self._unfit.popitem(last=False)

    def close(self, stream: int) -> None:
        """The source ended (its bye was settled): whoever comes next may speak."""
        self._closed = True
        self._bye_of = stream

    def heard(self, stream: int, now_ns: int) -> None:
        """The receiver is done with a message: the silence of who sent it counts from here."""
        if stream == self._speaker:
            self._heard_ns = now_ns

    def remember_lost(self, first: int, last: int, cause: Cause) -> None:
        """After a restart: frames of the present sequence that the ledger says were dropped or refused."""
        if self.known is not None:
            back = self.known.counter - self.known.frame
            verdict = Verdict.DROPPED if cause is Cause.RING_FULL else Verdict.REFUSED
            self._gone[self.known.stream, first + back, last + back] = verdict

    # ---- how

    def _hear(self, stream: int, previous: int, now_ns: int, name: str = "") -> Busy | None:
        silent_ns = now_ns - self._heard_ns
        allowed = (
            stream == self._speaker
            or self._closed
            or (previous != 0 and previous == self._speaker)
            or silent_ns > SPEAKER_SILENT_S * 1e9
        )
        if not allowed:
            who = f' "{self._speaker_name}"' if self._speaker_name else ""
            return Busy(
                f"another source{who} is speaking, {silent_ns / 1e9:.1f} s ago; "
                f"it has to say bye or be silent for {SPEAKER_SILENT_S:g} s"
            )
        if stream != self._speaker:
            self._speaker, self._speaker_name = stream, ""
        self._speaker_name = name or self._speaker_name
        self._heard_ns = max(now_ns, self._heard_ns)
        return None

    def _last_of(self, stream: int) -> int:
        if self.known is not None and stream == self.known.stream:
            return self.known.counter
        return self._ended.get(stream, -1)

    def _was(self, stream: int, counter: int) -> Verdict:
        for (of, first, last), verdict in reversed(self._gone.items()):
            if of == stream and first <= counter <= last:
                return verdict
        return Verdict.TAKEN

    def _explain(self, message: Explained, end: int, after: int | None) -> _Walk | Again:
        """Account for everything before the counter `end`, or name the first counter that nothing explains."""
        walk = self._start(message)
        ranges = sorted(message.gave_up)
        had = end if after is None else after + 1  # from here to `end` the camera skipped
        for first, last, cause in ranges:
            if last < walk.next or first >= had:
                continue
            if first > walk.next:
                break
            walk.lose(min(last, had - 1), SENDER_CAUSES[Cause(cause)], Cause(cause))
        if walk.next < had:
            return Again(walk.next)
        if end - walk.next > HOLE:
            walk.open_sequence(end)
        elif end > walk.next:
            walk.lose(end - 1, Step.CAMERA, Cause.CAMERA_SKIPPED)
        return walk

    def _start(self, message: Explained) -> _Walk:
        known = self.known
        first = max(message.first, self._unfit.get(message.stream, -1) + 1)
        if known is None:
            return _Walk(message.stream, first, 0, 0)
        walk = _Walk(message.stream, known.counter + 1, known.frame + 1, known.sequence)
        if message.stream != known.stream:
            first = max(first, self._ended.get(message.stream, -1) + 1)
            if first < walk.next or first - walk.next > HOLE:
                walk.open_sequence(first)
            elif first > walk.next:
                walk.lose(first - 1, Step.SENDER, Cause.SENDER_RESTARTED)
        return walk


class _Walk:
    """A way along the counters, from the next one wanted; `frame` is the number of the counter `next`."""

    def __init__(self, stream: int, next_: int, frame: int, sequence: int) -> None:
        self.stream, self.next, self.frame, self.sequence = stream, next_, frame, sequence
        self.losses: list[Lost] = []

    def lose(self, last: int, step: Step, cause: Cause) -> None:
        known = self.at(last)
        self.losses.append(Lost(self.frame, known.frame, step, cause, known))
        self.next, self.frame = last + 1, known.frame + 1

    def open_sequence(self, counter: int) -> None:
        self.sequence += 1
        self.next = counter

    def at(self, counter: int) -> Known:
        return Known(self.stream, counter, self.sequence, self.frame + counter - self.next)
