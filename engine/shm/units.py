"""Units of work: who does which part of which place, without a dispatcher and without a queue.

Some places are *in work* at once (`depth` of them). Each has a table of words, one for each unit: the units of step 0,
then those of step 1, and so on; the last step is one unit, which finishes the place. A step may begin when every unit
of the step before is done. Workers claim units of the oldest unfinished place by compare-and-swap:

    word = place (31 bits) | incarnation (16) | worker (10) | attempts (4) | state (2)

A word of an older place means: free, never attempted. A worker's *incarnation* is a word that the supervisor alone
raises, after reaping; an owned unit of another incarnation is free. Nothing is ever taken from a process that still
lives, and a unit done twice writes the same bytes.

Steps of a unit, and what is seen if the worker dies just before:

1. find a free word                          nothing
2. claim it (or mark it failed)              nothing
3. see that the place has not failed         owned by a dead incarnation: done again by another, one attempt more
   meanwhile; work, in the unit's own area
4. store done: the commit                    the same
5. ring: others may find the next step       done; sleepers notice within 0.1 s

A unit that failed twice (its worker died or raised) is FAILED, and no further unit of its place but the last one is
done: once nobody has a unit of it any more, the last one is handed out as *mark only*: write the record that says so.
So is a last unit that itself failed twice. A worker that claimed a unit just before its place failed sees that when it
looks again, and gives it back untouched. So nobody works on a place that is finished, and its slots may be reused.

To wake somebody who finds nothing costs CPU time on both sides. So no more are woken than units became free, and who
rings counts himself, for he looks for work next: a step of one unit wakes nobody. (If he dies or stops instead, it is
found within 0.1 s.) All are woken where something went wrong, and where the end of a place lets another into work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np
from numba import int64, intp, njit

from engine.shm.atomics import LINE, WORDS_TYPE, Words, full_fence, load, load_word, store, swap_if
from engine.shm.segment import Memory, aligned
from engine.shm.steps import Steps
from engine.shm.wakeup import Bell, bell_at

WORKERS = 256
ATTEMPTS = 2
"""A unit that failed so often is given up."""


class UnitState(IntEnum):
    FREE = 0
    OWNED = 1
    DONE = 2
    FAILED = 3


_STATE_BITS, _ATTEMPT_BITS, _WORKER_BITS, _INCARNATION_BITS, _PLACE_BITS = 2, 4, 10, 16, 31
_ATTEMPT_AT = _STATE_BITS
_WORKER_AT = _ATTEMPT_AT + _ATTEMPT_BITS
_INCARNATION_AT = _WORKER_AT + _WORKER_BITS
_PLACE_AT = _INCARNATION_AT + _INCARNATION_BITS
_PLACE_MASK = (1 << _PLACE_BITS) - 1
_INCARNATION_MASK = (1 << _INCARNATION_BITS) - 1
_WORKER_MASK = (1 << _WORKER_BITS) - 1
_ATTEMPT_MASK = (1 << _ATTEMPT_BITS) - 1
_FREE, _OWNED, _DONE, _FAILED = (int(state) for state in UnitState)

# Words before the tables, each on a line of its own.
_BELL = 0  # rung when units may be found: anybody
_FINISHED_BELL = LINE  # rung when a place is finished: anybody
_SHAPE = 2 * LINE  # depth, steps, units of each step: the owner, once
_INCARNATIONS = 16 * LINE  # one line for each worker: the supervisor
_TABLES = _INCARNATIONS + LINE * WORKERS


@dataclass(frozen=True)
class UnitLayout:
    """How many units each step has. The last step has one."""

    depth: int
    units_of_step: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.units_of_step[-1] != 1:
            raise ValueError("the last step is one unit: it finishes the place")

    @cached_property
    def units(self) -> int:
        return sum(self.units_of_step)

    @cached_property
    def row_words(self) -> int:
        return aligned(self.units, LINE)

    @property
    def bytes(self) -> int:
        return 8 * (_TABLES + self.depth * self.row_words)

    @cached_property
    def first_of_step(self) -> tuple[int, ...]:
        return tuple(int(n) for n in np.concatenate([[0], np.cumsum(self.units_of_step)]))


@dataclass(frozen=True)
class Unit:
    """A claimed unit. `mark_only`: the place failed; write the record that says so, do no work."""

    place: int
    step: int
    index: int
    attempt: int
    mark_only: bool
    word: int
    table_index: int


class Units:
    """The words of the units of work, as workers, linker, receiver and supervisor use them."""

    def __init__(self, segment: Memory, offset: int, layout: UnitLayout) -> None:
        self.layout = layout
        self._words = segment.words(offset, layout.bytes // 8)
        self._steps = np.array(layout.first_of_step, np.int64)
        if segment.owner:
            self._words[_TABLES:] = pack(_PLACE_MASK, 0, 0, 0, _DONE)  # of the place before place 0
        self.work: Bell = bell_at(self._words, _BELL)
        self.finished: Bell = bell_at(self._words, _FINISHED_BELL)

    # ---- the supervisor

    def incarnation(self, worker: int) -> int:
        return load(self._words, _INCARNATIONS + LINE * worker)

    def raise_incarnation(self, worker: int) -> int:
        """After the worker was reaped, never before: its units are free from now on. The new incarnation."""
        new = self.incarnation(worker) + 1
        store(self._words, _INCARNATIONS + LINE * worker, new)
        self.work.ring()
        return new

    # ---- everybody

    def is_finished(self, place: int) -> bool:
        """Whether the last unit of this place is done. Places are asked for in order, never far back."""
        word = load(self._words, self._last(place))
        ahead = _ahead(word >> _PLACE_AT, place)
        return ahead > 0 or (ahead == 0 and word & 3 == _DONE)

    def attempts(self, place: int) -> int:
        """The most attempts that a unit of a place in work took."""
        start = self._row(place)
        words = [load(self._words, start + i) for i in range(self.layout.units)]
        mine = [w >> _ATTEMPT_AT & _ATTEMPT_MASK for w in words if _ahead(w >> _PLACE_AT, place) == 0]
        return max(mine, default=0)

    # ---- the workers

    def claim(self, oldest: int, newest: int, worker: int, incarnation: int) -> Steps[Unit | None]:
        """Steps 1 and 2, and 3 but for the work: a unit of the oldest place that has one, or None.

        `oldest` is the oldest unfinished place; it may be out of date, `newest` too.
        """
        for place in range(oldest, min(newest, oldest + self.layout.depth - 1) + 1):
            while True:
                yield "unit.1"
                step, index, seen, give_up = _find(
                    self._words, self._row(place), self._steps, place & _PLACE_MASK, _INCARNATIONS
                )
                if index < 0:
                    break
                attempts = _attempts_of(seen, place)
                last = step == len(self.layout.units_of_step) - 1
                attempt = min(attempts + 1, _ATTEMPT_MASK)
                mine = pack(place, incarnation, worker, attempt, _OWNED)
                if give_up:
                    mine = pack(place, incarnation, worker, attempts, _FAILED)
                yield "unit.2"
                if not swap_if(self._words, index, seen, mine) or give_up:
                    continue
                yield "unit.3"
                # Whoever hands out the last unit of a failed place looks for owned units after it failed, we look for
                # failed ones after we own ours: one of the two sees the other.
                full_fence()
                failed = self._has_failed(place)
                if not last and (failed or self.is_finished(place)):
                    swap_if(self._words, index, mine, pack(place, incarnation, worker, attempts, _FREE))
                    self.work.ring()
                    continue
                number = index - self._row(place) - int(self._steps[step])
                return Unit(place, step, number, attempt, last and (failed or attempt > ATTEMPTS), mine, index)
        return None

    def done(self, unit: Unit, newest: Callable[[], int]) -> Steps[None]:
        """Steps 4 and 5. The newest place is asked for once the unit is done: before, it might be out of date."""
        yield "unit.4"
        self._swap(unit, unit.word & ~3 | _DONE)
        yield "unit.5"
        if unit.step == len(self.layout.units_of_step) - 1:
            self.finished.ring()
            # Those sleep who looked while all places in work were taken. Another one is in work from now on, if it is
            # there: `depth` is so large that this is rare.
            if newest() >= unit.place + self.layout.depth:
                self.work.ring()
        elif self._step_is_done(unit.place, unit.step):
            # One unit of the next step is for us: we look for work next.
            self.work.ring(self.layout.units_of_step[unit.step + 1] - 1)
        elif self._has_failed(unit.place):
            self.work.ring()  # somebody may wait for this unit to mark the place

    def failed(self, unit: Unit) -> None:
        """The worker could not do it and lives: somebody tries once more, or it is given up."""
        last = unit.step == len(self.layout.units_of_step) - 1
        give_up = unit.attempt >= ATTEMPTS and not last
        self._swap(unit, unit.word & ~3 | (_FAILED if give_up else _FREE))
        self.work.ring()

    def _swap(self, unit: Unit, new: int) -> None:
        if not swap_if(self._words, unit.table_index, unit.word, new):
            raise RuntimeError(
                f"unit {unit.step}/{unit.index} of place {unit.place} was taken from a worker that lives"
            )

    def _row(self, place: int) -> int:
        return _TABLES + place % self.layout.depth * self.layout.row_words

    def _last(self, place: int) -> int:
        return self._row(place) + self.layout.units - 1

    def _has_failed(self, place: int) -> bool:
        return bool(_any_failed(self._words, self._row(place), self.layout.units, place & _PLACE_MASK))

    def _step_is_done(self, place: int, step: int) -> bool:
        start = self._row(place)
        first, end = start + int(self._steps[step]), start + int(self._steps[step + 1])
        return bool(_all_done(self._words, first, end, place & _PLACE_MASK))


class OldestUnfinished:
    """The oldest unfinished place, found again by everybody who needs it from the words alone."""

    def __init__(self, units: Units, start: int) -> None:
        self._is_finished: Callable[[int], bool] = units.is_finished
        self._place = start

    def look(self, newest: int) -> int:
        """The oldest place up to `newest` that is not finished; `newest` + 1 if all are."""
        while self._place <= newest and self._is_finished(self._place):
            self._place += 1
        return self._place


def pack(place: int, incarnation: int, worker: int, attempts: int, state: int) -> int:
    """A unit's word."""
    return (
        (place & _PLACE_MASK) << _PLACE_AT
        | (incarnation & _INCARNATION_MASK) << _INCARNATION_AT
        | (worker & _WORKER_MASK) << _WORKER_AT
        | (attempts & _ATTEMPT_MASK) << _ATTEMPT_AT
        | state
    )


