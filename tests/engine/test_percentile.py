"""The exact percentile of a frame's levels, however misleading a sample of its rows is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.workers.levels import COUNTERS, SAMPLE, percentile_of

SHAPE = (701, 399)  # more than a sample, and no multiple of a vector
PERCENTILES = [0.0, 0.001, 14.0, 50.0, 64.0, 99.999, 100.0]


def noise(rng: np.random.Generator) -> NDArray[Any]:
    return rng.normal(0, 900, SHAPE).clip(0, 65535)


def sorted_rows(rng: np.random.Generator) -> NDArray[Any]:
    return np.sort(rng.integers(0, 60000, SHAPE).ravel()).reshape(SHAPE)


def dark_where_sampled(rng: np.random.Generator) -> NDArray[Any]:
    image = rng.integers(1, 60000, SHAPE)
    step = image.size // SAMPLE
    image[step // 2 :: step] = 0
    return image


def one_value(rng: np.random.Generator) -> NDArray[Any]:
    return np.full(SHAPE, 200)


def one_bright_pixel(rng: np.random.Generator) -> NDArray[Any]:
    image = np.zeros(SHAPE)
    image[3, 3] = 77
    return image


@pytest.mark.parametrize("percentile", PERCENTILES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("make", [noise, sorted_rows, dark_where_sampled, one_value, one_bright_pixel])
def test_it_is_numpys(make: Any, dtype: Any, percentile: float) -> None:
    image = make(np.random.default_rng(1))
    levels = (image / 256 if dtype is np.uint8 and image.max() > 255 else image).astype(dtype)
    counts = np.zeros(COUNTERS, np.int64)
    assert percentile_of(levels, percentile, counts) == np.percentile(levels[levels > 0], percentile)


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    largest=st.sampled_from([1, 3, 200, 65535]),
    share=st.sampled_from([0.01, 0.5, 1.0]),
    percentile=st.floats(0, 100),
)
def test_it_is_numpys_for_any_share_of_zeros(seed: int, largest: int, share: float, percentile: float) -> None:
    rng = np.random.default_rng(seed)
    levels = (rng.integers(1, largest + 1, SHAPE) * (rng.random(SHAPE) < share)).astype(np.uint16)
    expected = np.percentile(levels[levels > 0], percentile)
    assert percentile_of(levels, percentile, np.zeros(COUNTERS, np.int64)) == expected


def test_a_black_frame_has_none() -> None:
    assert np.isnan(percentile_of(np.zeros(SHAPE, np.uint16), 50.0, np.zeros(COUNTERS, np.int64)))
