"""Who is woken for units of work: as few as can find some, and never too few.

Workers sleep and wake here as the bell says and no time ever passes, so a wake-up that is missing stays missing (in a
run it would cost a tenth of a second, `LONGEST_S`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.shm.frame_ring import Claim, FrameWriter
from engine.shm.ring import Ring, RingLayout
from engine.shm.steps import run
from engine.shm.units import OldestUnfinished, Unit, UnitLayout, Units
from engine.shm.wakeup import EVERYBODY
from tests.engine.shm.shm_model_memory import Memory

LOOKS, WORKS, SLEEPS = "looks", "works", "sleeps"
PLACES = 7
PUBLISH, SETTLE = -1, -2  # moves that are no worker's
NUMBER = np.dtype([("n", "<i8")])


@dataclass
class CountingBell:
    """A bell of one process: who sleeps on it, and how many each ring was to wake."""

    count: int = 0
    sleepers: deque[int] = field(default_factory=deque)
    asked: list[int] = field(default_factory=list)

    def rings(self) -> int:
        return self.count

    def ring(self, sleepers: int = EVERYBODY) -> None:
        self.count += 1
        self.asked.append(sleepers)
        for _ in range(min(sleepers, len(self.sleepers))):
            self.sleepers.popleft()

    def wait(self, seen: int, timeout_s: float) -> None:
        raise AssertionError("nobody waits here but in the model")


class Bench:
    """Units of work, a ring of frames, and workers that are moved on step by step."""

    def __init__(self, layout: UnitLayout, workers: int) -> None:
        frames = RingLayout(PLACES + 1, NUMBER, np.dtype("<i8"), (1,))
        self.units = Units(Memory(layout.bytes), 0, layout)
        self.bell = CountingBell()
        self.units.work = self.bell
        self.frames = Ring(Memory(frames.bytes), frames)
        self.results = Ring(Memory(frames.bytes), frames)
        self.writer = FrameWriter(self.frames, self.results, self.units, 1.0)
        self.doing = [LOOKS] * workers  # or a step of the protocol
        self.lives = [self.life(worker) for worker in range(workers)]

    def life(self, worker: int) -> Generator[str, None, None]:
        """A tracker's: wait for a unit, do it, look again."""
        oldest = OldestUnfinished(self.units, 0)
        while True:
            seen = self.bell.rings()
            yield LOOKS
            newest = self.frames.newest
            unit = yield from self.units.claim(oldest.look(newest), newest, worker, 0)
            if unit is None:
                if self.bell.rings() == seen:
                    self.bell.sleepers.append(worker)
                    yield SLEEPS
                continue
            yield WORKS
            yield from self.units.done(unit, lambda: self.frames.newest)

    def move(self, worker: int) -> None:
        """One step of a worker, unless he sleeps."""
        if worker not in self.bell.sleepers:
            self.doing[worker] = next(self.lives[worker])

    def settle(self) -> None:
        """Who looks goes on until he has a unit or sleeps; who works goes on working."""
        while looking := [w for w, does in enumerate(self.doing) if w not in self.bell.sleepers and does != WORKS]:
            self.move(looking[0])

    def publish(self) -> None:
        claim = run(self.writer.try_claim(live=False))
        assert isinstance(claim, Claim), "there is a slot for every place"
        self.writer.publish(claim)

    def found_by(self, worker: int) -> Unit | None:
        """The unit that somebody has who looks now."""
        newest = self.frames.newest
        return run(self.units.claim(OldestUnfinished(self.units, 0).look(newest), newest, worker, 0))


layouts = st.builds(
    UnitLayout, st.integers(1, 3), st.sampled_from([(1,), (2, 1), (4, 1, 4, 1), (3, 3, 1, 3, 1), (1, 1), (5, 2, 1)])
)


@settings(max_examples=300, deadline=None)
@given(layout=layouts, workers=st.integers(1, 5), data=st.data())
def test_nobody_sleeps_while_there_is_work_that_nobody_looks_for(
    layout: UnitLayout, workers: int, data: st.DataObject
) -> None:
    bench = Bench(layout, workers)
    moves = data.draw(st.lists(st.integers(SETTLE, workers - 1), max_size=120))
    while True:
        # First as drawn, then round and round until all sleep.
        for one in moves:
            if one >= 0:
                bench.move(one)
            elif one == SETTLE:
                bench.settle()
            elif bench.frames.newest < PLACES - 1:
                bench.publish()
            awake = [w for w in range(workers) if w not in bench.bell.sleepers]
            if len(awake) < workers and all(bench.doing[w] == WORKS for w in awake):
                assert bench.found_by(workers) is None
        if len(bench.bell.sleepers) == workers and bench.frames.newest == PLACES - 1:
            break
        moves = [PUBLISH, *range(workers), SETTLE]
    assert all(bench.units.is_finished(place) for place in range(PLACES))


def test_a_step_of_one_unit_wakes_nobody_and_others_all_but_who_rings() -> None:
    bench = Bench(UnitLayout(2, (4, 1, 4, 1)), 1)
    bench.publish()
    for _ in range(10):
        unit = bench.found_by(0)
        assert unit is not None
        run(bench.units.done(unit, lambda: 0))
    assert bench.bell.asked == [4, 0, 3, 0]  # published; then at the end of each step but the last


def test_the_end_of_a_place_wakes_only_where_more_places_wait_than_are_in_work() -> None:
    bench = Bench(UnitLayout(2, (1,)), 1)
    for _ in range(3):
        bench.publish()
    bench.bell.asked.clear()
    for newest in (1, 3):  # of the places 0 and 1, two of which are in work at once
        unit = bench.found_by(0)
        assert unit is not None
        run(bench.units.done(unit, lambda newest=newest: newest))
        assert bench.bell.asked == ([] if newest == 1 else [EVERYBODY])
