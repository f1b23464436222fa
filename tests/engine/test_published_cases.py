"""The cases that trackpy's own tests publish for locate, find and link, put to `engine.locate` and `engine.link`.

Each is checked against its known answer and, where trackpy has one, against trackpy.
"""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import trackpy
from scipy.spatial.distance import cdist

import engine
from tests.made_frames import assert_as_trackpy

trackpy.quiet()
YX = ["y", "x"]


def flat(shape: tuple[int, int] = (26, 31), level: int = 1, points: Any = ()) -> Any:
    """A frame of one level with some pixels (y, x, value) set."""
    image = np.full(shape, level, np.uint8)
    for y, x, value in points:
        image[y, x] = value
    return image


def gaussian(shape: tuple[int, int], at: Any, sigma: Any, peak: float, background: Any = 0.0) -> Any:
    """Gaussian spots at (y, x), sigma for both axes or each."""
    sigma_y, sigma_x = np.broadcast_to(sigma, 2)
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.zeros(shape) + background
    for at_y, at_x in at:
        image += peak * np.exp(-((y - at_y) ** 2) / (2 * sigma_y**2) - (x - at_x) ** 2 / (2 * sigma_x**2))
    return image.clip(0, 255).astype(np.uint8)


# --- locate ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
@pytest.mark.parametrize("invert", [False, True])
def test_noise_of_every_type_gives_what_trackpy_gives(dtype: str, invert: bool) -> None:
    noise = np.random.default_rng(1).uniform(0, 100, (90, 110))
    image = (noise / 100 if dtype.startswith("f") else noise).astype(dtype)
    assert len(assert_as_trackpy(image, 5, invert=invert)) > 10


NOTHING_FOUND = {
    "a black frame": (flat(level=0), dict(preprocess=False)),
    "its only maximum is in the margin": (flat(points=[(1, 2, 100)]), {}),
    "its only feature is filtered": (flat(points=[(12, 14, 10)]), dict(minmass=1000, preprocess=False)),
}


@pytest.mark.parametrize("case", NOTHING_FOUND)
def test_a_frame_without_features_is_warned_of(case: str) -> None:
    image, options = NOTHING_FOUND[case]
    with pytest.warns(UserWarning, match="maxima|black"):
        assert engine.locate(image, 5, **options).empty


PLATEAUS = {
    "an angle of three": [(11, 13), (11, 14), (12, 13)],
    "a square": [(11, 13), (11, 14), (12, 13), (12, 14)],
    "a row": [(11, 13), (11, 14), (11, 15)],
    "a column": [(11, 13), (12, 13), (13, 13)],
}


@pytest.mark.parametrize("case", PLATEAUS)
def test_a_flat_top_is_one_feature(case: str) -> None:
    image = flat(points=[(y, x, 120) for y, x in PLATEAUS[case]])
    found = assert_as_trackpy(image, 5, preprocess=False)
    assert len(found) == 1
    np.testing.assert_allclose(found[YX].to_numpy()[0], np.mean(PLATEAUS[case], axis=0), atol=0.35)


def test_of_two_flat_tops_too_close_the_heavier_stays_and_of_equals_the_one_further_down() -> None:
    for first, first_x in ((110, 12), (111, 11)):
        points = [(11, first_x + i, first) for i in range(3)] + [(14, 13 + i, 111) for i in range(3)]
        found = assert_as_trackpy(flat(points=points), 5, preprocess=False)
        np.testing.assert_allclose(found[YX], [[14, 14]], atol=0.1)


SUBPIXEL = {
    "one pixel": ([(9, 14, 100)], (9, 14)),
    "two equal ones, vertical": ([(9, 14, 100), (10, 14, 100)], (9.5, 14)),
    "vertical, nearer to the first": ([(9, 14, 120), (10, 14, 60)], (9.33, 14)),
    "vertical, nearer to the second": ([(9, 14, 60), (10, 14, 120)], (9.67, 14)),
    "horizontal, nearer to the first": ([(9, 14, 120), (9, 15, 60)], (9, 14.33)),
    "horizontal, nearer to the second": ([(9, 14, 60), (9, 15, 120)], (9, 14.67)),
    "four pixels": ([(9, 14, 120), (9, 15, 120), (10, 14, 60), (10, 15, 60)], (9.33, 14.5)),
}


