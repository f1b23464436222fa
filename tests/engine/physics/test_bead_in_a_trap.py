"""The simulated bead against theory, and what is read out of its motion against what was put in."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.physics.bead import Bead, blur, covariances, spectrum
from engine.physics.loop import best_gain, largest_stable_gain, spectral_radius, variance_ratio
from engine.physics.plant import Plant
from engine.physics.stiffness import Camera, equipartition, msd_fit, periodogram, power_spectrum

BEAD = Bead(radius_um=0.5)
K = 2.0  # pN/µm
TAU = BEAD.drag / K


def motion(frames: int, beads: int, dt_s: float, exposure_s: float, seed: int = 1, k: float = K) -> np.ndarray:
    """Coordinates `(frames, beads)` as the camera sees them, each in a trap of its own, from equilibrium."""
    plant = Plant(BEAD, np.zeros((beads, 1)), seed=seed, reach_um=1e9)
    trap = np.zeros((1, 1))
    plant.at += np.random.default_rng(seed).normal(0, math.sqrt(BEAD.kT / k), plant.at.shape)
    return np.array([plant.frame(trap, k, dt_s, exposure_s)[:, 0] for _ in range(frames)])


@pytest.mark.parametrize("w", [0.0, 0.005, 0.5, 3.0], ids=lambda w: f"exposure {w} tau")
def test_equipartition_blur_and_msd_are_those_of_theory(w):
    dt = max(w, 0.4) * TAU
    x = motion(2000, 200, dt, w * TAU)
    assert x.var() == pytest.approx(BEAD.kT / K * blur(w), rel=0.03)
    lags = np.arange(0, 6.0)
    theory = covariances(lags, TAU, BEAD.kT / K, dt, w * TAU)
    for n in range(1, 6):
        assert np.mean((x[n:] - x[:-n]) ** 2) == pytest.approx(2 * (theory[0] - theory[n]), rel=0.03)


def test_the_spectrum_of_the_frames_is_the_aliased_and_blurred_one():
    dt, exposure = 0.8 * TAU, 0.4 * TAU
    x = motion(1024, 400, dt, exposure)
    power = np.mean([periodogram(one, dt)[1] for one in x.T], axis=0)
    f = periodogram(x[:, 0], dt)[0]
    ratio = power / spectrum(f, TAU, BEAD.kT / K, dt, exposure)
    assert ratio.mean() == pytest.approx(1, abs=0.01)
    for part in np.array_split(ratio, 8):
        assert part.mean() == pytest.approx(1, abs=0.03)


def test_the_spectrum_is_the_sum_of_the_covariances():
    dt, exposure, f = 0.3 * TAU, 0.2 * TAU, np.array([1.0, 30.0, 200.0])
    n = np.arange(0.0, 400)
    c = covariances(n, TAU, 1.0, dt, exposure)
    direct = [dt * (c[0] + 2 * np.sum(c[1:] * np.cos(2 * np.pi * one * n[1:] * dt))) for one in f]
    np.testing.assert_allclose(spectrum(f, TAU, 1.0, dt, exposure), direct, rtol=1e-9)


def test_a_bead_beyond_the_reach_of_every_trap_diffuses_freely():
    plant = Plant(BEAD, np.full((20_000, 2), 5.0), seed=2, reach_um=0.8)
    assert (plant.held_by(np.zeros((1, 2))) == -1).all()
    seen = plant.frame(np.zeros((1, 2)), K, 0.01, 0.01)
    assert (plant.at - 5).var() == pytest.approx(2 * BEAD.diffusion * 0.01, rel=0.03)
    assert (seen - 5).var() == pytest.approx(2 * BEAD.diffusion * 0.01 / 3, rel=0.03)


def test_drag_grows_near_the_glass_and_a_bead_is_not_in_it():
    assert Bead(radius_um=0.5, height_um=0.6).drag > 2 * BEAD.drag
    assert Bead(radius_um=0.5, height_um=50).drag == pytest.approx(BEAD.drag, rel=0.01)
    with pytest.raises(ValueError, match="in the glass"):
        _ = Bead(radius_um=0.5, height_um=0.4).drag


@pytest.mark.parametrize("method", [equipartition, power_spectrum, msd_fit], ids=lambda m: m.__name__)
def test_stiffness_is_unbiased_and_its_interval_holds_the_truth(method):
    """100 recordings, exposure half the frame time, localisation error of 0.02 px of 0.1 µm."""
    dt, error = 0.5 * TAU, 0.002
    x = motion(4000, 100, dt, dt / 2)
    x = x + np.random.default_rng(7).normal(0, error, x.shape)
    camera = Camera(dt_s=dt, exposure_s=dt / 2, localisation_um=error)
    found = [method(one, camera, BEAD) for one in x.T]
    assert np.mean([one.k for one in found]) == pytest.approx(K, rel=0.02)
    held = sum(one.low <= K <= one.high for one in found)
    assert 90 <= held <= 99, f"{method.__name__}: {held} of 100 intervals hold the truth"


def test_missing_frames_are_no_motion():
    x = motion(6000, 1, 0.5 * TAU, 0.0)[:, 0]
    x[2000:2010] = np.nan
    camera = Camera(dt_s=0.5 * TAU)
    for method in (equipartition, power_spectrum, msd_fit):
        assert method(x, camera, BEAD).k == pytest.approx(K, rel=0.15)


def test_what_is_no_more_than_the_localisation_error_is_refused():
    with pytest.raises(ValueError, match="beyond the error"):
        equipartition(np.random.default_rng(1).normal(0, 1e-3, 1000), Camera(dt_s=0.01, localisation_um=0.1), BEAD)


@pytest.mark.parametrize(
    "ratio, least",
    [(0.02, (0.04, 0.09, 0.14, 0.19)), (0.1, (0.18, 0.37, 0.52, 0.63)), (0.5, (0.63, 0.88, 0.96, 0.99))],
)
def test_the_least_variance_is_bounded_by_the_delay(ratio, least):
    for delay, expected in enumerate(least):
        assert best_gain(ratio, delay)[1] == pytest.approx(expected, abs=0.006)


def test_the_variance_of_the_loop_tells_one_frame_of_delay():
    assert variance_ratio(1, 0.22, 0) == pytest.approx(0.563, abs=3e-3)
    assert variance_ratio(1, 0.22, 1) == pytest.approx(0.676, abs=5e-3)
    assert variance_ratio(1, 5.6, 0) == pytest.approx(67, rel=0.03)
    assert math.isinf(variance_ratio(1.1, 5.6, 0))


@pytest.mark.parametrize("delay", range(4))
def test_the_largest_stable_gain_is_where_stability_ends(delay):
    gain = largest_stable_gain(0.2, delay)
    assert spectral_radius(0.999 * gain, 0.2, delay) < 1 < spectral_radius(1.001 * gain, 0.2, delay)


@pytest.mark.parametrize("exposure_s", [0.0, 1e-6, 0.004])
def test_beads_in_several_traps_move_at_once_as_they_would_trap_after_trap(exposure_s):
    places, stiffness = np.array([[0.0, 0], [9, 0], [0, 9]]), np.array([0.5, 2.0, 8.0])
    trap_of = np.array([2, 1, 0, 1])
    at_once, in_turn = (Plant(BEAD, places[trap_of] + 0.05, seed=4) for _ in range(2))
    for _ in range(3):
        seen = at_once.frame(places, stiffness, 0.01, exposure_s)
        expected = np.empty_like(seen)
        for trap in range(3):
            bead = np.flatnonzero(trap_of == trap)
            expected[bead] = in_turn._held(bead, trap_of[bead], places, stiffness, 0.01, exposure_s)
        assert seen == pytest.approx(expected, rel=1e-12, abs=1e-14)
        assert at_once.at == pytest.approx(in_turn.at, rel=1e-12, abs=1e-14)


def test_a_spectrum_without_a_corner_says_that_the_trap_is_too_stiff_for_the_frame_rate():
    white = np.random.default_rng(1).normal(0, 0.025, 1024)
    with pytest.raises(ValueError, match=r"flat up to 25 Hz"):
        power_spectrum(white, Camera(dt_s=0.02, exposure_s=0.005), BEAD)
