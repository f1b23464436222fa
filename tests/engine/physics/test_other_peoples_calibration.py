"""Pylake and Tweezepy, each in an environment of its own, find the stiffness that we find in the same data.

What they do not model is not in their data: Pylake fits instants far above the corner frequency, Tweezepy frames that
are exposed for all of their time.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.physics.stiffness import Camera, equipartition, power_spectrum
from tests.engine.physics.test_bead_in_a_trap import BEAD, TAU, K, motion
from tests.environments import environment, run_in

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

RECORDINGS = 8
PYLAKE = """
import sys, numpy, lumicks.pylake as pylake
x, dt_s, drag = numpy.load(sys.argv[1]), float(sys.argv[3]), float(sys.argv[4])
found = [
    pylake.calibrate_force(
        one, 1.0, 25.0, sample_rate=1 / dt_s, viscosity=0.89e-3, fast_sensor=True, num_points_per_block=250,
        fit_range=(0.5, 0.05 / dt_s),
    )
    for one in x.T
]
numpy.save(sys.argv[2], [1e3 * one.stiffness for one in found])
"""
TWEEZEPY = """
import sys, numpy, tweezepy
x, dt_s = numpy.load(sys.argv[1]), float(sys.argv[3])
found = []
for one in x.T:
    each = [way(1e3 * one, 1 / dt_s) for way in (tweezepy.PSD, tweezepy.AV)]
    for way in each:
        way.mlefit(kT=1.380649e-2 * 298.15)
    found.append([1e3 * way.results["k"] for way in each])
numpy.save(sys.argv[2], found)
"""


def theirs(folder: Path, packages: tuple[str, ...], script: str, x: np.ndarray, dt_s: float) -> np.ndarray:
    """The stiffness of each recording in pN/µm, as `script` finds it."""
    python = environment(folder / "env", *packages)
    np.save(folder / "x.npy", x)
    run_in(python, script, folder / "x.npy", folder / "k.npy", str(dt_s), str(BEAD.drag))
    return np.asarray(np.load(folder / "k.npy"))


def compare(name: str, other: np.ndarray, ours: np.ndarray, each: float, mean: float) -> None:
    relative = other / ours - 1
    print(f"\n{name}: {other.mean():.4f}, ours {ours.mean():.4f} pN/µm; each: {np.round(100 * relative, 1)} %")
    assert np.abs(relative).max() < each
    assert other.mean() == pytest.approx(ours.mean(), rel=mean)
    assert ours.mean() == pytest.approx(K, rel=0.03)


def test_pylake_finds_the_same_corner(tmp_path: Path) -> None:
    dt = TAU / 16
    x = motion(65536, RECORDINGS, dt, 0.0, seed=3)
    ours = np.array([power_spectrum(one, Camera(dt_s=dt), BEAD).k for one in x.T])
    other = theirs(tmp_path, ("lumicks.pylake==1.8.0",), PYLAKE, x, dt)
    compare("Pylake 1.8.0", other, ours, each=0.08, mean=0.02)


def test_tweezepy_finds_the_same_stiffness_in_blurred_frames(tmp_path: Path) -> None:
    dt = TAU / 2
    x = motion(8192, RECORDINGS, dt, dt, seed=4)
    camera = Camera(dt_s=dt, exposure_s=dt)
    ours = np.array([equipartition(one, camera, BEAD).k for one in x.T])
    other = theirs(tmp_path, ("Tweezepy==1.2.7", "numba"), TWEEZEPY, x, dt)
    for column, way in enumerate(("power spectrum", "Allan variance")):
        compare(f"Tweezepy 1.2.7, {way}", other[:, column], ours, each=0.05, mean=0.01)