@pytest.mark.parametrize("case", SUBPIXEL)
def test_a_centroid_lies_between_the_pixels(case: str) -> None:
    points, where = SUBPIXEL[case]
    found = assert_as_trackpy(flat(points=points), 5, minmass=1, preprocess=False)
    assert len(found) == 1
    np.testing.assert_allclose(found[YX].to_numpy()[0], where, atol=0.1)


@pytest.mark.parametrize("flipped", [(), (0,), (1,), (0, 1)], ids=["left", "lower left", "right", "lower right"])
@pytest.mark.parametrize("turned", [False, True], ids=["", "turned"])
def test_spots_that_leave_the_frame_on_any_side(flipped: Any, turned: bool) -> None:
    at = [(20 + 24 * k, 1.0 + 1.3 * k) for k in range(9)]
    image = np.flip(gaussian((240, 41), at, 3, 110, 1), flipped)
    assert len(assert_as_trackpy(np.ascontiguousarray(image.T if turned else image), 9, minmass=1, preprocess=False))


@pytest.mark.parametrize("diameter, sigma", [(9, 2.5), ((13, 7), (4, 2)), ((7, 13), (2, 4))], ids=str)
@pytest.mark.parametrize("noise", [0, 12], ids=["clean", "noisy"])
@pytest.mark.parametrize("count", [6, 40], ids=["sparse", "dense"])
def test_spots_are_found_where_they_were_drawn(diameter: Any, sigma: Any, noise: int, count: int) -> None:
    rng = np.random.default_rng(count + noise)
    grid = rng.permutation(list(itertools.product(range(25, 190, 28), range(25, 280, 28))))[:count]
    at = grid + rng.uniform(-2, 2, (count, 2))
    image = gaussian((215, 305), at, sigma, 180, rng.uniform(0, noise + 1, (215, 305)))
    found = assert_as_trackpy(image, diameter, minmass=600)
    assert len(found) == count
    assert cdist(found[YX], at).min(axis=0).max() < 0.25


@pytest.mark.parametrize("angle", range(0, 360, 30))
def test_two_spots_are_told_apart_beyond_the_separation_and_not_below(angle: int) -> None:
    """Whatever the direction: the rule is round, though the window of the maxima is a square."""
    turn = np.deg2rad(angle)
    at = [(64.0, 64.0), (64 + 20 * np.sin(turn), 64 + 20 * np.cos(turn))]
    image = np.maximum(gaussian((128, 128), at[:1], 1.5, 240), gaussian((128, 128), at[1:], 1.5, 250))
    apart = assert_as_trackpy(image, 7, separation=18.5, preprocess=False)
    assert len(apart) == 2
    together = assert_as_trackpy(image, 7, separation=21.5, preprocess=False)
    assert len(together) == 1
    np.testing.assert_allclose(together[YX].to_numpy()[0], at[1], atol=0.2)


@pytest.mark.parametrize("angle", range(0, 360, 60))
def test_separations_of_two_axes_are_those_of_an_ellipse(angle: int) -> None:
    turn = np.deg2rad(angle)
    at = [(64.0, 64.0), (64 + 11 * np.sin(turn), 64 + 22 * np.cos(turn))]
    image = np.maximum(gaussian((128, 128), at[:1], 1.3, 240), gaussian((128, 128), at[1:], 1.3, 250))
    assert len(assert_as_trackpy(image, (5, 5), separation=(9.5, 19), preprocess=False)) == 2
    assert len(assert_as_trackpy(image, (5, 5), separation=(12.5, 25), preprocess=False)) == 1


