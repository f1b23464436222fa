"""Readers of a ring: lossless, following, live.

A *lossless* reader has a cursor in the ring, which outlives its process: the place it has finished with. The writer
waits for it, until it is *let go*; then the ring goes on without it until it has caught up. A *following* reader takes
every place in order and is never waited for; a *live* reader takes the newest and counts what it passed over. Those
two own no word in the ring: any number of them, nothing to clean up.

Words of a lossless reader, each with one writer:

- `cursor`, `joined`: the reader. Everything up to `cursor` is finished with.
- `let_go`: the writer of the ring raises it to let the reader go. While `let_go != joined` nobody waits for it.
- `expected`: the owner. 0: there is no such reader in this run, or it stayed dead.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from numba import int64, njit

from engine.shm.atomics import LINE, WORDS_TYPE, Words, load, load_word, store
from engine.shm.ring import CURSORS, READERS, Ring
from engine.shm.steps import Steps, run
from engine.shm.wakeup import Bell, wait_for

_CURSOR, _JOINED, _LET_GO, _EXPECTED = 0, 1, LINE, 2 * LINE


@dataclass(frozen=True)
class Gap:
    """Places that a reader did not get, both ends included."""

    first: int
    last: int

    @property
    def count(self) -> int:
        return self.last - self.first + 1


class CursorTable:
    """The lossless readers of a ring, as its writer and its owner see them."""

    def __init__(self, ring: Ring) -> None:
        self._words = ring.words
        self._ring = ring

    @property
    def newest(self) -> int:
        return self._ring.newest

    def expect(self, reader: int, expected: bool = True) -> None:
        """Say whether there is such a reader (owner). Its cursor starts before place 0 and is its own."""
        if not 0 <= reader < READERS:
            raise ValueError(f"lossless reader {reader}: a ring has room for {READERS}")
        store(self._words, _base(reader) + _EXPECTED, int(expected))

    def held_back_by(self, reader: int) -> bool:
        """Whether the writer waits for this reader: there is one, and it was not let go."""
        base = _base(reader)
        return load(self._words, base + _EXPECTED) == 1 and not self.is_let_go(reader)

    def is_let_go(self, reader: int) -> bool:
        base = _base(reader)
        return load(self._words, base + _LET_GO) != load(self._words, base + _JOINED)

    def cursor(self, reader: int) -> int:
        """The place up to which the reader has finished."""
        return load(self._words, _base(reader) + _CURSOR)

    def let_go(self, reader: int) -> None:
        """Wait for this reader no longer, until it has caught up (writer)."""
        base = _base(reader)
        if not self.is_let_go(reader):
            store(self._words, base + _LET_GO, load(self._words, base + _LET_GO) + 1)

    def readers(self) -> list[int]:
        """The readers that there are."""
        found, bits = [], int(_expected_readers(self._words))
        while bits:
            found.append(bits.bit_length() - 1)
            bits &= ~(1 << found[-1])
        return found[::-1]

    def all_passed(self, place: int) -> bool:
        """Whether every reader that the writer waits for has finished with this place."""
        return bool(_all_passed(self._words, place))


class FollowingReader:
    """Every place in order from the one after the newest on (or from `start`), told how many it lost."""

    def __init__(self, ring: Ring, start: int | None = None) -> None:
        self._ring = ring
        self._next = ring.newest + 1 if start is None else start
        self.lost = 0

    @property
    def last(self) -> int:
        """The newest place that it was given or that was in a gap; at first the one before where it begins."""
        return self._next - 1

    def next(self, timeout_s: float, between: Callable[[], None] | None = None) -> int | Gap | None:
        """The next place; a `Gap` if the ring went on without this reader; None after `timeout_s`."""
        ring = self._ring
        found = wait_for(ring.published, lambda: _reached(ring, self._next), timeout_s, between)
        if found is None:
            return None
        self._reached(found)
        gap = _gap(ring, self._next, found)
        if gap is None:
            self._next += 1
            return self._next - 1
        self._next = gap.last + 1
        self.lost += gap.count
        return gap

    def overrun(self, place: int) -> Gap:
        """Say that `view` of this place raised `OverrunError`: it is lost, and the next place follows."""
        self.lost += 1
        return Gap(place, place)

    def _reached(self, newest: int) -> None:
        """There is something to read."""


class LosslessReader(FollowingReader):
    """Every place in order. The ring waits for it: call `done` when what it read is safe.

    A process that starts again goes on after the last `done`. `released` is the bell of who waits for room, the
    ring's own if None.
    """

    def __init__(self, ring: Ring, reader: int, released: Bell | None = None) -> None:
        self._released = released or ring.released
        self._base = _base(reader)
        super().__init__(ring, load(ring.words, self._base + _CURSOR) + 1)

    def done(self, place: int) -> None:
        """Everything up to and including this place is safe; its slot may be reused."""
        run(self._done(place))

    def _done(self, place: int) -> Steps[None]:
        if place > load(self._ring.words, self._base + _CURSOR):
            yield "read.5"
            store(self._ring.words, self._base + _CURSOR, place)
            yield "read.6"
            self._released.ring()

    def _reached(self, newest: int) -> None:
        words = self._ring.words
        let_go = load(words, self._base + _LET_GO)
        caught_up = newest - load(words, self._base + _CURSOR) < self._ring.slots // 2
        if caught_up and let_go != load(words, self._base + _JOINED):
            # The writer waits for it again. By what is safe, not by what was read: the writer looks at the cursor.
            store(words, self._base + _JOINED, let_go)


class LiveReader:
    """The newest place, each at most once; counts what it passed over."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._last = ring.newest
        self.passed_over = 0

    def next(self, timeout_s: float, between: Callable[[], None] | None = None) -> int | None:
        """The newest place once it is another than the last time; None after `timeout_s`."""
        ring = self._ring
        found = wait_for(ring.published, lambda: _reached(ring, self._last + 1), timeout_s, between)
        if found is None:
            return None
        self.passed_over += found - self._last - 1
        self._last = found
        return found


