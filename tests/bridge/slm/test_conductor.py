"""The light of a run as a pure machine: what it does with frames, wishes and time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bridge.slm.conductor import Conductor
from bridge.slm.feedback import Feedback, Mode
from bridge.slm.holding import Command, Hold, Seen
from bridge.slm.orders import obey
from bridge.slm.registration import register
from bridge.slm.rules import Rules, rules_of
from bridge.slm.safety import Light, Limits
from engine.errors import SettingsError
from engine.experiment import Experiment

CAMERA = np.array([[0.0, 0], [500, 0], [0, 500], [500, 500]])
REGISTRATION = register(CAMERA, (CAMERA - 250) * 0.3, 0)
PLACES = np.array([[100.0, 100], [200, 100], [100, 200], [200, 200]])


class Stage:
    """A conductor and particles that stay where they are put; frames come every 10 ms."""

    def __init__(self, **rules: Any) -> None:
        self.rules = Rules(**({"farthest": 8.0, "clearance": 20.0} | rules))
        self.light = Conductor(self.rules, REGISTRATION)
        self.at = {i: place.copy() for i, place in enumerate(PLACES)}
        self.n = 0

    @property
    def now_s(self) -> float:
        return self.n / 100

    def frames(self, count: int = 1, follow: bool = True, sequence: int = 0) -> Command:
        for _ in range(count):
            self.n += 1
            if follow:
                for trap in self.light.traps.values():
                    if trap.hold is Hold.HELD and trap.particle in self.at:
                        self.at[trap.particle] = trap.light.copy()
            ids = np.array(sorted(self.at), np.int64)
            at = np.array([self.at[i] for i in ids.tolist()]).reshape(-1, 2)
            command = self.light.frame(Seen(self.n, round(self.now_s * 1e9), ids, at, sequence), self.now_s)
        return command


@pytest.fixture
def stage() -> Stage:
    """Four particles held, and armed."""
    stage = Stage()
    stage.frames()
    stage.light.catch()
    stage.light.arm(stage.now_s)
    stage.frames(5)
    assert all(trap.hold is Hold.HELD for trap in stage.light.traps.values())
    return stage


def test_nothing_may_be_shown_before_a_person_arms_it_and_arming_wants_fresh_data():
    stage = Stage()
    with pytest.raises(SettingsError, match="no frame yet"):
        stage.light.arm(0.0)
    assert stage.frames().refusal.startswith("unarmed")
    with pytest.raises(SettingsError, match=r"newest frame is 5\.00 s old"):
        stage.light.arm(stage.now_s + 5)
    stage.light.arm(stage.now_s)
    assert stage.frames().refusal == ""


def test_every_particle_gets_a_trap_and_each_trap_its_particle_after_it_settled():
    stage = Stage(settle_frames=3)
    stage.frames()
    assert stage.light.catch()["traps"] == [0, 1, 2, 3]
    stage.frames(2)
    assert {trap.hold for trap in stage.light.traps.values()} == {Hold.WANTED}
    stage.frames(1)
    assert {n: t.particle for n, t in stage.light.traps.items()} == {0: 0, 1: 1, 2: 2, 3: 3}
    assert {trap.hold for trap in stage.light.traps.values()} == {Hold.HELD}


def test_a_lost_particle_freezes_its_trap_which_no_stranger_gets_without_a_command(stage):
    held = stage.light.traps[1]
    where = held.light.copy()
    lost = stage.at.pop(1)
    stage.at[77] = where + 1.0  # a stranger, right there
    stage.frames(50)
    assert held.hold is Hold.FROZEN
    assert held.particle == 1
    assert (held.light == where).all()
    del stage.at[77]
    stage.at[1] = lost
    stage.frames()
    assert held.hold is Hold.HELD
    assert stage.light.lost == 1
    stage.at.pop(1)
    stage.at[78] = where + 1.0
    stage.frames(2)
    stage.light.catch()
    stage.frames(5)
    assert held.hold is Hold.HELD
    assert held.particle == 78


def test_a_way_waits_while_a_particle_on_it_is_lost_and_goes_on_when_it_is_back(stage):
    stage.light.move({"0": (140.0, 100.0), "2": (140.0, 200.0)})
    stage.frames(3)
    before = stage.light.traps[2].target.copy()
    gone = stage.at.pop(0)
    stage.frames(10)
    assert (stage.light.traps[2].target == before).all()
    assert "trap 0 lost" in stage.light.state()["moving"][0]["waits"]
    stage.at[0] = gone
    stage.frames(60)
    assert stage.light.ways == []
    assert np.allclose(stage.light.traps[2].light, (140, 200))


def test_a_way_waits_for_a_bead_that_lags_behind():
    stage = Stage(reach=8.0)
    stage.frames()
    stage.light.catch()
    stage.light.arm(0.01)
    stage.frames(5)
    stage.light.move({"0": (160.0, 100.0)})
    stage.frames(30, follow=False)
    trap = stage.light.traps[0]
    assert 4.0 < trap.light[0] - 100 < 8.0
    assert "lags" in stage.light.ways[0].waits


def test_no_step_is_longer_than_allowed_and_the_display_is_told_of_changes_alone(stage):
    stage.light.move({"3": (230.0, 240.0)})
    last = stage.light.traps[3].light.copy()
    while stage.light.ways:
        command = stage.frames()
        assert np.linalg.norm(stage.light.traps[3].light - last) <= stage.rules.greatest_step + 1e-9
        assert command.changed
        last = stage.light.traps[3].light.copy()
        stage.light.as_shown(command.traps)
    stage.light.as_shown(stage.frames().traps)
    assert not stage.frames().changed


def test_a_pattern_is_assembled_rotated_and_released(stage):
    pattern = [(150.0, 120.0), (190.0, 120.0), (150.0, 160.0), (190.0, 160.0)]
    chosen = stage.light.assemble(pattern)["traps"]
    stage.frames(80)
    assert np.allclose([stage.light.traps[n].light for n in chosen], pattern)
    stage.light.rotate(90.0)
    stage.frames(80)
    turned = sorted(tuple(np.round(trap.light, 6)) for trap in stage.light.traps.values())
    assert np.allclose(turned, sorted(pattern))
    assert stage.light.release()["traps"] == [0, 1, 2, 3]
    assert stage.frames().traps == []


@pytest.mark.parametrize(
    "order, values, says",
    [
        ("trap", {"x": 105.0, "y": 100.0}, "slm.clearance is 20"),
        ("trap", {"particle": 9}, "not in the newest frame"),
        ("trap", {"particle": 0}, "slm.clearance"),
        ("trap", {}, "a place"),
        ("trap", {"x": math.nan, "y": 1.0}, "no place"),
        ("trap", {"where": 1}, "there is no where"),
        ("move", {"to": {"0": [200.0, 105.0]}}, "would come within"),
        ("move", {"to": {"0": [300.0, 100.0]}}, "would come within"),  # through trap 1
        ("move", {"to": {"9": [1.0, 1.0]}}, "no trap 9"),
        ("move", {"to": 3}, "move"),
        ("assemble", {"pattern": [[10.0 * i, 0.0] for i in range(9)]}, "only 4 particles"),
        ("assemble", {"pattern": [[50.0, 50.0], [60.0, 50.0]]}, "would come within"),
        ("explode", {}, "no order"),
        ("__init__", {}, "no order"),
    ],
)
def test_what_would_collide_or_makes_no_sense_is_refused_and_changes_nothing(stage, order, values, says):
    before = stage.light.state()
    with pytest.raises(SettingsError, match=says):
        obey(stage.light, order, values)
    assert stage.light.state() == before


@pytest.mark.parametrize(
    ("order", "values"),
    [
        ("trap", {"x": 600.0, "y": 99.0}),
        ("trap", {"x": -1.0, "y": 99.0}),
        ("move", {"to": {"0": [100.0, 300.0]}}),
        ("assemble", {"pattern": [[400.0, 50.0], [50.0, 50.0]]}),
        ("rotate", {"angle_deg": 45.0, "centre": (300.0, 0.0)}),
    ],
)
def test_no_light_is_sent_outside_the_picture(order, values):
    stage = Stage(picture=(400, 300))
    stage.frames()
    stage.light.catch()
    stage.frames(5)
    before = stage.light.state()
    with pytest.raises(SettingsError, match="outside the picture, which is 400 x 300 pixels"):
        obey(stage.light, order, values)
    assert stage.light.state() == before
    obey(stage.light, "trap", {"x": 399.0, "y": 299.0})


def test_power_is_limited_when_asked_for_and_when_shown():
    stage = Stage(limits=Limits(greatest_power=3.0))
    stage.frames()
    with pytest.raises(SettingsError, match=r"greatest_power = 3"):
        stage.light.catch()
    assert len(stage.light.traps) == 3
    with pytest.raises(SettingsError, match="power"):
        stage.light.trap(trap=0, intensity=2.0)
    for less in (-5.0, float("nan")):  # of which others could have more
        with pytest.raises(SettingsError, match="must be at least 0"):
            stage.light.trap(trap=0, intensity=less)


def test_old_data_hold_the_light_then_blank_it_and_only_a_person_leads_out(stage):
    stage.light.move({"0": (130.0, 100.0)})
    stage.frames(2)
    assert stage.light.look(stage.now_s + 0.15) is Light.HOLDING
    assert stage.light.look(stage.now_s + 1.5) is Light.BLANK
    where = stage.light.traps[0].light.copy()
    stage.n += 150
    assert stage.frames(5).refusal.startswith("blank")
    assert (stage.light.traps[0].light == where).all()
    stage.light.arm(stage.now_s)
    assert stage.frames().refusal == ""


def test_a_frame_that_is_old_when_it_comes_is_not_fresh(stage):
    old = Seen(stage.n, round(stage.now_s * 1e9), np.zeros(0, np.int64), np.zeros((0, 2)))
    assert stage.light.frame(old, stage.now_s + 0.5).refusal.startswith("holding")


def test_a_new_sequence_freezes_all_traps_because_numbers_of_particles_mean_nothing_any_more(stage):
    stage.frames(sequence=1)
    assert {trap.hold for trap in stage.light.traps.values()} == {Hold.FROZEN}
    assert {trap.particle for trap in stage.light.traps.values()} == {-1}


def test_shadow_mode_computes_everything_and_shows_nothing():
    stage = Stage(limits=Limits(shadow=True))
    stage.frames()
    stage.light.catch()
    command = stage.frames(5)
    assert command.refusal == "shadow mode"
    assert len(command.traps) == 4


def test_a_gain_that_would_oscillate_is_refused_at_the_start_and_while_it_goes_on(stage):
    with pytest.raises(SettingsError, match="not known"):
        stage.light.feed(Feedback(mode=Mode.P, gain=0.1), 0)
    settings = ["slm.enabled=true", "slm.stiffness_pN_um=2", "slm.feedback=p", "camera.pixel_um=0.1", "camera.fps=200"]
    experiment = Experiment.load(None, [*settings, "slm.gain=0.3"], {}, machine=False)
    light = Conductor(rules_of(experiment), REGISTRATION)
    with pytest.raises(SettingsError, match="at most"):
        light.feed(Feedback(mode=Mode.P, gain=0.9), 6)
    assert light.rules.feedback.gain == 0.3
    with pytest.raises(SettingsError, match="it must be at most"):
        rules_of(Experiment.load(None, [*settings, "slm.gain=1.5"], {}, machine=False))