def test_size_and_eccentricity_of_a_spot() -> None:
    round_one = engine.locate(gaussian((60, 63), [(30, 31)], 3, 200), 27, minmass=1, preprocess=False).iloc[0]
    assert round_one["size"] == pytest.approx(3 * np.sqrt(2), rel=0.03)
    assert round_one["ecc"] < 0.02
    long_one = assert_as_trackpy(gaussian((60, 63), [(30, 31)], (2, 4), 200), 27, minmass=1, preprocess=False).iloc[0]
    assert long_one["ecc"] > 0.3


def test_topn_keeps_the_heaviest() -> None:
    image = np.maximum.reduce([gaussian((60, 90), [(30, 20 + 25 * k)], 2, 100 + 50 * k) for k in range(3)])
    found = assert_as_trackpy(image, 9, topn=2, preprocess=False)
    np.testing.assert_allclose(np.sort(found["x"]), [45, 70], atol=0.1)


# --- link ------------------------------------------------------------------------------------------


def table(*rows: tuple[float, float, float]) -> pd.DataFrame:
    """Features from (frame, y, x)."""
    return pd.DataFrame(rows, columns=["frame", "y", "x"])


def stepper(frames: Any, y: float, step: float = 1.0) -> pd.DataFrame:
    """A particle that walks along x."""
    frames = np.asarray(frames)
    return pd.DataFrame({"frame": frames, "y": y, "x": step * frames})


def identities(features: pd.DataFrame, search_range: Any, **options: Any) -> list[list[int]]:
    """Rows of `features` that belong together; the same as trackpy's."""
    features = features.reset_index(drop=True)
    parts = []
    for link in (engine.link, trackpy.link):
        linked = link(features.assign(row=features.index), search_range, **options)
        parts.append(sorted(sorted(group["row"].tolist()) for _, group in linked.groupby("particle")))
    assert parts[0] == parts[1]
    return parts[0]


@pytest.mark.parametrize("first", [0, 3, 1000])
def test_a_lone_stepper_is_one_particle_from_whatever_frame_on(first: int) -> None:
    assert identities(stepper(range(first, first + 5), 1.0), 5) == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("distance", [25, 2], ids=["isolated", "nearby"])
@pytest.mark.parametrize("order", ["by particle", "by frame", "shuffled"])
def test_two_steppers_stay_two(distance: float, order: str) -> None:
    both = pd.concat([stepper(range(5), 1.0), stepper(range(1, 5), 1.0 + distance)], ignore_index=True)
    if order == "by frame":
        both = both.sort_values("frame", kind="stable")
    elif order == "shuffled":
        both = both.sample(frac=1, random_state=2)
    linked = engine.link(both, 5)
    assert linked.groupby("y")["particle"].nunique().tolist() == [1, 1]
    assert linked["particle"].nunique() == 2
    identities(both, 5)


@pytest.mark.parametrize("distance", [25, 2], ids=["isolated", "nearby"])
@pytest.mark.parametrize("memory, particles", [(0, 3), (1, 2), (3, 2)])
def test_who_is_missing_for_a_frame_is_another_without_memory(distance: float, memory: int, particles: int) -> None:
    both = pd.concat([stepper([0, 1, 2, 4], 1.0, 0.2), stepper(range(1, 5), 1.0 + distance, 0.2)], ignore_index=True)
    assert len(identities(both, 5, memory=memory)) == particles


def test_a_frame_without_anything_parts_what_was_before_from_what_comes_after() -> None:
    assert identities(stepper([0, 1, 2, 4, 5], 1.0, 0.5), 5) == [[0, 1, 2], [3, 4]]
    assert identities(stepper([0, 1, 2, 4, 5], 1.0, 0.5), 5, memory=1) == [[0, 1, 2, 3, 4]]


def test_memory_does_not_reach_further_than_it_says() -> None:
    gone = table((0, 10, 10), (0, 40, 40), (1, 40, 40), (2, 40, 40), (3, 40, 40), (4, 10, 10), (4, 40, 40))
    assert len(identities(gone, 5, memory=2)) == 3
    assert len(identities(gone, 5, memory=3)) == 2


