"""A background that follows the run: the median is numpy's, and no frame counts that was not there whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from engine.errors import SettingsError
from engine.workers.median import median_of
from engine.workers.moving_background import Collector, load_background, path_of, write


@settings(deadline=None)  # the first example compiles
@given(
    arrays.arrays(
        st.sampled_from([np.uint8, np.uint16]),
        st.tuples(st.integers(1, 9), st.integers(1, 5), st.sampled_from([1, 7, 64, 130, 300])),
    )
)
def test_the_median_is_numpys_for_odd_and_even_numbers_of_frames(stack: np.ndarray) -> None:
    assert np.array_equal(median_of(stack), np.median(stack, axis=0).astype(np.float32))


def test_floats_are_refused() -> None:
    with pytest.raises(ValueError, match="float64"):
        median_of(np.zeros((3, 4, 4)))


def test_frames_are_spread_over_the_time_and_one_that_was_overwritten_does_not_count() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 4000, (5, 6, 7)).astype(np.uint16)
    collector = Collector(3, (6, 7), np.uint16, every_s=10.0)
    collector.copy(frames[0])  # overwritten in the ring meanwhile: not kept
    for n, now in enumerate((100.0, 110.0, 121.0)):
        assert collector.is_due(now)
        assert collector.median() is None
        collector.copy(frames[n + 1])
        collector.keep(now)
        assert not collector.is_due(now)
    assert collector.is_due(130.0)  # a late frame does not push the others back
    found = collector.median()
    assert found is not None
    assert found.dtype == np.uint16
    assert np.array_equal(found, np.median(frames[1:4], axis=0))
    assert collector.median() is None
    assert not collector.is_due(129.0)
    assert collector.is_due(50.0)  # a recording that is played again from its start
    collector.copy(frames[4])
    collector.keep(50.0)
    assert [collector.is_due(t) for t in (59.0, 60.0)] == [False, True]


def test_backgrounds_are_numbered_and_none_is_written_over(tmp_path: Path) -> None:
    first, second = np.full((2, 3), 7, np.uint16), np.full((2, 3), 8.5, np.float32)
    assert write(first, tmp_path) == path_of(tmp_path, 1)
    assert write(second, tmp_path) == path_of(tmp_path, 2)
    assert np.array_equal(load_background(path_of(tmp_path, 1)), first)
    assert np.array_equal(load_background(path_of(tmp_path, 2)), second)
    assert sorted(p.name for p in (tmp_path / "background").iterdir()) == [
        "background_000001.npy", "background_000002.npy",
    ]  # fmt: skip
    with pytest.raises(SettingsError, match="background_000003"):
        load_background(path_of(tmp_path, 3))
