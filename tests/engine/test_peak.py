"""The first guess at the largest value: mostly right, also of particles that are all alike, and harmless when wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.workers.centroids import CentroidDetector
from engine.workers.parameters import LocateParameters

SIDE, PITCH, FRAMES = 640, 62, 6


def alike(seed: int, peak: float) -> NDArray[np.uint16]:
    """Particles of one brightness, a mask's width apart."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    image = np.full((SIDE, SIDE), 100.0)
    for place in np.mgrid[40 : SIDE - 40 : PITCH, 40 : SIDE - 40 : PITCH].reshape(2, -1).T:
        at = place + rng.uniform(-3, 3, 2)
        image += peak * np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * 3.8**2))
    return rng.poisson(image).astype(np.uint16)


def guesses(images: list[NDArray[Any]]) -> list[bool]:
    parameters = LocateParameters(
        shape_hw=(SIDE, SIDE), dtype=images[0].dtype.name, diameter=(21, 21), separation=(22.0, 22.0),
        smoothing_size=(21, 21), percentile=64.0,
    )  # fmt: skip
    detector = CentroidDetector(parameters)
    scratch = np.zeros(detector.scratch_bytes, np.uint8)
    right = []
    for image in images:
        detector.found(image, scratch)
        areas = detector._layout.views(scratch)
        right.append(bool(areas["guesses"][0, 0] == areas["peaks"][0, 0]))
    return right


@pytest.mark.parametrize("peak", [300.0, 1900.0])
def test_of_particles_that_are_alike_the_largest_value_is_guessed(peak: float) -> None:
    assert all(guesses([alike(seed, peak) for seed in range(FRAMES)]))
