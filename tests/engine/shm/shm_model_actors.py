"""The processes of the model (`shm_model`): each does what production's does, with production's generators.

An actor is a function of its world. It yields before every step of the protocols and between any two words of what it
reads or writes, and keeps nothing but what a process has to itself: who is started again begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from engine.shm.cursors import FollowingReader, Gap, LiveReader, LosslessReader
from engine.shm.frame_ring import Blocked, FrameWriter
from engine.shm.ring import OverrunError, Ring
from engine.shm.units import OldestUnfinished, Unit
from tests.engine.shm.shm_model_memory import PIXELS, ROWS, Forbidden, at_camera, linked, pixel, rows_of

if TYPE_CHECKING:
    from tests.engine.shm.shm_model import Recording, World

R = TypeVar("R")
Life = Generator[str, None, None]
AT_CAMERA, RING_FULL = 1, 2
DIES = "dies here, whoever does it"
IDLE = "idle"


def receiver(world: World) -> Life:
    frames, results, units = world.attach_frames(), world.attach_results(), world.attach_units()
    ledger = world.attach_ledger()
    writer = FrameWriter(frames, results, units, world.hold_s, lambda: world.now)
    while True:
        meta, record = writer.last_meta(), ledger.last()
        known = [int(meta["counter"][0])] if meta is not None else []
        known += [int(record["last"][0])] if record is not None else []
        counter = max(known, default=-1) + 1
        if counter >= world.total:
            yield IDLE
        elif at_camera(counter):
            yield from ledger._append((counter, counter, AT_CAMERA))
        else:
            claim = yield from writer.try_claim(world.live)
            if claim is Blocked.TRACKERS and world.live:
                yield from ledger._append((counter, counter, RING_FULL))
            elif isinstance(claim, Blocked):
                yield IDLE
            else:
                for i in range(PIXELS):
                    claim.pixels[i] = pixel(counter, i)
                    yield "filling"
                claim.meta["counter"], claim.meta["ledger"] = counter, ledger.count
                yield from writer.publication(claim)


def tracker(world: World, worker: int) -> Life:
    frames, results, units = world.attach_frames(), world.attach_results(), world.attach_units()
    oldest = OldestUnfinished(units, results.newest + 1)
    incarnation = units.incarnation(worker)
    while True:
        newest = frames.newest
        unit = yield from units.claim(oldest.look(newest), newest, worker, incarnation)
        if unit is None:
            yield IDLE
            continue
        world.check_claim(worker, unit)
        world.in_hand[worker] = unit
        if (yield from work(world, unit, frames, results)):
            for step in units.done(unit, lambda: frames.newest):
                if step == "unit.5":
                    del world.in_hand[worker]
                yield step
        else:
            world.failures[unit.place, unit.step, unit.index] += 1
            units.failed(unit)
            del world.in_hand[worker]


def work(world: World, unit: Unit, frames: Ring, results: Ring) -> Generator[str, None, bool]:
    scratch = world.scratch[unit.place % len(world.scratch)]
    counter = int(frames.record(unit.place)["counter"][0])
    step, index, how = world.poison.get(counter, (-1, -1, ""))
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


def linker(world: World) -> Life:
    results, units = world.attach_results(), world.attach_units()
    state = world.attach_state()
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


def result_recorder(world: World) -> Life:
    return recorder(world.attach_results(), world.result_recording, copy_of_result)


def frame_recorder(world: World) -> Life:
    return recorder(world.attach_frames(), world.frame_recording, copy_of_frame)


def recorder(ring: Ring, recording: Recording, copy_of: Callable[..., Any]) -> Life:
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


def following(world: World) -> Life:
    ring = world.attach_results()
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
                yield from copy_of_result(ring, found)
            except OverrunError:
                assert reader.overrun(found) == Gap(found, found)
        yield IDLE if found is None else "reading"


def live_reader(world: World) -> Life:
    ring, got = world.attach_frames(), 0
    reader, began = _at_rest(ring, lambda: LiveReader(ring))
    while True:
        found = reader.next(0)
        if found is not None:
            got += 1
            assert found - began == got + reader.passed_over
            yield "reading"
            try:
                yield from copy_of_frame(ring, found)
            except OverrunError:
                world.seen["live reader overrun"] += 1
        yield IDLE if found is None else "reading"


def copy_of_result(ring: Ring, place: int) -> Generator[str, None, Any]:
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


def copy_of_frame(ring: Ring, place: int) -> Generator[str, None, int]:
    with ring.view(place) as entry:
        counter = int(entry.meta["counter"])
        pixels = []
        for i in range(PIXELS):
            yield "looking"
            pixels.append(int(entry.data[i]))
    if pixels != [pixel(counter, i) for i in range(PIXELS)]:
        raise Forbidden(f"place {place}: a view that was called good is not of one frame: {counter} {pixels}")
    return counter


def _at_rest(ring: Ring, make: Callable[[], R]) -> tuple[R, int]:
    """A new reader and the place that was the newest when it was made: others may write meanwhile."""
    while True:
        newest = ring.newest
        reader = make()
        if ring.newest == newest:
            return reader, newest
