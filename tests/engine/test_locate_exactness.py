"""`engine.locate` finds what `trackpy.locate` finds, noise features included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.workers.centroids import CentroidDetector
from tests import recordings
from tests.made_frames import assert_as_trackpy, frames, spots

MANY = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@MANY
@given(
    image=frames(),
    diameter=st.sampled_from([3, 5, 7, 11, 21]),
    separation=st.sampled_from([None, 1, 4, 12, 18, 9.5]),
    minmass=st.sampled_from([None, 20, 1000]),
    percentile=st.sampled_from([64, 0, 14, 99.5, 100]),
    invert=st.booleans(),
)
def test_any_frame_has_the_features_that_trackpy_finds(
    image: Any, diameter: int, separation: Any, minmass: Any, percentile: float, invert: bool
) -> None:
    assert_as_trackpy(image, diameter, separation=separation, minmass=minmass, percentile=percentile, invert=invert)


@MANY
@given(
    image=frames(),
    diameter=st.sampled_from([(5, 9), (11, 7), 7]),
    separation=st.sampled_from([None, (6, 13), (9.5, 4)]),
    noise_size=st.sampled_from([1, 0, 0.4, (1.7, 0.5)]),
    smoothing_size=st.sampled_from([None, 15, (9, 21), 201]),
    threshold=st.sampled_from([None, 0, 0.25, 7]),
    max_iterations=st.sampled_from([1, 3, 10, 40]),
    preprocess=st.sampled_from([True, True, False]),
    characterize=st.booleans(),
    topn=st.sampled_from([None, 1, 4]),
)
def test_every_argument_means_what_it_means_to_trackpy(image: Any, diameter: Any, **options: Any) -> None:
    assert_as_trackpy(image, diameter, **options)


@MANY
@given(
    image=frames(),
    single=st.booleans(),
    invert=st.booleans(),
    preprocess=st.sampled_from([True, True, False]),
    diameter=st.sampled_from([5, 11, (7, 9)]),
)
def test_frames_of_floats_too(image: Any, single: bool, invert: bool, preprocess: bool, diameter: Any) -> None:
    scaled = (image / 300.0).astype(np.float32 if single else np.float64)
    assert_as_trackpy(scaled, diameter, invert=invert, preprocess=preprocess)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_dense_frame_with_flat_tops_and_hot_pixels(dtype: str) -> None:
    ceiling = 255 if dtype == "uint8" else 1500
    image = spots((301, 277), 250, 5, sigma=3.8, peak=4000, hot=40, ceiling=ceiling, dtype=dtype)
    found = assert_as_trackpy(image, 21, separation=18, minmass=100, percentile=14)
    assert len(found) > 50


def test_plateaus_give_one_feature_each() -> None:
    image = np.zeros((90, 90), np.uint8)
    image[20:23, 20:23] = 200
    image[50:52, 50:52] = 200
    assert len(assert_as_trackpy(image, 9, preprocess=False, percentile=0)) == 0  # nothing is above the least of them
    image[70, 20] = 90
    assert len(assert_as_trackpy(image, 9, preprocess=False, percentile=0)) == 2


@pytest.mark.parametrize("size", [(5, 90), (90, 5), (12, 12), (23, 24)])
def test_frames_smaller_than_their_features(size: tuple[int, int]) -> None:
    image = np.random.default_rng(3).poisson(100, size).astype(np.uint16)
    assert_as_trackpy(image, 11)


def test_rows_that_mislead_the_first_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every 16th row is looked at for it; whichever these are, one of these frames has its bright noise just there."""
    again: list[bool] = []
    with_room = CentroidDetector._with_room

    def seen(self: CentroidDetector, *args: Any) -> Any:
        again.append(bool(args[-1]))
        return with_room(self, *args)

    monkeypatch.setattr(CentroidDetector, "_with_room", seen)
    for bright in range(16):
        rng = np.random.default_rng(bright)
        image = rng.poisson(100, (512, 512))
        for y in range(bright, 512, 16):
            image[y] += rng.poisson(3000, 512)
        assert_as_trackpy(image.astype(np.uint16), 11, percentile=64)
    assert any(again), "no frame was done anew: this tests nothing"


# --- real frames ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((100, 15), {"diameter": 21, "separation": 18}),  # no column is far enough from both edges
        ((200, 200), {"diameter": 11, "separation": 16, "smoothing_size": 131}),  # margins wider than 64 pixels
        ((300, 290), {"diameter": 133}),
        ((301, 263), {"diameter": 5, "separation": 140}),
    ],
    ids=str,
)
def test_margins_wider_than_the_frame_or_than_a_word(shape: tuple[int, int], options: Any, dtype: str) -> None:
    for seed in range(4):
        image = np.random.default_rng(seed).integers(0, 250, shape).astype(dtype)
        assert_as_trackpy(image, **options)


@pytest.mark.parametrize("what", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("preprocess", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_pixel_that_is_no_number(what: float, preprocess: bool, dtype: str) -> None:
    image = np.random.default_rng(0).uniform(0, 500, (101, 131)).astype(dtype)
    image[50, 60] = what
    assert_as_trackpy(image, 11, preprocess=preprocess)


@pytest.mark.parametrize("number", range(0, 300, 20))
def test_beads_in_water(number: int) -> None:
    image = recordings.frames(recordings.BULK_WATER)[number]
    found = assert_as_trackpy(image, 11, minmass=20, invert=True)
    assert 500 < len(found) < 650


@pytest.mark.parametrize("number", range(5))
def test_stuck_particles(number: int) -> None:
    image = recordings.frames(recordings.STUCK)[number]
    assert 500 < len(assert_as_trackpy(image, 9, minmass=60)) < 540


@pytest.mark.parametrize("number", range(5))
def test_blinking_molecules(number: int) -> None:
    image = recordings.frames(recordings.STORM)[number]
    assert 130 < len(assert_as_trackpy(image, 7, minmass=300)) < 150
