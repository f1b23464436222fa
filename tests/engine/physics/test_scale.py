"""Micrometres a pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.physics.scale import from_points, from_ruling, from_steps


@pytest.mark.parametrize("angle", [0.0, 3.0, 87.0, -30.0], ids=lambda a: f"turned by {a}")
def test_a_noisy_ruling_gives_the_scale_within_a_thousandth_at_any_angle(angle):
    pixel_um, period_um = 0.1083, 10.0
    y, x = np.mgrid[:480, :640]
    along = x * math.cos(math.radians(angle)) + y * math.sin(math.radians(angle))
    lines = np.where((along * pixel_um / period_um) % 1 < 0.5, 900.0, 300.0)
    found = from_ruling(np.random.default_rng(1).poisson(lines).astype(float), period_um)
    assert found.pixel_um == pytest.approx(pixel_um, rel=1e-3)
    assert found.angle_deg == pytest.approx(angle, abs=0.1)
    assert found.residual < 0.01


def test_an_image_without_lines_is_refused():
    with pytest.raises(ValueError, match="no ruling"):
        from_ruling(np.random.default_rng(1).poisson(100, (200, 200)).astype(float), 10)


def test_points_and_steps():
    assert from_points(np.array([0.0, 0.0]), np.array([30.0, 40.0]), 5.0).pixel_um == pytest.approx(0.1)
    before = np.random.default_rng(0).uniform(0, 100, (9, 2))
    found = from_steps(before, before + (0, 20) + np.random.default_rng(1).normal(0, 0.02, (9, 2)), 2.0)
    assert found.pixel_um == pytest.approx(0.1, rel=1e-3)
    assert found.residual < 3e-3
    with pytest.raises(ValueError, match="apart"):
        from_points(np.zeros(2), np.zeros(2), 5.0)
