"""The answer does not depend on how the work was cut, in which order it was done, or how often."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import engine
from engine.errors import SettingsError
from engine.rows import FILTERS, RESULT_META, ROW
from engine.workers.centroids import CentroidDetector
from engine.workers.parameters import LocateParameters
from engine.workers.tiling import check_overlap, choose_tile, cut, overlap_needed
from tests import recordings
from tests.made_frames import frames, in_silence, spots


def parameters(image: NDArray[Any], **options: Any) -> LocateParameters:
    diameter = options.pop("diameter", 11)
    settings_ = LocateParameters(
        shape_hw=(image.shape[0], image.shape[1]),
        dtype=image.dtype.name,
        diameter=(diameter, diameter),
        separation=(diameter + 1.0, diameter + 1.0),
        smoothing_size=(diameter, diameter),
    )
    return replace(settings_, **options)


class Bench:
    """One detector with its memory, reused frame after frame as in a run."""

    def __init__(
        self, settings_: LocateParameters, tile: tuple[int, int] | None = None, max_particles: int = 2000
    ) -> None:
        self.detector = CentroidDetector(settings_, tile)
        self.scratch = np.zeros(self.detector.scratch_bytes, np.uint8)
        self.rows = np.zeros(max_particles, ROW)
        self.meta = np.zeros(1, RESULT_META)

    def track(self, image: NDArray[Any], order: Any = None, twice: bool = False) -> tuple[bytes, bytes]:
        """Do all units of a frame, in raster order or as `order` shuffles them; the bytes of its rows and record."""
        self.rows.view(np.uint8)[:] = 0
        self.meta.view(np.uint8)[:] = 0
        self.meta["frame"] = 41
        for number, step in enumerate(self.detector.steps):
            tiles = [0] if step.whole else list(range(self.detector.tiles))
            if order is not None:
                order.shuffle(tiles)
            for tile in tiles * 2 if twice else tiles:
                self.detector.run(number, tile, image, self.scratch, self.rows, self.meta)
        return self.rows.tobytes(), self.meta.tobytes()


TILES = [(64, 64), (256, 256), (37, 53), (1, 200), (200, 7), (19, 1000)]


@pytest.mark.parametrize("tile", TILES, ids=str)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_tiles_of_any_size_give_the_same_bytes(tile: tuple[int, int], dtype: str) -> None:
    image = spots((211, 307), 60, 2, peak=700 if dtype == "uint16" else 120, hot=5, dtype=dtype)
    settings_ = parameters(image)
    assert Bench(settings_, tile).track(image) == Bench(settings_).track(image)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_last_tiles_that_lie_within_the_margin_find_nothing(dtype: str) -> None:
    for seed in range(6):
        image = np.random.default_rng(seed).integers(0, 250, (98, 98)).astype(dtype)
        settings_ = parameters(image, diameter=21)
        whole = Bench(settings_).track(image)
        for tile in ((98, 31), (31, 98), (93, 30), (89, 89)):  # the last begins off the grid, in the margin
            assert Bench(settings_, tile).track(image) == whole


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    image=frames(),
    tile=st.tuples(st.integers(5, 140), st.integers(5, 140)),
    diameter=st.sampled_from([3, 7, 11, 21]),
    invert=st.booleans(),
    preprocess=st.sampled_from([True, True, False]),
    order=st.randoms(use_true_random=False),
)
def test_any_frame_any_tiles_any_order(
    image: Any, tile: tuple[int, int], diameter: int, invert: bool, preprocess: bool, order: Any
) -> None:
    settings_ = parameters(image, diameter=diameter, invert=invert, preprocess=preprocess)
    whole = Bench(settings_).track(image)
    cut_up = Bench(settings_, tile)
    assert cut_up.track(image, order) == whole
    assert cut_up.track(image, order, twice=True) == whole


def test_memory_used_by_another_frame_before_changes_nothing() -> None:
    image, other = spots((150, 170), 30, 1), spots((150, 170), 90, 2, peak=9000)
    bench = Bench(parameters(image), (64, 64))
    first = bench.track(image)
    bench.track(other)
    bench.track(np.zeros_like(image))
    assert bench.track(image) == first


def test_two_processes_may_share_the_units_of_a_frame() -> None:
    """Detectors hold nothing of a frame that is not in the shared memory."""
    image = spots((150, 170), 30, 1)
    one, two = Bench(parameters(image), (64, 64)), Bench(parameters(image), (64, 64))
    expected = one.track(image)
    one.rows.view(np.uint8)[:] = 0
    one.meta.view(np.uint8)[:] = 0
    one.meta["frame"] = 41
    one.scratch[:] = 0
    for number, step in enumerate(one.detector.steps):
        for tile in [0] if step.whole else range(one.detector.tiles):
            worker = (one, two)[(number + tile) % 2]
            worker.detector.run(number, tile, image, one.scratch, one.rows, one.meta)
    assert (one.rows.tobytes(), one.meta.tobytes()) == expected


def test_rows_are_what_locate_finds_in_the_whole_frame() -> None:
    image = spots((211, 307), 60, 2)
    bench = Bench(parameters(image, minmass=50.0), (64, 64))
    bench.track(image)
    rows = bench.rows[: int(bench.meta["rows"][0])]
    expected, _ = in_silence(engine.locate, image, 11, minmass=50)
    assert len(rows) == len(expected)
    np.testing.assert_array_equal(rows["x"], expected["x"])
    np.testing.assert_array_equal(rows["y"], expected["y"])
    for column in ("mass", "size", "ecc", "signal", "raw_mass", "ep"):
        np.testing.assert_array_equal(rows[column], expected[column].astype(np.float32))
    assert set(rows["frame"]) == {41}
    assert set(rows["particle"]) == {-1}
    assert np.isnan(rows["vx"]).all()
    assert np.isnan(rows["vy"]).all()


def test_more_maxima_than_a_tile_has_room_for_are_all_found() -> None:
    """Half a frame of one value, half of another, not band-passed: every pixel of the brighter half is a maximum."""
    image = np.full((160, 160), 10, np.uint8)
    image[:, 80:] = 200
    settings_ = parameters(image, diameter=3, preprocess=False, separation=(9.0, 9.0), percentile=10.0)
    expected, _ = in_silence(engine.locate, image, 3, preprocess=False, separation=9, percentile=10)
    image_hits = {}
    for tile in [None, (64, 64), (37, 53)]:
        bench = Bench(settings_, tile)
        image_hits[tile] = bench.track(image)
        assert bench.meta["rows"][0] == len(expected)
    assert len(set(image_hits.values())) == 1


def test_beyond_max_particles_the_weakest_go_and_are_counted() -> None:
    image = spots((211, 307), 60, 2)
    everything = Bench(parameters(image))
    everything.track(image)
    total = int(everything.meta["rows"][0])
    few = Bench(parameters(image), (64, 64), max_particles=20)
    few.track(image)
    assert few.meta["rows"][0] == 20
    assert few.meta["overflow"][0] == total - 20
    rows = everything.rows[:total]
    strongest = np.sort(np.argsort(-rows["mass"], kind="stable")[:20])
    np.testing.assert_array_equal(few.rows["x"], rows["x"][strongest])


def test_each_filter_counts_what_it_alone_removed() -> None:
    image = spots((211, 307), 60, 2, hot=20)
    all_of_them = Bench(parameters(image))
    all_of_them.track(image)
    rows = all_of_them.rows[: int(all_of_them.meta["rows"][0])].astype(ROW)
    limits = {
        "minmass": np.percentile(rows["mass"], 30),
        "maxmass": np.percentile(rows["mass"], 95),
        "max_ecc": 0.4,
        "minsize": np.percentile(rows["size"], 10),
        "maxsize": np.percentile(rows["size"], 90),
        "min_signal": np.percentile(rows["signal"], 40),
    }
    bench = Bench(parameters(image, **{name: float(limit) for name, limit in limits.items()}), (64, 64))
    bench.track(image)
    meta = bench.meta[0]
    keep = rows["mass"] > limits["minmass"]
    # Of what is too faint, pairs too close to each other are not sorted out.
    assert meta["removed_minmass"] >= (~keep).sum()
    assert meta["found"] - meta["removed_minmass"] == keep.sum()
    assert meta["rows"] + sum(int(meta[f"removed_{name}"]) for name in FILTERS) == meta["found"]
    assert all(meta[f"removed_{name}"] > 0 for name in ("minmass", "maxmass", "max_ecc"))
    left = bench.rows[: int(meta["rows"])]
    assert (left["mass"] < limits["maxmass"]).all()
    assert (left["ecc"] < 0.4).all()


SENSORS = [
    ("uint8", 0, False, 255),
    ("uint16", 12, False, 4095),
    ("uint16", 12, True, 0xFFF0),
    ("uint16", 16, False, 65535),
]


@pytest.mark.parametrize("dtype, bits, high_aligned, limit", SENSORS)
def test_pixels_at_the_sensors_limit_are_counted(dtype: str, bits: int, high_aligned: bool, limit: int) -> None:
    image = spots((100, 120), 0, 4, background=limit / 20, dtype=dtype)
    image[40:43, 50:53] = limit
    image[80, 100] = limit - 1
    bench = Bench(parameters(image, bits=bits, high_aligned=high_aligned), (50, 50))
    bench.track(image)
    assert bench.meta["saturated"][0] == 9
    rows = bench.rows[: int(bench.meta["rows"][0])]
    near = np.hypot(rows["x"] - 51, rows["y"] - 41) < 1
    assert rows["saturated"][near].tolist() == [9]
    assert rows["saturated"].sum() == 9


@pytest.mark.parametrize("number", [0, 150, 299])
def test_real_frames_in_tiles(number: int) -> None:
    image = recordings.frames(recordings.BULK_WATER)[number]
    settings_ = parameters(image, invert=True, minmass=20.0, max_ecc=1e9)
    whole = Bench(settings_).track(image)
    for tile in [(64, 64), (256, 256), (53, 640)]:
        assert Bench(settings_, tile).track(image) == whole


# --- tiles themselves -------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    shape=st.tuples(st.integers(1, 300), st.integers(1, 300)), tile=st.tuples(st.integers(1, 400), st.integers(1, 400))
)
def test_cores_cover_every_pixel_once(shape: tuple[int, int], tile: tuple[int, int]) -> None:
    covered = np.zeros(shape, int)
    for core in cut(shape, tile):
        covered[core.y0 : core.y1, core.x0 : core.x1] += 1
    assert (covered == 1).all()


@settings(deadline=None)
@given(height=st.integers(1, 4096), width=st.integers(1, 4096), workers=st.integers(1, 64))
def test_a_chosen_tile_fits_the_frame(height: int, width: int, workers: int) -> None:
    rows, columns = choose_tile((height, width), workers)
    assert 1 <= rows <= height
    assert columns == width
    assert rows == height or workers > 2


@pytest.mark.parametrize(
    ("side", "workers", "rows"),
    [(2048, 1, 2048), (2048, 2, 2048), (2048, 3, 344), (2048, 4, 256), (512, 4, 512), (1024, 4, 256)],
)
def test_few_workers_and_small_frames_take_whole_ones(side: int, workers: int, rows: int) -> None:
    assert choose_tile((side, side), workers) == (rows, side)


def test_too_small_an_overlap_is_refused_with_the_number_that_is_needed() -> None:
    image = np.zeros((512, 512), np.uint16)
    settings_ = parameters(image, diameter=21, separation=(18.0, 18.0))
    needed = overlap_needed(settings_)
    assert needed <= 32
    check_overlap(0, settings_)
    check_overlap(32, settings_)
    with pytest.raises(SettingsError, match=f"tile_overlap: 8 is too small.*need {needed}"):
        check_overlap(8, settings_)


def test_warm_compiles_what_a_frame_needs() -> None:
    """And runs on any settings, frames smaller than a feature included."""
    for image in (np.zeros((8, 8), np.uint8), np.zeros((300, 200), np.uint16)):
        CentroidDetector(parameters(image, diameter=21)).warm()


# --- single precision -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tile", TILES, ids=str)
def test_single_precision_does_not_depend_on_tiles_either(tile: tuple[int, int]) -> None:
    image = spots((211, 307), 60, 2, hot=5)
    settings_ = parameters(image, precision="single")
    assert Bench(settings_, tile).track(image) == Bench(settings_).track(image)


def test_single_precision_finds_the_same_particles() -> None:
    image = spots((700, 600), 150, 7, sigma=3.8, peak=2500)
    rows = {}
    for precision in ("double", "single"):
        bench = Bench(parameters(image, diameter=21, percentile=14.0, precision=precision))
        bench.track(image)
        rows[precision] = bench.rows[: int(bench.meta["rows"][0])].copy()
    double, single = rows["double"], rows["single"]
    real = 3 * np.median(double["mass"])
    assert (single["mass"] > real).sum() == (double["mass"] > real).sum() > 50
    apart = np.hypot(double["x"][:, None] - single["x"], double["y"][:, None] - single["y"]).min(axis=1)
    assert (apart < 1e-4).mean() >= 0.999
    assert apart[double["mass"] > real].max() < 1e-4
