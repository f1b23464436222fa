"""`engine.link` puts together what `trackpy.link` puts together, and what it cannot finish too."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import trackpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

import engine
from engine.linking import link_iter
from tests import recordings

trackpy.quiet()


def walk(
    particles: int, frames: int, seed: int, *, size: float = 100, step: float = 1.0, seen: float = 0.9
) -> pd.DataFrame:
    """Particles that diffuse in a box, each seen in a share of the frames."""
    rng = np.random.default_rng(seed)
    positions = rng.uniform(0, size, (particles, 2))
    parts = []
    for frame in range(frames):
        positions = positions + rng.normal(0, step, positions.shape)
        visible = positions[rng.random(particles) < seen]
        parts.append(pd.DataFrame({"y": visible[:, 0], "x": visible[:, 1], "frame": frame}))
    return pd.concat(parts, ignore_index=True)


def partition(particles: Any) -> NDArray[np.int64]:
    """The same numbers for the same partition: in order of appearance."""
    _, first, inverse = np.unique(np.asarray(particles), return_index=True, return_inverse=True)
    ranked: NDArray[np.int64] = np.argsort(np.argsort(first))[inverse]
    return ranked


def assert_same_partition(features: pd.DataFrame, search_range: Any, **options: Any) -> pd.DataFrame:
    ours = engine.link(features, search_range, **options)
    theirs = trackpy.link(features, search_range, **options)
    assert list(ours.columns) == list(theirs.columns)
    pd.testing.assert_frame_equal(ours.drop(columns="particle"), theirs.drop(columns="particle"))
    np.testing.assert_array_equal(partition(ours["particle"]), partition(theirs["particle"]))
    return ours


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    particles=st.integers(1, 60),
    seed=st.integers(0, 2**32 - 1),
    memory=st.integers(0, 4),
    search_range=st.sampled_from([2.0, 4.0, (3.0, 5.0), 6.5]),
    missing=st.sets(st.integers(1, 10), max_size=5),
)
def test_partitions_are_trackpys_with_memory_and_missing_frames(
    particles: int, seed: int, memory: int, search_range: Any, missing: set[int]
) -> None:
    features = walk(particles, 12, seed)
    features = features[~features["frame"].isin(missing)]
    try:
        assert_same_partition(features, search_range, memory=memory)
    except trackpy.SubnetOversizeException:
        engine.link(features, search_range, memory=memory)


def test_new_particles_are_numbered_in_order_of_appearance() -> None:
    linked = engine.link(walk(40, 10, 3), 4, memory=1)
    firsts = linked.drop_duplicates("particle")["particle"]
    assert firsts.tolist() == list(range(len(firsts)))


def test_frames_in_any_order_and_odd_indices() -> None:
    features = walk(30, 8, 5).sample(frac=1, random_state=1)
    features["frame"] = features["frame"].astype(float)
    assert_same_partition(features, 4, memory=2)
    named = walk(30, 8, 5).set_index("frame", drop=False).rename(columns={"x": "east", "y": "north"})
    assert_same_partition(named, 4, pos_columns=["north", "east"], memory=2)


def test_a_distance_of_exactly_the_range_is_within() -> None:
    features = pd.DataFrame({"x": [0.0, 3.0, 6.1], "y": [0.0, 4.0, 8.0], "frame": [0, 1, 2]})
    assert assert_same_partition(features, 5)["particle"].tolist() == [0, 0, 1]


def test_link_iter_counts_items_not_their_numbers() -> None:
    frames = [np.array([[1.0, 1.0]]), np.empty((0, 2)), np.array([[1.0, 2.0], [9.0, 9.0]])]
    for numbers in [(0, 1, 2), (10, 20, 35)]:
        items = list(zip(numbers, frames))
        assert list(link_iter(items, 3, memory=1)) == list(trackpy.link_iter(items, 3, memory=1))
    assert list(link_iter(iter(frames), 3)) == [(0, [0]), (1, []), (2, [1, 2])]
    assert list(link_iter([], 3)) == []


REFUSED = [
    dict(predictor=lambda t, p: p),
    dict(neighbor_strategy="BTree"),
    dict(link_strategy="drop"),
    dict(to_eucl=lambda x: x),
    dict(memory=-1),
    dict(search_range=0),
    dict(pos_columns=["x", "y", "frame"]),
]


@pytest.mark.parametrize("options", REFUSED, ids=lambda options: next(iter(options)))
def test_what_is_not_offered_raises(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        engine.link(walk(3, 3, 1), **{"search_range": 3, **options})


def test_an_unknown_argument_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="serch"):
        engine.link(walk(3, 3, 1), 3, serch=1)


def test_positions_that_are_no_numbers_are_refused() -> None:
    features = walk(3, 3, 1)
    features.loc[4, "x"] = np.nan
    with pytest.raises(ValueError, match="finite"):
        engine.link(features, 3)


# --- beyond what trackpy solves ---------------------------------------------------------------------------------------


def least_cost(sources: NDArray[Any], targets: NDArray[Any], search_range: float) -> float:
    """Cost of the best linking by a dense solver; candidates are not limited in number."""
    distances = cdist(sources, targets) ** 2
    none = search_range**2
    costs = np.hstack([np.where(distances <= none, distances, 1e9), np.full((len(sources),) * 2, none)])
    rows, columns = linear_sum_assignment(costs)
    return float(costs[rows, columns].sum())


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 2**32 - 1),
    sources=st.integers(1, 120),
    targets=st.integers(1, 120),
    search_range=st.sampled_from([3.0, 8.0, 14.0]),
)
def test_groups_of_any_size_have_the_least_cost(seed: int, sources: int, targets: int, search_range: float) -> None:
    rng = np.random.default_rng(seed)
    size = 4 * max(sources, targets) ** 0.5  # dense: one group
    before, after = rng.uniform(0, size, (sources, 2)), rng.uniform(0, size, (targets, 2))
    nearest = np.sort(cdist(after, before), axis=1)
    if sources > 10 and (nearest[:, 10] <= search_range).any():
        search_range = float(nearest[:, 10].min() * 0.999)  # ten candidates, all of them counted
    ids = [np.array(particles) for _, particles in link_iter([before, after], search_range)]
    linked = [(int(particle), target) for target, particle in enumerate(ids[1]) if particle < sources]
    lengths = [float(np.hypot(*(before[s] - after[t]))) for s, t in linked]
    assert len({s for s, _ in linked}) == len(linked)
    cost = sum(length**2 for length in lengths) + (sources - len(linked)) * search_range**2
    assert cost == pytest.approx(least_cost(before, after, search_range), rel=1e-9)


def test_ten_thousand_particles_in_groups_of_two_hundred() -> None:
    rng = np.random.default_rng(8)
    corners = np.arange(50)[:, None] * [500.0, 0.0]
    before = np.concatenate([rng.uniform(0, 100, (200, 2)) + corner for corner in corners])
    after = before + rng.normal(0, 1.0, before.shape)
    linked = [np.array(particles) for _, particles in link_iter([before, after], 8.0)]
    assert (linked[1] == np.arange(len(before))).mean() > 0.9


@pytest.mark.parametrize("shift", [1e-3, 7.07])
def test_a_lattice_is_linked_where_everything_competes(shift: float) -> None:
    """Every distance is a tie, or nearly: the search stays short and nothing is linked twice."""
    grid = np.stack(np.meshgrid(np.arange(60.0), np.arange(60.0)), axis=-1).reshape(-1, 2) * 10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (_, first), (_, second) = link_iter([grid, grid + shift], 14.2)
    assert len(set(second)) == len(second)
    if shift < 1:
        assert second == first


# --- real particles ---------------------------------------------------------------------------------------------------


def test_beads_in_water_with_frames_missing() -> None:
    frames = recordings.frames(recordings.BULK_WATER)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = [engine.locate(frames[n], 11, minmass=20, invert=True).assign(frame=n) for n in range(40)]
    features = pd.concat(parts, ignore_index=True)
    assert_same_partition(features, 5, memory=2)
    assert_same_partition(features[~features["frame"].isin([10, 11, 25])], 5, memory=2)
