"""The frame ring's writer: the receiver's side, and who may hold it up.

A place is *admitted* when its slot of the frame ring and its slot of the result ring are both free. So there is one
gate, in front of all work: a tracker never waits for room, and a frame that cannot be kept is dropped before any work
was spent on it. A frame's slot is free when its last unit of work is done and every lossless reader of frames has
finished with it; a result's slot, when it was published and every lossless reader of results has finished with it.

The steps are those of `ring`, here named frame.1 to frame.6; 7 rings for the trackers.
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
        self._guards = [_Guard(frames, hold_s, clock), _Guard(results, hold_s, clock)]
        self._oldest = OldestUnfinished(units, max(0, results.newest + 1))
        self._held_ns = dict.fromkeys(Blocked, 0)

    @property
    def hold(self) -> Hold:
        """How long this writer was held up so far."""
        let_go = sum(guard.let_go for guard in self._guards)
        return Hold(self._held_ns[Blocked.TRACKERS], self._held_ns[Blocked.READERS], let_go)

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
        end = time.monotonic() + timeout_s
        while True:
            claimed = run(self.try_claim(live))
            left = end - time.monotonic()
            if isinstance(claimed, Claim) or (live and claimed is Blocked.TRACKERS) or left <= 0:
                return claimed
            self._wait(left, live, between)

    def prepare(self) -> Claim | None:
        """The next slot before there is anything to fill it with, if it is free: 0.13 ms that no frame waits for."""
        claimed = run(self.try_claim(live=False))
        return claimed if isinstance(claimed, Claim) else None

    def try_claim(self, live: bool) -> Steps[Claim | Blocked]:
        """Steps 1 to 3 without waiting."""
        yield "frame.1"
        place = self._frames.newest + 1
        verdict = self._blocked(place, live)
        if verdict is not None:
            return verdict
        for guard in self._guards:
            guard.note_progress(place)
        yield from self._frames.open(place, "frame")
        return Claim(place, self._frames.payload(place), self._frames.record(place))

    def publish(self, claim: Claim) -> None:
        """The frame is there: everybody may read it."""
        run(self.publication(claim))

    def publication(self, claim: Claim) -> Steps[None]:
        """Steps 4 to 7."""
        yield from self._frames.commit(claim.place, "frame")
        yield "frame.7"
        self._units.work.ring(self._units.layout.units_of_step[0])  # no more can find something in it

    def depth(self) -> int:
        """Places that are published and not tracked yet."""
        newest = self._frames.newest
        return newest + 1 - self._oldest.look(newest)

    def _blocked(self, place: int, live: bool) -> Blocked | None:
        """Why this place cannot be admitted now."""
        tracked, linked = self._oldest.look(place - 1), self._results.newest + 1
        if tracked <= place - self._frames.slots or linked <= place - self._results.slots:
            return Blocked.TRACKERS
        if any([guard.blocks(place, live) for guard in self._guards]):
            return Blocked.READERS
        return None

    def _wait(self, timeout_s: float, live: bool, between: Callable[[], None] | None) -> None:
        """Sleep until something is freed, or a tenth of a second; count for whom."""
        # Whoever may have made room rings this bell: readers of either ring, trackers and the linker.
        bell = self._frames.released
        seen = bell.rings()
        why = self._blocked(self._frames.newest + 1, live)
        if why is None:
            return
        if between is not None:
            between()
        started = time.monotonic_ns()
        bell.wait(seen, timeout_s)
        self._held_ns[why] += time.monotonic_ns() - started


class _Guard:
    """The lossless readers of one ring, as its writer waits for them."""

    def __init__(self, ring: Ring, hold_s: float, clock: Callable[[], float]) -> None:
        self._ring = ring
        self._cursors = CursorTable(ring)
        self._patience = Patience(self._cursors, hold_s, clock)
        self.let_go = 0

    def blocks(self, place: int, live: bool) -> bool:
        if self._cursors.all_passed(place - self._ring.slots):  # the rule, and 20 us faster than to ask each
            return False
        blocking = self._blocking(place)
        if live:
            for reader in blocking:
                self.let_go += self._patience.blocked_by(reader)
            blocking = self._blocking(place)
        return bool(blocking)

    def note_progress(self, place: int) -> None:
        readers = self._cursors.readers()
        if readers:
            self._patience.look()
        for reader in readers:
            if place - self._cursors.cursor(reader) < self._ring.slots // 2:
                self._patience.room_again(reader)

    def _blocking(self, place: int) -> Sequence[int]:
        cursors, oldest = self._cursors, place - self._ring.slots
        return [r for r in cursors.readers() if cursors.held_back_by(r) and cursors.cursor(r) < oldest]
