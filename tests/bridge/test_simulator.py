"""The simulated camera against theory."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from bridge.simulator import Scene, Simulator


def path(simulator: Simulator, frames: int) -> np.ndarray:
    return np.array([at for _, at in zip(range(frames), simulator.positions())])


def test_beads_diffuse_as_stokes_and_einstein_say() -> None:
    scene = Scene(width=4000, height=4000, beads=200, distance_px=0, periodic=True)
    assert scene.diffusion_um2_s == pytest.approx(0.4907, rel=1e-3)  # 1 µm spheres in water at 25 degrees
    steps = np.diff(path(Simulator(scene), 400), axis=0)
    steps = (steps + 2000) % 4000 - 2000
    expected = 2 * scene.diffusion_um2_s / scene.fps / scene.pixel_um**2
    assert np.var(steps) == pytest.approx(expected, rel=0.02)
    lag10 = steps[: len(steps) // 10 * 10].reshape(-1, 10, *steps.shape[1:]).sum(axis=1)
    assert np.var(lag10) == pytest.approx(10 * expected, rel=0.05)


def test_beads_are_turned_back_at_the_edge() -> None:
    at = path(Simulator(width=64, height=48, beads=20, margin_px=8, distance_px=4), 500)
    assert at[..., 0].min() >= 8
    assert at[..., 0].max() <= 55
    assert at[..., 1].min() >= 8
    assert at[..., 1].max() <= 39


def test_the_same_seed_gives_the_same_pixels_and_the_same_truth() -> None:
    one, two, other = (Simulator(width=64, height=48, beads=5, seed=seed) for seed in (1, 1, 2))
    first = [image for (image, _), _ in zip(one.frames(), range(4))]
    again = [image for (image, _), _ in zip(two.frames(start=1), range(3))]
    assert all((a == b).all() for a, b in zip(first[1:], again))
    assert (one.truth(4) == two.truth(4)).all()
    assert not (first[0] == next(other.frames())[0]).all()


def test_noise_is_poisson_and_spots_are_where_the_truth_says() -> None:
    simulator = Simulator(width=256, height=256, beads=4, background=100, signal=800, distance_px=60)
    image, extra = next(simulator.frames())
    assert image.dtype == np.uint16
    assert extra == {"simulated": True}
    quiet = np.ones(image.shape, bool)
    for one in simulator.truth(1):
        y, x = np.mgrid[:256, :256]
        near = (x - one["x"]) ** 2 + (y - one["y"]) ** 2 < 15**2
        quiet &= ~near
        light = np.where(near, image.astype(float) - 100, 0)
        assert (light * x).sum() / light.sum() == pytest.approx(one["x"], abs=0.25)
        assert (light * y).sum() / light.sum() == pytest.approx(one["y"], abs=0.25)
        assert light.sum() == pytest.approx(800 * 2 * np.pi * 2.5**2, rel=0.05)
    assert image[quiet].mean() == pytest.approx(100, rel=0.01)
    assert image[quiet].var() == pytest.approx(100, rel=0.03)


def test_without_noise_a_frame_is_exact() -> None:
    image, _ = next(Simulator(width=64, height=64, beads=1, noise=False, background=10, signal=100).frames())
    assert image.min() == 10
    assert 100 < image.max() <= 110


def test_a_loop_goes_forth_and_back_and_the_truth_with_it() -> None:
    simulator = Simulator(width=64, height=48, beads=3, loop=5)
    shown = [(image, extra) for (image, extra), _ in zip(simulator.frames(), range(12))]
    assert [extra["index"] for _, extra in shown] == [0, 1, 2, 3, 4, 3, 2, 1, 0, 1, 2, 3]
    assert all(extra["loop"] == 5 for _, extra in shown)
    assert shown[3][0] is shown[5][0]
    truth = simulator.truth(12).reshape(12, 3)
    assert (truth[3]["x"] == truth[5]["x"]).all()
    assert (truth["frame"][:, 0] == np.arange(12)).all()


def test_the_truth_can_be_saved(tmp_path: Path) -> None:
    simulator = Simulator(width=64, height=48, beads=3)
    simulator.save_truth(tmp_path / "truth.npz", 7)
    with np.load(tmp_path / "truth.npz") as saved:
        assert (saved["truth"] == simulator.truth(7)).all()
        assert '"beads":3' in str(saved["scene"])


def test_bright_spots_stop_at_the_sensors_limit() -> None:
    image, _ = next(Simulator(width=64, height=64, beads=1, dtype="uint8", signal=1000).frames())
    assert image.max() == 255


def test_small_frames_are_rendered_faster_than_a_camera_gives_them() -> None:
    frames = Simulator(width=512, height=512, beads=100).frames()
    next(frames)
    started = time.process_time()
    for _ in range(50):
        next(frames)
    assert (time.process_time() - started) / 50 < 0.02  # 3 ms on one core of the machine it was written on