def _ahead(place_bits: int, place: int) -> int:
    """By how much the place in a word is beyond `place`, in the circle of 2^31."""
    half = 1 << (_PLACE_BITS - 1)
    return (place_bits - place + half & _PLACE_MASK) - half


def _attempts_of(word: int, place: int) -> int:
    return word >> _ATTEMPT_AT & _ATTEMPT_MASK if _ahead(word >> _PLACE_AT, place) == 0 else 0


@njit((WORDS_TYPE, intp, intp, int64), cache=True)
def _all_done(words: Words, first: int, end: int, place_bits: int) -> bool:
    for i in range(first, end):
        word = load_word(words, i)
        if word >> _PLACE_AT != place_bits or word & 3 != _DONE:
            return False
    return True


@njit((WORDS_TYPE, intp, int64, int64), cache=True)
def _any_failed(words: Words, row: int, units: int, place_bits: int) -> bool:
    for i in range(row, row + units):
        word = load_word(words, i)
        if word >> _PLACE_AT == place_bits and word & 3 == _FAILED:
            return True
    return False


@njit((WORDS_TYPE, intp, int64, int64, intp), cache=True)
def _any_in_hand(words: Words, row: int, units: int, place_bits: int, incarnations: int) -> bool:
    """Whether a living worker has a unit of this place."""
    for i in range(row, row + units):
        word = load_word(words, i)
        if word >> _PLACE_AT == place_bits and word & 3 == _OWNED:
            owner = (word >> _WORKER_AT) & _WORKER_MASK
            incarnation = load_word(words, incarnations + 8 * owner) & _INCARNATION_MASK
            if incarnation == (word >> _INCARNATION_AT) & _INCARNATION_MASK:
                return True
    return False