class Patience:
    """How long the writer of a ring waits for its lossless readers: the arithmetic of `ring.hold_s`.

    A reader is let go when the ring is full because of it and either nothing of it moved for `hold_s`, or the ring
    was full because of it, again and again, for `hold_s` (it moves, but slower than the camera).
    """

    def __init__(self, cursors: CursorTable, hold_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._cursors = cursors
        self._hold_s = hold_s
        self._clock = clock
        self._moved: dict[int, tuple[int, float]] = {}
        self._full: dict[int, tuple[float, float]] = {}  # since when, and when it was last seen full

    def look(self) -> None:
        """Note which readers moved, or had nothing to do; once for every place written."""
        now = self._clock()
        newest = self._cursors.newest
        for reader in self._cursors.readers():
            cursor = self._cursors.cursor(reader)
            if self._moved.get(reader, (None, 0.0))[0] != cursor or cursor >= newest:
                self._moved[reader] = (cursor, now)

    def blocked_by(self, reader: int) -> bool:
        """The ring is full because of this reader; whether it was let go just now."""
        now = self._clock()
        self.look()
        since, last = self._full.get(reader, (now, now))
        if now - last > self._hold_s:
            since = now  # that was another time: it has kept up since
        self._full[reader] = since, now
        moved = self._moved.get(reader, (0, now))[1]
        if now - moved < self._hold_s and now - since < self._hold_s:
            return False
        self._cursors.let_go(reader)
        self._full.pop(reader, None)
        return True

    def room_again(self, reader: int) -> None:
        """The reader is less than half a ring behind: a new spell begins."""
        self._full.pop(reader, None)


def _base(reader: int) -> int:
    return CURSORS + 3 * LINE * reader


@njit((WORDS_TYPE,), cache=True)
def _expected_readers(words: Words) -> int:
    bits = 0
    for reader in range(READERS):
        if load_word(words, CURSORS + 3 * LINE * reader + _EXPECTED) == 1:
            bits |= 1 << reader
    return bits


@njit((WORDS_TYPE, int64), cache=True)
def _all_passed(words: Words, place: int) -> bool:
    for reader in range(READERS):
        base = CURSORS + 3 * LINE * reader
        if (
            load_word(words, base + _EXPECTED) == 1
            and load_word(words, base + _LET_GO) == load_word(words, base + _JOINED)
            and load_word(words, base + _CURSOR) < place
        ):
            return False
    return True


def _reached(ring: Ring, place: int) -> int | None:
    newest = ring.newest
    return newest if newest >= place else None


def _gap(ring: Ring, wanted: int, newest: int) -> Gap | None:
    """What is gone of the places from `wanted` on. After an overrun half a ring is skipped, not to be overrun again."""
    if wanted > newest - ring.slots and ring.is_there(wanted):
        return None
    first_kept = max(wanted + 1, newest - ring.slots // 2)
    return Gap(wanted, first_kept - 1)
