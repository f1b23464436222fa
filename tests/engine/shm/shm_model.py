"""The whole protocol in one process: production's generators over ordinary bytes, advanced one step at a time.

A `World` is a run in small: a receiver, trackers, a linker, recorders of results and of frames, following and live
readers. Each is an *actor*: a generator that yields at every step of the production protocols and, besides, between
any two words of the payloads it reads or writes. Who drives a world decides which actor goes on by how many yields,
which one dies (its generator is dropped where it stands) and when it is reaped and started again.

The checks run while the world moves (`Forbidden` is raised at once) and at its end (`check_account`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from engine.shm import units as units_module
from engine.shm.atomics import LINE
from engine.shm.cursors import CursorTable, FollowingReader, Gap, LiveReader, LosslessReader
from engine.shm.frame_ring import Blocked, FrameWriter
from engine.shm.ledger import Ledger
from engine.shm.result_ring import TwoCopies
from engine.shm.ring import CURSORS, NEWEST, READERS, OverrunError, Ring, RingLayout
from engine.shm.segment import Segment
from engine.shm.units import OldestUnfinished, Unit, UnitLayout, Units, UnitState

R = TypeVar("R")
Life = Generator[str, None, None]
PIXELS, ROWS = 4, 3
FRAME = np.dtype([("counter", "<i8"), ("ledger", "<i8")])
RESULT = np.dtype([("counter", "<i8"), ("rows", "<i8"), ("failed", "<i8")])
ROW = np.dtype([("value", "<i8"), ("identity", "<i8")])
LOSS = np.dtype([("first", "<i8"), ("last", "<i8"), ("cause", "<i8")])
AT_CAMERA, RING_FULL = 1, 2
DIES = "dies here, whoever does it"
IDLE = "idle"


class Forbidden(AssertionError):
    """Something happened that the protocol rules out."""


class Memory:
    """A stand-in for a segment, over ordinary bytes."""

    def __init__(self, size: int, shared: npt.NDArray[np.int64] | None = None) -> None:
        self.name = "memory"
        self.owner = shared is None
        self._words = np.zeros(-(-size // 8), np.int64) if shared is None else shared

    def attached(self) -> Memory:
        """As a process that did not make it sees it."""
        return Memory(0, self._words)

    def words(self, offset: int, count: int) -> npt.NDArray[np.int64]:
        return np.frombuffer(self._words, np.int64, count, offset)

    def array(self, offset: int, shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
        return np.frombuffer(self._words, dtype, int(np.prod(shape)), offset).reshape(shape)


class SegmentMemory(Memory):
    """A real segment, used in the same way by processes that were forked from the one that made it."""

    def __init__(self, segment: Segment, owner: bool = True) -> None:
        self.name = segment.name
        self.owner = owner
        self._segment = segment

    def attached(self) -> SegmentMemory:
        return SegmentMemory(self._segment, owner=False)

    def words(self, offset: int, count: int) -> npt.NDArray[np.int64]:
        return self._segment.words(offset, count)

    def array(self, offset: int, shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
        return self._segment.array(offset, shape, dtype)


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


def pixel(counter: int, index: int) -> int:
    return 1000 * counter + 7 * index


def rows_of(counter: int) -> list[int]:
    total = sum(pixel(counter, i) for i in range(PIXELS))
    return [total + i for i in range(ROWS)]


def linked(state: int, counter: int) -> int:
    return (31 * state + counter + 1) % (1 << 40)


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
            "receiver": Actor(self._receiver),
            "linker": Actor(self._linker),
            "result recorder": Actor(self._result_recorder),
            "frame recorder": Actor(self._frame_recorder),
            "following": Actor(self._following),
            "live": Actor(self._live_reader),
        }
        for worker in range(workers):
            self.actors[f"tracker {worker}"] = Actor(lambda worker=worker: self._tracker(worker), worker=worker)
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
        words = self._unit_words()
        assert not any(word & 3 == UnitState.OWNED for word in words), "a unit is in somebody's hand"
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

    # ---- the actors

    def _receiver(self) -> Life:
        frames, results, units = self._frames(), self._results(), self._units()
        ledger = Ledger(self._ledger_memory.attached(), 0, 256, LOSS)
        writer = FrameWriter(frames, results, units, self.hold_s, lambda: self.now)
        while True:
            meta, record = writer.last_meta(), ledger.last()
            known = [int(meta["counter"][0])] if meta is not None else []
            known += [int(record["last"][0])] if record is not None else []
            counter = max(known, default=-1) + 1
            if counter >= self.total:
                yield IDLE
            elif at_camera(counter):
                yield from ledger._append((counter, counter, AT_CAMERA))
            else:
                claim = yield from writer.try_claim(self.live)
                if claim is Blocked.TRACKERS and self.live:
                    yield from ledger._append((counter, counter, RING_FULL))
                elif isinstance(claim, Blocked):
                    yield IDLE
                else:
                    for i in range(PIXELS):
                        claim.pixels[i] = pixel(counter, i)
                        yield "filling"
                    claim.meta["counter"], claim.meta["ledger"] = counter, ledger.count
                    yield from writer.publication(claim)

    def _tracker(self, worker: int) -> Life:
        frames, results, units = self._frames(), self._results(), self._units()
        oldest = OldestUnfinished(units, results.newest + 1)
        incarnation = units.incarnation(worker)
        while True:
            newest = frames.newest
            unit = yield from units.claim(oldest.look(newest), newest, worker, incarnation)
            if unit is None:
                yield IDLE
                continue
            self._check_claim(worker, unit)
            self.in_hand[worker] = unit
            if (yield from self._work(unit, frames, results)):
                for step in units.done(unit):
                    if step == "unit.5":
                        del self.in_hand[worker]
                    yield step
            else:
                self.failures[unit.place, unit.step, unit.index] += 1
                units.failed(unit)
                del self.in_hand[worker]

    def _work(self, unit: Unit, frames: Ring, results: Ring) -> Generator[str, None, bool]:
        scratch = self.scratch[unit.place % len(self.scratch)]
        counter = int(frames.record(unit.place)["counter"][0])
        step, index, how = self.poison.get(counter, (-1, -1, ""))
        if (unit.step, unit.index) == (step, index) and not unit.mark_only:
            if how == "raises":
                return False
            yield DIES
        if unit.step == 0:
            half = range(unit.index * PIXELS // 2, (unit.index + 1) * PIXELS // 2)
            scratch[unit.index] = 0
            for i in half:
                scratch[unit.index] += int(frames.payload(unit.place)[i])
                yield "tile"
            expected = sum(pixel(counter, i) for i in half)
            if scratch[unit.index] != expected or frames.record(unit.place)["counter"] != counter:
                raise Forbidden(f"the frame of {unit} was overwritten under a living worker")
        elif unit.step == 1:
            scratch[2] = scratch[0]
            yield "whole"
            scratch[2] += scratch[1]
        else:
            yield from results.open(unit.place, "result")
            record, rows = results.record(unit.place), results.payload(unit.place)
            record["counter"] = counter
            record["failed"] = unit.mark_only
            record["rows"] = 0 if unit.mark_only else ROWS
            for i in range(0 if unit.mark_only else ROWS):
                rows["identity"][i] = -1
                rows["value"][i] = scratch[2] + i
                yield "row"
        return True

    def _linker(self) -> Life:
        results, units = self._results(), self._units()
        state = TwoCopies(self._state_memory.attached(), 0, 16)
        while True:
            place = results.newest + 1
            if not units.is_finished(place):
                yield IDLE
                continue
            yield "link.1"
            old = state.in_force(place - 1).view(np.int64)
            copy = yield from state.begin(place)
            new = copy.view(np.int64)
            record, rows = results.record(place), results.payload(place)
            new[0] = old[0] if record["failed"][0] else linked(int(old[0]), int(record["counter"][0]))
            yield "linking"
            for i in range(int(record["rows"][0])):
                rows["identity"][i] = new[0]
                yield "linking"
            state.end(place)
            yield from results.commit(place, "link")

    def _result_recorder(self) -> Life:
        return self._recorder(self._results(), self.result_recording, self._copy_of_result)

    def _frame_recorder(self) -> Life:
        return self._recorder(self._frames(), self.frame_recording, self._copy_of_frame)

    def _recorder(self, ring: Ring, recording: Recording, copy_of: Callable[..., Any]) -> Life:
        reader = LosslessReader(ring, 0)
        buffer: list[tuple[int, Any]] = []
        gaps: list[Gap] = []
        last = -1
        while True:
            found = reader.next(0)
            if isinstance(found, int):
                place = last = found
                try:
                    buffer.append((place, (yield from copy_of(ring, place))))
                except OverrunError:
                    gaps.append(reader.overrun(place))
            elif found is not None:
                gaps.append(found)
                last = found.last
            if (found is None and (buffer or gaps)) or len(buffer) >= 2:
                yield "flush"
                recording.kept.extend(buffer)
                recording.gaps.extend(gaps)
                buffer, gaps = [], []
                yield from reader._done(last)
            yield IDLE if found is None else "reading"

    def _following(self) -> Life:
        ring = self._results()
        reader, newest = _at_rest(ring, lambda: FollowingReader(ring))
        expected = newest + 1
        while True:
            found = reader.next(0)
            if isinstance(found, Gap):
                assert found.first == expected
                expected = found.last + 1
            elif found is not None:
                assert found == expected
                expected += 1
                yield "reading"
                try:
                    yield from self._copy_of_result(ring, found)
                except OverrunError:
                    assert reader.overrun(found) == Gap(found, found)
            yield IDLE if found is None else "reading"

    def _live_reader(self) -> Life:
        ring, got = self._frames(), 0
        reader, began = _at_rest(ring, lambda: LiveReader(ring))
        while True:
            found = reader.next(0)
            if found is not None:
                got += 1
                assert found - began == got + reader.passed_over
                yield "reading"
                try:
                    yield from self._copy_of_frame(ring, found)
                except OverrunError:
                    self.seen["live reader overrun"] += 1
            yield IDLE if found is None else "reading"

    def _copy_of_result(self, ring: Ring, place: int) -> Generator[str, None, Any]:
        with ring.view(place) as entry:
            counter = int(entry.meta["counter"])
            rows = []
            for i in range(int(entry.meta["rows"])):
                yield "looking"
                rows.append((int(entry.data["value"][i]), int(entry.data["identity"][i])))
            failed = bool(entry.meta["failed"])
        identity = rows[0][1] if rows else 0
        if rows != [(value, identity) for value in rows_of(counter)][: 0 if failed else ROWS] or identity < 0:
            raise Forbidden(f"place {place}: a view that was called good is not of one place: {counter} {rows}")
        return counter, failed, rows

    def _copy_of_frame(self, ring: Ring, place: int) -> Generator[str, None, int]:
        with ring.view(place) as entry:
            counter = int(entry.meta["counter"])
            pixels = []
            for i in range(PIXELS):
                yield "looking"
                pixels.append(int(entry.data[i]))
        if pixels != [pixel(counter, i) for i in range(PIXELS)]:
            raise Forbidden(f"place {place}: a view that was called good is not of one frame: {counter} {pixels}")
        return counter

    # ---- inside

    def _frames(self) -> Ring:
        return _WatchedRing(self, self._frames_memory.attached(), self._layouts[0], is_frames=True)

    def _results(self) -> Ring:
        return _WatchedRing(self, self._results_memory.attached(), self._layouts[1], is_frames=False)

    def _units(self) -> Units:
        return Units(self._work_memory.attached(), 0, self._unit_layout)

    def _check_claim(self, worker: int, unit: Unit) -> None:
        depth = self._unit_layout.depth
        for other, held in self.in_hand.items():
            same_row = held.place % depth == unit.place % depth
            if other != worker and same_row and held.place != unit.place:
                raise Forbidden(f"{unit} was handed out while a worker that was not reaped has {held}")
            if other != worker and held.place == unit.place and unit.mark_only:
                raise Forbidden(f"place {unit.place} is marked while a worker that was not reaped has {held}")

    def _begin_at(self, place: int) -> None:
        """As if so many places had come and gone."""
        for ring in (self.frames, self.results):
            ring.words[NEWEST] = place - 1
            ring.words[CURSORS : CURSORS + 3 * LINE * READERS : 3 * LINE] = place - 1
        self.frames.record(place - 1)["counter"] = -1
        self.units._words[units_module._TABLES :] = units_module.pack(place - 1, 0, 0, 0, UnitState.DONE)
        self.state._words[0] = place - 1

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


class _WatchedRing(Ring):
    """A ring that does not let a slot be overwritten that somebody has a right to."""

    def __init__(self, world: World, memory: Memory, layout: RingLayout, is_frames: bool) -> None:
        super().__init__(memory, layout)
        self._world = world
        self._is_frames = is_frames

    def invalidate(self, place: int) -> None:
        gone = place - self.slots
        world, cursors = self._world, CursorTable(self)
        if not world.live and cursors.cursor(0) < gone:
            raise Forbidden(f"place {gone} is overwritten, its lossless reader is at {cursors.cursor(0)}")
        if gone > self.newest:
            raise Forbidden(f"place {gone} is overwritten, {self.newest} is the newest published")
        for held in world.in_hand.values():
            if self._is_frames and held.place <= gone:
                raise Forbidden(f"place {gone} is overwritten, a worker has {held}")
        super().invalidate(place)


def _at_rest(ring: Ring, make: Callable[[], R]) -> tuple[R, int]:
    """A new reader and the place that was the newest when it was made: others may write meanwhile."""
    while True:
        newest = ring.newest
        reader = make()
        if ring.newest == newest:
            return reader, newest


def at_camera(counter: int) -> bool:
    """Whether the camera itself skipped this counter."""
    return counter % 7 == 3
