"""Frames that tests make themselves, and how their features are compared with trackpy's."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import trackpy
import trackpy.uncertainty
from hypothesis import strategies as st
from numpy.typing import NDArray

import engine

OF_NOTHING = (
    "Image is completely black.",
    "Image contains no local maxima.",
    "All local maxima were in the margins.",
    "No maxima survived",
)


def spots(
    shape_hw: tuple[int, int],
    count: int,
    seed: int,
    *,
    sigma: float = 2.5,
    peak: float = 900.0,
    background: float = 100.0,
    noise: bool = True,
    hot: int = 0,
    ceiling: int = 65535,
    dtype: str = "uint16",
) -> NDArray[Any]:
    """Gaussian spots anywhere, edges and corners too, with Poisson noise; flat tops where `ceiling` cuts them."""
    rng = np.random.default_rng(seed)
    y, x = np.ogrid[: shape_hw[0], : shape_hw[1]]
    image = np.full(shape_hw, float(background))
    for _ in range(count):
        at_y, at_x = rng.uniform(-3, shape_hw[0] + 3), rng.uniform(-3, shape_hw[1] + 3)
        height = peak * rng.uniform(0.3, 1.0)
        image += height * np.exp(-((y - at_y) ** 2 + (x - at_x) ** 2) / (2 * sigma**2))
    if noise:
        image = rng.poisson(image).astype(float)
    for _ in range(hot):
        image[rng.integers(shape_hw[0]), rng.integers(shape_hw[1])] = ceiling
    return image.clip(0, min(ceiling, np.iinfo(dtype).max)).astype(dtype)


@st.composite
def frames(draw: Any) -> NDArray[Any]:
    """Any frame: odd sizes, empty, black, bright, flat tops, hot pixels, plateaus of few grey values."""
    dtype = draw(st.sampled_from(["uint8", "uint16"]))
    shape = (draw(st.integers(24, 131)), draw(st.integers(24, 131)))
    largest = int(np.iinfo(dtype).max)
    image = spots(
        shape,
        draw(st.sampled_from([0, 1, 5, 30])),
        draw(st.integers(0, 2**32 - 1)),
        sigma=draw(st.sampled_from([0.8, 2.5, 4.0])),
        peak=draw(st.sampled_from([30.0, 200.0, 3000.0, 90000.0])),
        background=draw(st.sampled_from([0.0, 3.0, 100.0, 240.0])),
        noise=draw(st.booleans()),
        hot=draw(st.sampled_from([0, 0, 3])),
        ceiling=draw(st.sampled_from([largest, 200])),
        dtype=dtype,
    )
    coarse = draw(st.sampled_from([1, 1, 16]))
    return image // coarse * coarse if coarse > 1 else image


def in_silence(function: Callable[..., pd.DataFrame], *args: Any, **options: Any) -> tuple[pd.DataFrame, list[str]]:
    """A result, and what was said about frames without features."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        features = function(*args, **options)
    messages = [str(warning.message) for warning in said]
    return features, [text for text in messages if text.startswith(OF_NOTHING)]


def _mended(theirs: pd.DataFrame) -> pd.DataFrame:
    """Put the errors of features that are not round back beside them.

    trackpy joins `ep_y` and `ep_x`, numbered from 0, to features that keep their numbers from before the filters: what
    does not meet becomes a row of its own.
    """
    if "ep_y" not in theirs:
        return theirs
    features = theirs[theirs["y"].notna()].copy()
    errors = theirs.loc[range(len(features)), ["ep_y", "ep_x"]]
    features[["ep_y", "ep_x"]] = errors.to_numpy()
    return features


def _above_black(image: NDArray[Any], diameter: Any, raw_mass: NDArray[Any], black: float) -> NDArray[np.bool_]:
    """Features whose raw mass is not what the background alone would give; integers always are exact."""
    if image.dtype.kind != "f" or np.isnan(black):
        return np.ones(len(raw_mass), bool)
    height, width = diameter if np.iterable(diameter) else (diameter, diameter)
    background = trackpy.masks.N_binary_mask((height // 2, width // 2), 2) * black
    return np.asarray(np.abs(raw_mass - background) > 0.01 * np.abs(raw_mass))


def assert_as_trackpy(image: NDArray[Any], diameter: Any, **options: Any) -> pd.DataFrame:
    """Locate with both: same features in the same order with the same index, columns and words."""
    black = [np.nan]

    def measured(*args: Any) -> Any:
        found = trackpy.uncertainty.measure_noise(*args)
        black[0] = float(found[0])
        return found

    with mock.patch("trackpy.feature.measure_noise", measured):
        theirs, they_said = in_silence(trackpy.locate, image, diameter, **options)
    theirs = _mended(theirs)
    ours, we_said = in_silence(engine.locate, image, diameter, **options)
    assert we_said == they_said
    assert list(ours.columns) == list(theirs.columns)
    assert len(ours) == len(theirs)
    assert list(ours.index) == list(theirs.index)
    for column in theirs.columns:
        mine, other = ours[column].to_numpy(float), theirs[column].to_numpy(float)
        if column.startswith("ep"):
            # Where almost nothing of floats is left after the black level, the error of the position is rounding alone.
            sure = _above_black(image, diameter, theirs["raw_mass"].to_numpy(float), black[0])
            mine, other = mine[sure], other[sure]
            np.testing.assert_allclose(mine, other, rtol=1e-6, equal_nan=True, err_msg=column)
        else:
            np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-9, equal_nan=True, err_msg=column)
    return ours
