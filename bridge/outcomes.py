"""What became of a sender's frames: the outcome of each, and the account of all."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from bridge.intake import HOLE
from bridge.offset import ClockOffset
from bridge.outbox import Done
from bridge.pictures import Picture
from bridge.wire import Verdict
from engine.accounting import Cause


class Outcome(msgspec.Struct, frozen=True):
    """What became of one frame; `token` is what the caller gave to `send`."""

    counter: int
    verdict: Verdict | None  # taken, dropped or refused; None: given up here
    why: str
    token: Any = None
    cause: Cause | None = None  # why it was given up
    frame: int = -1  # its number in the run, if taken; -1 also if the answer that said it was lost on the way


class Statistics(msgspec.Struct, frozen=True):
    """A sender's account so far."""

    offered: int  # frames given to `send`
    sent: int  # of those, handed to the network, each counted once
    resent: int
    taken: int
    dropped: int
    refused: int
    skipped: int  # counters that the camera left out
    gave_up: dict[Cause, int]
    waiting: int  # kept, without an answer yet
    connected: bool
    closed: bool  # the receiver has answered our bye
    receivers: int  # incarnations of the receiver met
    run_id: str
    offset: ClockOffset | None  # receiver's clock minus ours
    trouble: str  # the last complaint of the receiver

    @property
    def lost(self) -> int:
        """Frames and counters that did not reach the ring."""
        return self.dropped + self.refused + self.skipped + sum(self.gave_up.values())


class Account:
    """Counts, and outcomes that the caller has not been told of yet. For one thread at a time."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()  # fields of `Statistics`, and verdicts, by name
        self.gave_up: Counter[Cause] = Counter()
        self.last_counter = -1
        self._untold: list[Outcome] = []

    def offered(self, counter: int) -> None:
        """The source has a frame of this counter."""
        self._at(counter)
        self.counts["offered"] += 1

    def without_frame(self, counter: int, cause: Cause) -> None:
        """The source is at this counter, and has no frame for it."""
        self._at(counter)
        self.gave_up[cause] += 1

    def answered(self, done: Done[Picture]) -> None:
        """The receiver has said what becomes of a frame."""
        self.counts[done.verdict.value] += 1
        self._untold.append(Outcome(done.counter, done.verdict, done.why, done.payload.token, frame=done.frame))

    def let_go(self, picture: Picture, cause: Cause) -> None:
        """A frame was given up here."""
        self.gave_up[cause] += 1
        self._untold.append(Outcome(picture.header.counter, None, "", picture.token, cause))

    def news(self) -> list[Outcome]:
        """Outcomes since the last time, once."""
        untold, self._untold = self._untold, []
        return untold

    def _at(self, counter: int) -> None:
        """Counters that the source left out were skipped by the camera, unless its counter was set anew (`HOLE`)."""
        if 0 <= self.last_counter < counter - 1 < self.last_counter + HOLE:
            self.counts["skipped"] += counter - self.last_counter - 1
        self.last_counter = counter
