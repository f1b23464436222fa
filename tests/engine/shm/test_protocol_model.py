"""The protocol under any interleaving and any death, in one process: see `shm_model`."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.engine.shm.shm_model import World
from tests.engine.shm.shm_model_actors import DIES

ACTORS = (
    "receiver", "linker", "result recorder", "frame recorder", "following", "live", "tracker 0", "tracker 1",
    "tracker 2",
)  # fmt: skip
NEAR_THE_WRAP = 2**31 - 5  # the words of the units hold 31 bits of a place

# counter: step and index of the unit that always fails, and how. 5, 12, 14: tiles and the whole; 8: the last unit.
POISON = {
    "nothing fails": {},
    "units raise": {5: (0, 1, "raises"), 6: (0, 0, "raises"), 12: (1, 0, "raises")},
    "units kill their worker": {5: (0, 1, DIES), 8: (2, 0, DIES), 12: (1, 0, DIES), 14: (0, 0, DIES)},
}


class AnyOrderAnyDeath(RuleBasedStateMachine):
    """Hypothesis drives: who takes how many steps, who dies, who is started again, how long everybody sleeps."""

    @initialize(
        live=st.booleans(), first_place=st.sampled_from([0, NEAR_THE_WRAP]), poison=st.sampled_from(sorted(POISON))
    )
    def begin(self, live: bool, first_place: int, poison: str) -> None:
        self.world = World(frames=18, live=live, first_place=first_place)
        self.world.poison = dict(POISON[poison])

    @rule(actor=st.sampled_from(ACTORS), yields=st.integers(1, 12))
    def goes_on(self, actor: str, yields: int) -> None:
        self.world.advance(actor, yields)

    @rule(count=st.integers(1, 6))
    def all_go_on(self, count: int) -> None:
        for _ in range(count):
            for actor in ACTORS:
                self.world.advance(actor, 3)

    @rule(actor=st.sampled_from(ACTORS))
    def dies(self, actor: str) -> None:
        self.world.kill(actor)

    @rule(actor=st.sampled_from(ACTORS))
    def is_reaped_and_started_again(self, actor: str) -> None:
        self.world.restart(actor)

    @rule(seconds=st.sampled_from([0.1, 0.6, 2.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.drain()
            self.world.check_account()


AnyOrderAnyDeath.TestCase.settings = settings(
    max_examples=80, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnyOrderAnyDeath = AnyOrderAnyDeath.TestCase


@pytest.mark.parametrize("seed", range(64))
def test_a_long_walk_comes_out_right(seed: int) -> None:
    """Thousands of steps in random order, by actors of very different speed, with rare and with frequent deaths."""
    rng = random.Random(seed)
    world = World(
        frames=40,
        live=seed % 2 == 1,
        workers=1 + seed % 3,
        first_place=NEAR_THE_WRAP if seed % 5 == 0 else 0,
        frame_slots=rng.choice([2, 3, 5]),
        result_slots=rng.choice([3, 6, 12]),
        depth=rng.choice([1, 2, 4]),
    )
    world.poison = dict(rng.choice(list(POISON.values())))
    names = list(world.actors)
    speeds = [rng.choice([0.03, 0.3, 1, 3]) for _ in names]
    deadly = rng.choice([0, 0.002, 0.02, 0.1])
    for _ in range(1500):
        name = rng.choices(names, speeds)[0]
        if world.actors[name].dead:
            if rng.random() < 0.2:
                world.restart(name)
        elif rng.random() < deadly:
            world.kill(name)
        else:
            world.advance(name, rng.choice([1, 1, 2, 5, 20]))
        if world.live and rng.random() < 0.05:
            world.now += 0.3
    world.drain()
    world.check_account()


def test_a_worker_gives_back_a_unit_of_a_place_that_failed_while_it_claimed() -> None:
    world = World(frames=1, workers=3)
    world.poison = {0: (0, 0, "raises")}
    while world.frames.newest < 0:
        world.advance("receiver")
    while world.actors["tracker 1"].at != "unit.3":  # about to raise, tile 0
        world.advance("tracker 1")
    while world.actors["tracker 0"].at != "unit.2":  # tile 1 is found free, not claimed yet
        world.advance("tracker 0")
    while not world.units._has_failed(0):
        world.advance("tracker 1")
    while not world.units.is_finished(0):  # nobody has a unit of it: the place is marked
        world.advance("tracker 1")
    for _ in range(10):
        world.advance("tracker 0")
        assert 0 not in world.in_hand, "a unit of a finished place is being worked on"
    world.drain()
    world.check_account()


def test_a_place_that_failed_is_marked_only_when_nobody_has_a_unit_of_it() -> None:
    world = World(frames=1, workers=2)
    world.poison = {0: (0, 0, "raises")}
    while world.frames.newest < 0:
        world.advance("receiver")
    while world.actors["tracker 1"].at != "unit.3":
        world.advance("tracker 1")
    while world.actors["tracker 0"].at != "tile":  # in the middle of tile 1
        world.advance("tracker 0")
    for _ in range(100):
        world.advance("tracker 1")
    assert world.units._has_failed(0)
    assert not world.units.is_finished(0)
    world.drain()
    world.check_account()


@pytest.mark.parametrize("first_place", [0, NEAR_THE_WRAP])
def test_an_undisturbed_run_records_every_place(first_place: int) -> None:
    world = World(frames=40, first_place=first_place)
    world.drain()
    world.check_account()
    assert not world.result_recording.gaps
    assert world.results.newest == first_place + 34 - 1  # the camera skipped six of forty


def test_a_live_source_goes_on_without_a_recorder_that_died() -> None:
    world = World(frames=40, live=True)
    world.kill("result recorder")
    for _ in range(400):
        for name in world.actors:
            if name != "result recorder":
                world.advance(name, 5)
        world.now += 0.05
    assert world.results.newest > 20
    world.drain()
    world.check_account()
    assert world.result_recording.gaps
