"""The frame ring's writer: the receiver's side, and who may hold it up.

A place is *admitted* when its slot of the frame ring and its slot of the result ring are both free. So there is one
gate, in front of all work: a tracker never waits for room, and a frame that cannot be kept is dropped before any work
was spent on it. A frame's slot is free when its last unit of work is done and every lossless reader of frames has
finished with it; a result's slot, when it was published and every lossless reader of results has finished with it.

The steps are those of `ring`, here named frame.1 to frame.6.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy.typing as npt

from engine.shm.cursors import CursorTable, Patience
from engine.shm.ring import Ring
from engine.shm.steps import Steps, run
from engine.shm.units import OldestUnfinished, Units
from engine.shm.wakeup import wait_for


class Blocked(Enum):
    """Why a place was not admitted in time."""

    TRACKERS = "trackers"  # tracking or linking is behind
    READERS = "readers"  # a lossless reader is, and it was not let go yet


@dataclass(frozen=True)
class Claim:
    """A slot to fill: `pixels` are `(height, width)`, `meta` an array of one record; writable till published."""

    place: int
    pixels: npt.NDArray[Any]
    meta: npt.NDArray[Any]


@dataclass(frozen=True)
class Hold:
    """How long the writer was held up so far, and by whom."""

    trackers_ns: int = 0
    readers_ns: int = 0
    let_go: int = 0


class FrameWriter:
    """Writes the frame ring; the receiver has the only one."""

    def __init__(
        self,
        frames: Ring,
        results: Ring,
        units: Units,
        hold_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._frames = frames
        self._results = results
        self._units = units
        self._clock = clock
        self._guards = [_Guard(frames, hold_s, clock), _Guard(results, hold_s, clock)]
        self._oldest = OldestUnfinished(units, max(0, results.newest + 1))
        self._claimed = -1
        self.hold = Hold()

    @property
    def newest(self) -> int:
        """The newest published place, -1 before the first."""
        return self._frames.newest

    def last_meta(self) -> npt.NDArray[Any] | None:
        """The record of the newest place as an array of one (a copy): how a receiver that starts again goes on."""
        newest = self._frames.newest
        return self._frames.record(newest).copy() if newest >= 0 else None

    def claim(self, timeout_s: float, live: bool, between: Callable[[], None] | None = None) -> Claim | Blocked:
        """The next slot to fill, or why there is none after `timeout_s`.

        Live sources do not wait for trackers: `Blocked.TRACKERS` comes at once. Readers that hold the ring too long
        are let go for a live source; a finite one waits for them (the supervisor replaces who stays dead).
        """
        place = self._frames.newest + 1
        verdict = self._blocked(place, live)
        if verdict is not None and not (live and verdict is Blocked.TRACKERS):
            verdict = self._wait(place, timeout_s, live, between)
        if verdict is not None:
            return verdict
        for guard in self._guards:
            guard.note_progress(place)
        run(self._open(place))
        return Claim(place, self._frames.payload(place), self._frames.record(place))

    def publish(self, claim: Claim) -> None:
        """The frame is there: everybody may read it."""
        run(self._frames.commit(claim.place, "frame"))
        self._units.work.ring()

    def depth(self) -> int:
        """Places that are published and not tracked yet."""
        newest = self._frames.newest
        return newest + 1 - self._oldest.look(newest)

    def _open(self, place: int) -> Steps[None]:
        yield "frame.2"
        self._frames.invalidate(place)
        yield "frame.3"

    def _blocked(self, place: int, live: bool) -> Blocked | None:
        newest = place - 1
        slot_of = place - self._frames.slots
        if self._oldest.look(newest) <= slot_of or self._results.newest < place - self._results.slots:
            return Blocked.TRACKERS
        if any([guard.blocks(place, live) for guard in self._guards]):
            return Blocked.READERS
        return None

    def _wait(self, place: int, timeout_s: float, live: bool, between: Callable[[], None] | None) -> Blocked | None:
        """Wait for room, and count for whom."""
        started = time.monotonic_ns()
        why = Blocked.READERS

        def look() -> bool | None:
            nonlocal why
            verdict = self._blocked(place, live)
            why = verdict or why
            return True if verdict is None else None

        # Whoever may have made room rings this bell: readers of either ring, trackers and the linker.
        freed = wait_for(self._frames.released, look, timeout_s, between)
        waited = time.monotonic_ns() - started
        held, let_go = self.hold, sum(guard.let_go for guard in self._guards)
        if why is Blocked.TRACKERS:
            self.hold = Hold(held.trackers_ns + waited, held.readers_ns, let_go)
        else:
            self.hold = Hold(held.trackers_ns, held.readers_ns + waited, let_go)
        return None if freed else why


class _Guard:
    """The lossless readers of one ring, as its writer waits for them."""

    def __init__(self, ring: Ring, hold_s: float, clock: Callable[[], float]) -> None:
        self._ring = ring
        self._cursors = CursorTable(ring)
        self._patience = Patience(self._cursors, hold_s, clock)
        self.let_go = 0

    def blocks(self, place: int, live: bool) -> bool:
        blocking = self._blocking(place)
        if live:
            for reader in blocking:
                self.let_go += self._patience.blocked_by(reader)
            blocking = self._blocking(place)
        return bool(blocking)

    def note_progress(self, place: int) -> None:
        self._patience.look()
        for reader in self._cursors.readers():
            if place - self._cursors.cursor(reader) < self._ring.slots // 2:
                self._patience.room_again(reader)

    def _blocking(self, place: int) -> Sequence[int]:
        cursors, oldest = self._cursors, place - self._ring.slots
        return [r for r in cursors.readers() if cursors.held_back_by(r) and cursors.cursor(r) < oldest]
