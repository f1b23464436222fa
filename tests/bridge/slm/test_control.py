"""Registration, assignment, ways and the states of the light."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.slm.assignment import assign, hungarian
from bridge.slm.feedback import Controller, Feedback, Mode, check_gain
from bridge.slm.registration import Optics, register
from bridge.slm.safety import Light, Limits, Safety
from bridge.slm.trajectory import assemble, check, closest_approach, greatest_speed, rotation, steps
from engine.errors import SettingsError
from engine.physics.bead import Bead

MATRIX = np.array([[0.11, 0.02], [-0.03, 0.1]])


def test_registration_finds_the_map_back_and_forth_and_says_how_well():
    chance = np.random.default_rng(1)
    camera = chance.uniform(0, 500, (12, 2))
    found = register(camera + chance.normal(0, 0.1, camera.shape), camera @ MATRIX.T + (3, -4), 0)
    np.testing.assert_allclose(found.orders(camera), camera @ MATRIX.T + (3, -4), atol=0.05)
    np.testing.assert_allclose(found.pixels(found.orders(camera)), camera, atol=1e-9)
    assert 0.05 < found.residual_px < 0.25


def test_a_registration_is_refused_when_stale_poor_or_of_other_optics():
    camera = np.random.default_rng(1).uniform(0, 500, (5, 2))
    good = register(camera, camera @ MATRIX.T, 0)
    assert good.refusal(Optics(), 10**9) == ""
    assert "days old" in good.refusal(Optics(), 10**9 * 86400 * 30)
    assert "made with" in good.refusal(Optics(binning=2), 0)
    poor = register(camera + np.random.default_rng(2).normal(0, 20, camera.shape), camera @ MATRIX.T, 0)
    assert "residual" in poor.refusal(Optics(), 0)
    for points in (camera[:2], np.outer(np.arange(5.0), (1, 2))):
        with pytest.raises(ValueError, match=r"points"):
            register(points, points, 0)


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_the_assignment_is_the_cheapest_there_is(rows, more, seed):
    optimal = pytest.importorskip("scipy.optimize").linear_sum_assignment
    cost = np.random.default_rng(seed).integers(0, 20, (rows, rows + more)).astype(float)
    columns = hungarian(cost)
    assert len(set(columns.tolist())) == rows
    assert cost[np.arange(rows), columns].sum() == cost[optimal(cost)].sum()


def test_pairs_are_within_the_limit_locked_ones_stand_and_minds_change_slowly():
    traps, ids = np.array([[0.0, 0], [10, 0]]), np.array([7, 8])
    assert assign(traps, np.array([[1.0, 0], [30, 0]]), ids, farthest=5) == {0: 7}
    assert assign(traps, np.array([[9.0, 0], [1, 0]]), ids, farthest=5, locked={0: 7}) == {0: 7}
    between = np.array([[4.9, 0.0]])
    assert assign(traps, between, ids[:1], farthest=9) == {0: 7}
    assert assign(traps, between, ids[:1], farthest=9, kept={1: 7}, hysteresis=1.0) == {1: 7}


def test_traps_that_would_meet_are_refused_and_speed_is_what_drag_allows():
    starts, goals = np.array([[0.0, 0], [10, 0]]), np.array([[10.0, 0], [0, 0]])
    assert closest_approach(starts, goals)[0] == pytest.approx(0)
    with pytest.raises(SettingsError, match="traps 0 and 1"):
        check(starts, goals, 2.0)
    bead = Bead(radius_um=0.5)
    assert greatest_speed(bead, 2.0, 0.8) == pytest.approx(0.3 * 0.8 * 2.0 / bead.drag)


def test_ways_end_at_their_goals_in_steps_that_are_small_enough():
    starts, goals = np.zeros((2, 2)), np.array([[3.0, 4], [1, 0]])
    way = steps(starts, goals, 0.5)
    assert way.shape == (10, 2, 2)
    np.testing.assert_allclose(way[-1], goals)
    assert np.linalg.norm(np.diff(way, axis=0), axis=2).max() <= 0.5 + 1e-9
    turned = rotation(goals, np.zeros(2), math.pi / 2, 0.5)
    np.testing.assert_allclose(turned[-1], [[-4, 3], [0, 1]], atol=1e-9)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_assembly_keeps_the_distance_that_the_theorem_promises(seed):
    chance = np.random.default_rng(seed)
    sites = np.stack(np.meshgrid(np.arange(8), np.arange(8)), -1).reshape(-1, 2) * 3.0
    starts, pattern = chance.permutation(sites)[:12], chance.permutation(sites)[:9] + chance.uniform(0, 20, 2)
    chosen, way = assemble(starts, pattern, 3.0 / math.sqrt(2) - 1e-9, 0.2)
    assert len(set(chosen.tolist())) == 9
    np.testing.assert_allclose(way[-1], pattern)


def test_a_gain_beyond_the_bound_is_refused_with_the_bound():
    check_gain(Feedback(mode=Mode.P, gain=1.0), 0.2, 1)
    with pytest.raises(SettingsError, match=r"unstable.*it must be at most"):
        check_gain(Feedback(mode=Mode.P, gain=1.1), 5.6, 1)
    with pytest.raises(SettingsError, match="close to oscillating"):
        check_gain(Feedback(mode=Mode.P, gain=0.95), 5.6, 1)
    check_gain(Feedback(mode=Mode.REPOSITION, gain=50.0), 5.6, 3)


def test_a_lost_particle_freezes_its_trap_and_no_step_is_longer_than_allowed():
    trap = Controller(Feedback(mode=Mode.P, gain=1.0, greatest_step=0.5), np.zeros(2))
    assert trap.step(np.array([0.3, 0.0])).tolist() == [-0.3, 0.0]
    assert trap.step(None).tolist() == [-0.3, 0.0]
    assert trap.step(np.array([-9.0, 0.0])).tolist() == [0.2, 0.0]


def test_pi_takes_a_constant_force_away_which_p_cannot():
    def rest(mode: Mode) -> float:
        trap, x, force = Controller(Feedback(mode=mode, gain=0.3, integral=0.1), np.zeros(2)), np.zeros(2), 0.2
        for _ in range(300):
            light = trap.step(x)
            x = 0.8 * x + 0.2 * (light + force)
        return float(abs(x[0]))

    assert rest(Mode.PI) < 1e-6 < 0.1 < rest(Mode.P)


def test_the_light_is_off_until_armed_holds_when_data_stall_then_goes_blank_for_good():
    safety = Safety(Limits(hold_s=0.1, blank_s=1.0))
    safety.data(0.0, 0.0)
    assert safety.may_show(1) == "unarmed: nobody armed it yet"
    safety.arm(10.0)
    assert safety.may_show(1) == ""
    assert safety.look(10.05) is Light.SHOWING
    assert safety.look(10.2) is Light.HOLDING
    assert "no data for 0.20 s" in safety.may_show(1)
    safety.data(10.28, 10.3)
    assert safety.state is Light.SHOWING
    assert safety.look(11.4) is Light.BLANK
    safety.data(11.5, 11.5)
    assert safety.state is Light.BLANK
    safety.arm(12.0)
    safety.display_gone("closed")
    assert safety.state is Light.UNARMED


def test_power_is_limited_and_shadow_mode_shows_nothing():
    safety = Safety(Limits(greatest_power=3.0))
    safety.arm(0.0)
    assert safety.may_show(3.0) == ""
    assert "above the limit" in safety.may_show(3.1)
    shadow = Safety(Limits(shadow=True))
    shadow.arm(0.0)
    assert shadow.may_show(1.0) == "shadow mode"
