"""The loop closed in the simulated experiment, in lock-step, against the discrete Lyapunov equation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bridge.slm.feedback import Controller, Feedback, Mode
from bridge.slm.hologram import Holograms, Trap
from bridge.slm.registration import register
from bridge.slm.simulated import LockStep
from bridge.slm.trajectory import assemble, greatest_speed
from engine.physics.bead import Bead
from engine.physics.loop import variance_ratio
from engine.physics.plant import Plant

BEAD = Bead(radius_um=0.5)
K = 2.0
DT = 0.22 * BEAD.drag / K
PIXEL_UM = 0.1


def closed_loop(gain: float, delay: int, frames: int = 2500, beads: int = 16) -> float:
    """Variance of the beads relative to no feedback, measured."""
    sites = 10.0 * np.stack(np.meshgrid(np.arange(4.0), np.arange(4.0)), -1).reshape(-1, 2)[:beads]
    plant = Plant(BEAD, sites, seed=3, reach_um=4.0)
    controllers = [Controller(Feedback(mode=Mode.P, gain=gain, greatest_step=9.0), site) for site in sites]
    commands = [sites] * (delay + 1)
    seen = np.empty((frames, beads, 2))
    for n in range(frames):
        commands = [*commands[1:], np.array([c.step(x) for c, x in zip(controllers, plant.at)])]
        seen[n] = plant.frame(commands[0], K, DT)
    return float(np.var((seen - sites)[200:]) / (BEAD.kT / K))


@pytest.mark.parametrize("gain, delay", [(0.5, 1), (1.0, 1), (1.0, 0), (2.0, 1)])
def test_the_variance_is_that_of_theory_and_a_loop_one_frame_late_is_told_from_it(gain, delay):
    measured = closed_loop(gain, delay)
    assert measured == pytest.approx(variance_ratio(gain, 0.22, delay), rel=0.05)
    if gain >= 1:
        assert measured != pytest.approx(variance_ratio(gain, 0.22, delay + 1), rel=0.05)


def test_a_pattern_of_25_beads_is_assembled_by_holograms_and_none_is_lost():
    chance = np.random.default_rng(8)
    spread_um = (
        5.0 * np.stack(np.meshgrid(np.arange(6.0), np.arange(5.0)), -1).reshape(-1, 2)[chance.permutation(30)[:25]]
    )
    spread_um = spread_um + chance.uniform(-0.8, 0.8, spread_um.shape) + 5
    pattern_um = 3.0 * np.stack(np.meshgrid(np.arange(5.0), np.arange(5.0)), -1).reshape(-1, 2) + 9
    camera = np.array([[0.0, 0], [400, 0], [0, 400], [300, 200]])
    registration = register(camera, (camera - 190) @ np.array([[0.2, 0.01], [-0.01, 0.2]]).T, 0)
    holograms = Holograms(192, 192, seed=1)
    plant = Plant(BEAD, spread_um, seed=9, reach_um=0.8)
    lab = LockStep(plant, registration, holograms, pixel_um=PIXEL_UM, dt_s=0.01, exposure_s=0.005, delay=2)

    def show(at_um: np.ndarray) -> None:
        traps = [Trap(x=x, y=y) for x, y in registration.orders(at_um / PIXEL_UM)]
        lab.show(holograms.superposition(traps), traps)

    traps = [Trap(x=x, y=y) for x, y in registration.orders(spread_um / PIXEL_UM)]
    holograms.weighted(traps, 20)
    for _ in range(20):
        show(spread_um)
        seen = lab.frame()
    step_um = min(0.1, 0.5 * greatest_speed(BEAD, 1.0, 0.8) * 0.01)
    chosen, way = assemble(seen * PIXEL_UM, pattern_um, 1.5, step_um)
    for at in way:
        show(at)
        lab.frame()
    for _ in range(30):
        show(pattern_um)
        seen = lab.frame()
    off_um = np.linalg.norm(seen[chosen] * PIXEL_UM - pattern_um, axis=1)
    assert off_um.max() < 6 * math.sqrt(BEAD.kT / 0.5)
    assert off_um.max() < 0.8
