"""The demonstration's comparison of what was found with what was there."""

from __future__ import annotations

import numpy as np
import pytest

from engine.cli.truth import _match, _nearest, _swaps

POINT = np.dtype([("x", "<f8"), ("y", "<f8")])


def points(*xy: tuple[float, float]) -> np.ndarray:
    return np.array(list(xy), POINT)


def test_each_bead_is_found_once_and_the_nearest_pair_first() -> None:
    beads = points((10, 10), (12, 10), (50, 50))
    found = points((11.8, 10), (10.5, 10), (90, 90), (50, 50), (50.5, 50))
    owner, squares = _match(found, beads)
    assert owner.tolist() == [1, 0, -1, 2, -1]
    assert squares == pytest.approx([0.2**2, 0.5**2, np.nan, 0.0, np.nan], nan_ok=True)


def test_a_feature_too_far_from_every_bead_is_none() -> None:
    assert _match(points((13.1, 10)), points((10, 10)))[0].tolist() == [-1]
    assert _match(points(), points((10, 10)))[0].tolist() == []


def test_the_nearest_neighbour_is_another_bead() -> None:
    assert _nearest(points((0, 0), (3, 4), (30, 0))).tolist() == pytest.approx([5, 5, np.hypot(27, 4)])


def test_a_track_that_changes_its_bead_is_counted_once() -> None:
    particle = np.array([0, 1, 0, 1, 0, 1])
    assert _swaps(particle, np.array([5, 6, 5, 6, 5, 6])) == 0
    assert _swaps(particle, np.array([5, 6, 6, 5, 6, 5])) == 2
    assert _swaps(particle, np.array([5, 6, -1, 6, 5, 6])) == 0
