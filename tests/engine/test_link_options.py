"""Prediction and shrinking search ranges: trackpy's partitions with trackpy's predictors."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import trackpy

import engine

trackpy.quiet()


def partition(table: pd.DataFrame) -> set[tuple[tuple[int, float, float], ...]]:
    """Which points belong together."""
    groups = table.sort_values("frame").groupby("particle")
    return {tuple(zip(group["frame"].to_list(), group["y"].to_list(), group["x"].to_list())) for _, group in groups}


def flow(seed: int, drift: tuple[float, float], shear: float = 0.0, gaps: bool = True) -> pd.DataFrame:
    """Particles in a flow, some of them missing now and then."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 250, (60, 2))
    frames = []
    for n in range(12):
        if n:
            places = places + drift + np.outer(shear * (places[:, 0] - 125), [0, 1]) + rng.normal(0, 0.4, places.shape)
        seen = rng.random(len(places)) < (0.95 if gaps and n > 1 else 1.0)
        frames.append(pd.DataFrame({"y": places[seen, 0], "x": places[seen, 1], "frame": n}))
    return pd.concat(frames, ignore_index=True)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("memory", [0, 2])
@pytest.mark.parametrize("kind", ["nearest", "drift"])
def test_predictions_are_trackpys(kind: str, memory: int, seed: int) -> None:
    table = flow(seed, (1.0, 4.0), shear=0.01 if kind == "nearest" else 0.0)
    predictor: Any = trackpy.predict.NearestVelocityPredict() if kind == "nearest" else trackpy.predict.DriftPredict()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = predictor.link_df(table, 6, memory=memory)
    ours = engine.link(table, 6, memory=memory, predictor=kind)
    assert partition(ours) == partition(theirs)


def test_with_prediction_particles_are_followed_that_move_farther_than_they_are_apart() -> None:
    rng = np.random.default_rng(0)
    places = np.argwhere(np.ones((6, 20))) * (12.0, 6.0)
    frames, speed = [], 0.0
    for n in range(15):
        speed += 0.9  # in the end 13 pixels a frame, more than twice the distance
        places = places + (0.0, speed) + rng.normal(0, 0.05, places.shape)
        frames.append(pd.DataFrame({"y": places[:, 0], "x": places[:, 1], "frame": n, "truth": range(len(places))}))
    table = pd.concat(frames, ignore_index=True)
    followed = engine.link(table, 2.5, predictor="drift")
    assert followed["particle"].nunique() == len(places)
    assert (followed.groupby("truth")["particle"].nunique() == 1).all()
    assert engine.link(table, 2.5)["particle"].nunique() > len(places)


@pytest.mark.parametrize("seed", range(6))
def test_ranges_that_shrink_are_trackpys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 90, (110, 2))
    moved = places + rng.normal(0, 0.5, places.shape)
    table = pd.concat(
        [pd.DataFrame({"y": p[:, 0], "x": p[:, 1], "frame": n}) for n, p in enumerate((places, moved))],
        ignore_index=True,
    )
    theirs = trackpy.link(table, 14, adaptive_stop=1.0, adaptive_step=0.9)
    ours = engine.link(table, 14, adaptive_stop=1.0, adaptive_step=0.9)
    assert partition(ours) == partition(theirs)


def test_what_is_not_offered_is_refused() -> None:
    table = flow(0, (0.0, 0.0))
    with pytest.raises(ValueError, match="predictor='channel' is not offered"):
        engine.link(table, 6, predictor="channel")
    with pytest.raises(ValueError, match="one search range"):
        engine.link(table, (6, 7), predictor="drift")
    with pytest.raises(ValueError, match="adaptive_stop must be positive"):
        engine.link(table, 6, adaptive_stop=0)
