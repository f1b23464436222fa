"""Levels are those of trackpy's band-pass to the bit, and what is noted of them from afar is true."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import trackpy.preprocessing
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.workers import box_means, overview
from engine.workers.bandpass import STRIP
from engine.workers.centroids import FINISH, STEPS, CentroidDetector
from engine.workers.parameters import LocateParameters


def detected(image: NDArray[Any], box: int, tile_hw: tuple[int, int] | None = None) -> dict[str, NDArray[Any]]:
    """What the steps before the last one leave in the scratch memory."""
    parameters = LocateParameters(
        shape_hw=(image.shape[0], image.shape[1]),
        dtype=image.dtype.name,
        diameter=(3, 3),
        separation=(11.0, 11.0),
        smoothing_size=(box, box),
        percentile=64.0,
    )
    detector = CentroidDetector(parameters, tile_hw)
    scratch = np.full(detector.scratch_bytes, 0xA5, np.uint8)  # nobody counts on zeros
    for number, step in enumerate(STEPS[:FINISH]):
        for tile in range(1 if step.whole else detector.tiles):
            detector.run(number, tile, image, scratch, np.zeros(0), None)
    return detector._layout.views(scratch)


def levels_of_trackpy(image: NDArray[Any], box: int) -> NDArray[Any]:
    band = trackpy.preprocessing.bandpass(image, 1, box, 1)
    scale = np.iinfo(image.dtype).max / band.max() if band.max() > 0 else 1.0
    levels: NDArray[Any] = (scale * band).astype(image.dtype)
    return levels


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(12, 90), st.integers(12, 200)),
    box=st.sampled_from([3, 5, 7, 11, 21, 31, 63]),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    bright=st.sampled_from([255, 3000, 65535]),
    seed=st.integers(0, 99),
)
def test_levels_are_trackpys_where_sums_fit_in_16_bits_and_where_they_do_not(
    shape: tuple[int, int], box: int, dtype: Any, bright: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    image = rng.poisson(100, shape).astype(dtype)
    y, x = rng.integers(0, shape[0]), rng.integers(0, shape[1])
    image[y : y + 9, x : x + 9] = min(bright, np.iinfo(dtype).max)  # in some rows of some strips only
    assert np.array_equal(detected(image, box)["levels"], levels_of_trackpy(image, box))


@pytest.mark.parametrize("width", [STRIP, STRIP + 1, STRIP + 31, 2 * STRIP + 33])
@pytest.mark.parametrize("box", [7, 31])
def test_a_frame_wider_than_a_strip_has_no_seam(width: int, box: int) -> None:
    rng = np.random.default_rng(width)
    image = rng.poisson(100, (40, width)).astype(np.uint16)
    for x in (STRIP - 5, width - 9):
        image[15:24, x : x + 9] = 3000
    assert np.array_equal(detected(image, box)["levels"], levels_of_trackpy(image, box))


@given(size=st.integers(2, 120).map(lambda half: 2 * half + 1))
def test_a_division_by_a_product_is_exact_up_to_its_limit(size: int) -> None:
    factor, places, _, _, limit = box_means.Divisors.of(size, size)
    sums = np.arange(limit + 1, dtype=np.uint64)
    assert limit > 30_000 or size < 3
    assert np.array_equal((sums * np.uint64(factor)) >> np.uint64(16 + places), sums // np.uint64(size))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("tile_hw", [None, (64, 128), (50, 70)])
@pytest.mark.parametrize("shape", [(100, 130), (97, 256), (64, 31), (131, 100)])
def test_marks_cells_and_their_sums_are_those_of_the_levels(
    dtype: Any, tile_hw: tuple[int, int] | None, shape: tuple[int, int]
) -> None:
    image = np.random.default_rng(1).poisson(60, shape).astype(dtype)
    areas = detected(image, 11, tile_hw)
    levels = areas["levels"]
    height, width = shape
    bits = np.unpackbits(areas["marks"].view(np.uint8), axis=1, bitorder="little")[:, :width]
    assert np.array_equal(bits.astype(bool), levels != 0)
    dropped = overview.DROPPED if dtype == np.uint16 else 0
    for y in range(0, height, overview.CELL):
        for x in range(0, width, overview.CELL):
            block = levels[y : y + overview.CELL, x : x + overview.CELL]
            place = y // overview.CELL, x // overview.CELL
            assert areas["cells"][place] == block.max()
            assert areas["cell_sums"][place] == (block.astype(np.int64) >> dropped).sum()
    assert not areas["cell_sums"][:, -overview.SPARE_SUMS :].any()
