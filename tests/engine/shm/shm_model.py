"""The whole protocol in one process: production's generators over ordinary bytes, advanced one step at a time.

A `World` is a run in small: a receiver, trackers, a linker, recorders of results and of frames, following and live
readers. Each is an *actor*: a generator that yields at every step of the production protocols and, besides, between
any two words of the payloads it reads or writes. Who drives a world decides which actor goes on by how many yields,
which one dies (its generator is dropped where it stands) and when it is reaped and started again.

The checks run while the world moves (`Forbidden` is raised at once) and at its end (`check_account`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from engine.shm import units as units_module
from engine.shm.atomics import LINE
from engine.shm.cursors import CursorTable, Gap
from engine.shm.ledger import Ledger
from engine.shm.result_ring import TwoCopies
from engine.shm.ring import CURSORS, NEWEST, READERS, Ring, RingLayout
from engine.shm.units import Unit, UnitLayout, Units, UnitState
from tests.engine.shm.shm_model_actors import (
    AT_CAMERA,
    DIES,
    IDLE,
    Life,
    following,
    frame_recorder,
    linker,
    live_reader,
    receiver,
    result_recorder,
    tracker,
)
from tests.engine.shm.shm_model_memory import (
    FRAME,
    LOSS,
    PIXELS,
    RESULT,
    ROW,
    ROWS,
    Forbidden,
    Memory,
    WatchedRing,
    at_camera,
    linked,
    rows_of,
)


@dataclass
class Actor:
    """One process: its life now, and how to start another."""

    start: Callable[[], Life]
    life: Life | None = None
    worker: int = -1
    at: str = ""  # the step it is about to take

    @property
    def dead(self) -> bool:
        return self.life is None


@dataclass
class Recording:
    """What a lossless reader wrote down, over all its lives."""

    kept: list[tuple[int, Any]] = field(default_factory=list)  # place and copy, in the order of flushing
    gaps: list[Gap] = field(default_factory=list)


class World:
    """A run of `frames` camera frames; see the module."""

    def __init__(
        self,
        frames: int = 20,
        workers: int = 3,
        live: bool = False,
        first_place: int = 0,
        frame_slots: int = 3,
        result_slots: int = 6,
        depth: int = 2,
        hold_s: float = 1.0,
        memory: Callable[[str, int], Memory] = lambda kind, size: Memory(size),
    ) -> None:
        self.total = frames
        self.live = live
        self.hold_s = hold_s
        self.now = 0.0
        self.first_place = first_place
        self._unit_layout = UnitLayout(depth, (2, 1, 1))
        frame_layout = RingLayout(frame_slots, FRAME, np.dtype("<i8"), (PIXELS,))
        result_layout = RingLayout(result_slots, RESULT, ROW, (ROWS,))
        self._layouts = frame_layout, result_layout
        self._frames_memory = memory("frames", frame_layout.bytes)
        self._results_memory = memory("results", result_layout.bytes)
        self._work_memory = memory("work", self._unit_layout.bytes)
        self._state_memory = memory("state", TwoCopies.bytes(16))
        self._ledger_memory = memory("ledger", Ledger.bytes(256, LOSS))
        self.frames = Ring(self._frames_memory, frame_layout)
        self.results = Ring(self._results_memory, result_layout)
        self.units = Units(self._work_memory, 0, self._unit_layout)
        self.state = TwoCopies(self._state_memory, 0, 16)
        self.ledger = Ledger(self._ledger_memory, 0, 256, LOSS)
        self.scratch = memory("scratch", depth * 24).array(0, (depth, 3), np.int64)
        self._begin_at(first_place)
        for ring in (self.frames, self.results):
            CursorTable(ring).expect(0)
        self.in_hand: dict[int, Unit] = {}
        self.failures: Counter[tuple[int, int, int]] = Counter()  # of a unit: by death or by an error
        self.poison: dict[int, tuple[int, int, str]] = {}  # counter: step, index, "raises" or DIES
        self.result_recording, self.frame_recording = Recording(), Recording()
        self.seen = Counter[str]()
        self.actors = {
            "receiver": Actor(partial(receiver, self)),
            "linker": Actor(partial(linker, self)),
            "result recorder": Actor(partial(result_recorder, self)),
            "frame recorder": Actor(partial(frame_recorder, self)),
            "following": Actor(partial(following, self)),
            "live": Actor(partial(live_reader, self)),
        }
        for worker in range(workers):
            self.actors[f"tracker {worker}"] = Actor(partial(tracker, self, worker), worker=worker)
        for actor in self.actors.values():
            actor.life = actor.start()

    # ---- driving it

    def advance(self, name: str, yields: int = 1) -> int:
        """Let an actor take so many steps, fewer if it dies or has nothing to do; how many it took."""
        actor = self.actors[name]
        for taken in range(yields):
            if actor.life is None:
                return taken
            actor.at = next(actor.life)
            self.seen[actor.at] += 1
            if actor.at == DIES:
                self.kill(name)
            if actor.at == IDLE:
                return taken
        return yields

    def kill(self, name: str) -> None:
        """kill -9, exactly where it stands. It is not reaped yet."""
        actor = self.actors[name]
        if actor.life is None:
            return
        actor.life.close()
        actor.life = None
        self.note_death(name)

    def note_death(self, name: str) -> None:
        """Count the attempts that end with this actor; before it is reaped."""
        worker = self.actors[name].worker
        if worker >= 0:
            for unit in self._owned_by(worker):
                self.failures[unit] += 1

    def restart(self, name: str) -> None:
        """Reap it and start another in its place, as the supervisor does."""
        actor = self.actors[name]
        if actor.life is not None:
            return
        self.reap(name)
        actor.life = actor.start()

    def reap(self, name: str) -> None:
        """It is dead for certain: what it had in hand is free."""
        worker = self.actors[name].worker
        if worker >= 0:
            self.in_hand.pop(worker, None)
            self.units.raise_incarnation(worker)

    def drain(self) -> None:
        """Let everybody live and work until nothing is left to do."""
        for _ in range(5_000):
            for name in self.actors:
                self.restart(name)
            moved = sum(self.advance(name, 20) for name in self.actors)
            self.now += 0.01
            if moved == 0:
                return
        raise Forbidden(f"the run does not come to an end: {[(n, a.at) for n, a in self.actors.items()]}")

    # ---- what it must have come to

    def check_account(self) -> None:
        """After `drain`: everything is accounted for, exactly once, and right."""
        newest = self.results.newest
        assert self.frames.newest == newest, "something is in flight"
        assert not any(self._is_in_hand(word) for word in self._unit_words()), "a unit is in somebody's hand"
        places = range(self.first_place, newest + 1)
        results = self._merged(self.result_recording, places)
        frames = self._merged(self.frame_recording, places)
        for place, counter in frames.items():
            assert place not in results or results[place][0] == counter

        losses = [tuple(int(v) for v in record) for record in self.ledger.read(0, self.ledger.count)]
        lost = [counter for first, last, _ in losses for counter in range(first, last + 1)]
        if len(results) == len(places) or len(frames) == len(places):
            taken = sorted([c for c, *_ in results.values()] if len(results) == len(places) else frames.values())
            assert sorted(taken + lost) == list(range(self.total)), "a frame is not accounted for exactly once"
        assert [c for c, _, cause in losses if cause == AT_CAMERA] == [c for c in range(self.total) if at_camera(c)]
        assert self.live or all(cause == AT_CAMERA for _, _, cause in losses), "a finite source lost a frame"

        state = 0
        for place in places:
            failed_twice = any(n >= 2 for (p, _, _), n in self.failures.items() if p == place)
            if place not in results:
                return  # let go: what follows from the state cannot be computed any more
            counter, failed, rows = results[place]
            assert failed == failed_twice, f"place {place}: failed {failed}, {self.failures}"
            if not failed:
                state = linked(state, counter)
                assert rows == [(value, state) for value in rows_of(counter)]
        assert int(self.state.in_force(newest).view(np.int64)[0]) == state

    def _merged(self, recording: Recording, places: range) -> dict[int, Any]:
        """Parts of all lives; a place that is in two of them must be the same in both."""
        merged: dict[int, Any] = {}
        for place, copy in recording.kept:
            assert merged.setdefault(place, copy) == copy, f"place {place} was recorded twice, differently"
        missing = {place for gap in recording.gaps for place in range(gap.first, gap.last + 1)}
        assert self.live or not missing, f"a lossless reader of a finite source was overrun: {recording.gaps}"
        assert set(merged) | missing == set(places), "a recorder does not know of some places"
        return merged

    # ---- as its actors see it

    def attach_frames(self) -> Ring:
        return WatchedRing(self, self._frames_memory.attached(), self._layouts[0], is_frames=True)

    def attach_results(self) -> Ring:
        return WatchedRing(self, self._results_memory.attached(), self._layouts[1], is_frames=False)

    def attach_units(self) -> Units:
        return Units(self._work_memory.attached(), 0, self._unit_layout)

    def attach_ledger(self) -> Ledger:
        return Ledger(self._ledger_memory.attached(), 0, 256, LOSS)

    def attach_state(self) -> TwoCopies:
        return TwoCopies(self._state_memory.attached(), 0, 16)

    def check_claim(self, worker: int, unit: Unit) -> None:
        depth = self._unit_layout.depth
        for other, held in self.in_hand.items():
            same_row = held.place % depth == unit.place % depth
            if other != worker and same_row and held.place != unit.place:
                raise Forbidden(f"{unit} was handed out while a worker that was not reaped has {held}")
            if other != worker and held.place == unit.place and unit.mark_only:
                raise Forbidden(f"place {unit.place} is marked while a worker that was not reaped has {held}")

    # ---- inside

    def _begin_at(self, place: int) -> None:
        """As if so many places had come and gone."""
        for ring in (self.frames, self.results):
            ring.words[NEWEST] = place - 1
            ring.words[CURSORS : CURSORS + 3 * LINE * READERS : 3 * LINE] = place - 1
        self.frames.record(place - 1)["counter"] = -1
        self.units._words[units_module._TABLES :] = units_module.pack(place - 1, 0, 0, 0, UnitState.DONE)
        self.state._words[0] = place - 1

    def _is_in_hand(self, word: int) -> bool:
        """Whether somebody has a unit. One of a place that failed may keep the name of a worker that died with it."""
        worker = word >> units_module._WORKER_AT & units_module._WORKER_MASK
        born = word >> units_module._INCARNATION_AT & units_module._INCARNATION_MASK
        return word & 3 == UnitState.OWNED and self.units.incarnation(worker) == born

    def _unit_words(self) -> list[int]:
        layout, words = self._unit_layout, self.units._words
        rows = [units_module._TABLES + row * layout.row_words for row in range(layout.depth)]
        return [int(words[row + i]) for row in rows for i in range(layout.units)]

    def _owned_by(self, worker: int) -> list[tuple[int, int, int]]:
        """Units (place, step, index) that this worker's present incarnation owns."""
        layout, found = self._unit_layout, []
        for i, word in enumerate(self._unit_words()):
            owner = word >> units_module._WORKER_AT & units_module._WORKER_MASK
            incarnation = word >> units_module._INCARNATION_AT & units_module._INCARNATION_MASK
            if word & 3 == UnitState.OWNED and owner == worker and incarnation == self.units.incarnation(worker):
                number = i % layout.units
                step = max(s for s, first in enumerate(layout.first_of_step[:-1]) if first <= number)
                near = self.frames.newest
                place = near - (near - (word >> units_module._PLACE_AT) & units_module._PLACE_MASK)
                found.append((place, step, number - layout.first_of_step[step]))
        return found