@njit((WORDS_TYPE, intp, WORDS_TYPE, int64, intp), cache=True)
def _find(words: Words, row: int, steps: Any, place_bits: int, incarnations: int) -> Any:
    """(step, word index or -1, word seen, give it up?) of a unit of this place that can be claimed."""
    last = len(steps) - 2
    half = 1 << (_PLACE_BITS - 1)
    step = 0
    if _any_failed(words, row, steps[last + 1], place_bits):
        if _any_in_hand(words, row, steps[last + 1], place_bits, incarnations):
            return last, -1, 0, False
        step = last
    while step <= last:
        complete = True
        for i in range(row + steps[step], row + steps[step + 1]):
            word = load_word(words, i)
            owner = (word >> _WORKER_AT) & _WORKER_MASK
            alive = load_word(words, incarnations + 8 * owner) & _INCARNATION_MASK == (
                (word >> _INCARNATION_AT) & _INCARNATION_MASK
            )
            state = word & 3
            ahead = ((word >> _PLACE_AT) - place_bits + half & _PLACE_MASK) - half
            if ahead > 0:
                return step, -1, word, False  # The place was finished long ago; look again from the words.
            if state == _OWNED and alive:
                complete = False
                continue
            if ahead == 0 and state == _DONE:
                continue
            if ahead == 0 and state == _FAILED:
                return step, -1, word, False  # It failed while we looked: begin again at the last step.
            complete = False
            attempts = (word >> _ATTEMPT_AT) & _ATTEMPT_MASK
            dead = ahead == 0 and attempts >= ATTEMPTS and step < last
            return step, i, word, dead
        if not complete:
            return step, -1, 0, False
        step += 1
    return last, -1, 0, False