def test_steps_longer_than_the_search_range_part() -> None:
    assert len(identities(stepper(range(5), 5.0), 1.1)) == 1
    assert len(identities(stepper(range(5), 5.0), 0.9)) == 5
    across = table((0, 0, 0), (1, 0, 3), (2, 3, 3))
    assert len(identities(across, (2, 4))) == 2


def test_a_row_of_walkers_in_step() -> None:
    rows = [(frame, k * 2.0, float(frame)) for frame in range(5) for k in range(16)]
    assert all(len(group) == 5 for group in identities(table(*rows), 1.5))


@pytest.mark.parametrize("nudge, partner", [(1, [[0, 3], [1, 2]]), (-1, [[0, 2], [1, 3]])])
def test_distances_are_added_up_squared(nudge: float, partner: list[list[int]]) -> None:
    """Linearly the second pairing would cost more in both cases; squared they are equal without the nudge."""
    assert identities(table((0, 0, 6), (0, 8, 14 + nudge), (1, 0, 8), (1, 8, 0)), 20) == partner


def test_walks_that_cross_and_meet_are_trackpys() -> None:
    rng = np.random.default_rng(4)
    starts = [(10, 11), (10, 18), (14, 15), (20, 21), (13, 13), (10, 10), (17, 19)]
    walks = [
        pd.DataFrame({"frame": np.arange(k, 30)} | dict(zip("yx", start.T + rng.normal(size=(30 - k, 2)).cumsum(0).T)))
        for k, start in ((k, np.array(at).reshape(1, 2)) for k, at in enumerate(starts))
    ]
    identities(pd.concat(walks), 5)
    identities(pd.concat(walks), 3, memory=2)


def contracting(count: int = 10) -> pd.DataFrame:
    """A grid that shrinks so far that its outermost points come to lie where the second outermost were."""
    y, x = (axis.ravel() * 2.0 for axis in np.mgrid[-count : count + 1, -count : count + 1])
    parts = [
        pd.DataFrame({"frame": n, "y": 200 + shrink * y, "x": 200 + shrink * x}) for n, shrink in ((0, 1), (1, 0.9))
    ]
    return pd.concat(parts, ignore_index=True)


def test_a_group_too_large_for_trackpy_is_solved() -> None:
    grid = contracting()
    with pytest.raises(trackpy.SubnetOversizeException):
        trackpy.link(grid, 2)
    linked = engine.link(grid, 2)
    pairs = linked.sort_values("frame", kind="stable").groupby("particle")[["y", "x"]].agg(["first", "last", "size"])
    cost = ((pairs["y"]["last"] - pairs["y"]["first"]) ** 2 + (pairs["x"]["last"] - pairs["x"]["first"]) ** 2).sum()
    unlinked = (pairs["y"]["size"] == 1).sum() // 2  # as many sources as new points are left
    half = len(grid) // 2
    straight = (grid["y"][:half].to_numpy() - grid["y"][half:].to_numpy()) ** 2
    straight += (grid["x"][:half].to_numpy() - grid["x"][half:].to_numpy()) ** 2
    assert cost + 4.0 * unlinked <= np.minimum(straight, 4.0).sum() + 1e-9  # no dearer than everyone to his own


def test_adaptive_search_solves_what_trackpy_solves_with_it() -> None:
    grid = contracting(3)
    identities(grid, 2, adaptive_stop=1.0, adaptive_step=0.9)


def test_the_table_given_is_left_as_it_was_and_types_are_kept() -> None:
    for kind in (np.int64, np.float64):
        features = stepper(range(5), 1.0).astype({"frame": kind})
        before = features.copy()
        linked = engine.link(features, 5)
        pd.testing.assert_frame_equal(features, before)
        assert np.issubdtype(linked["particle"].dtype, np.integer)
        assert linked["frame"].dtype == trackpy.link(features, 5)["frame"].dtype


def test_no_particle_is_twice_in_a_frame_however_dense() -> None:
    rng = np.random.default_rng(8)
    cloud = table(*[(n, *rng.uniform(0, 60, 2)) for n in range(6) for _ in range(120)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        linked = engine.link(cloud, 8, memory=2)
    assert not linked.duplicated(["frame", "particle"]).any()
