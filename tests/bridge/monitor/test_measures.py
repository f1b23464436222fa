"""What the monitor computes: against cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from bridge.monitor import measures
from bridge.monitor.flow_panels import statistics_text
from bridge.monitor.memory import MOST_FRAMES, Memory
from bridge.monitor.pixels import on_screen
from tests.bridge.monitor.made_feed import rows_at


@pytest.mark.parametrize(("most", "bar"), [(130, 100), (99, 50), (4.9, 2), (0.021, 0.02), (1, 1), (0, 0)])
def test_a_scale_bar_is_the_longest_round_length(most: float, bar: float) -> None:
    assert measures.bar_length(most) == pytest.approx(bar)


def test_focus_is_lost_by_blur_and_not_by_light() -> None:
    rng = np.random.default_rng(1)
    sharp = rng.uniform(100, 200, (64, 64))
    blurred = (sharp + np.roll(sharp, 1, 0) + np.roll(sharp, 1, 1) + np.roll(sharp, (1, 1), (0, 1))) / 4
    assert measures.laplacian_variance(blurred) < 0.5 * measures.laplacian_variance(sharp)
    assert measures.laplacian_variance(3 * sharp) == pytest.approx(measures.laplacian_variance(sharp), rel=1e-4)
    assert measures.laplacian_variance(np.zeros((2, 2))) == 0.0


def test_greys_go_from_black_to_white_between_the_levels() -> None:
    table = measures.grey_table(100, 300, 0.0, 1.0)
    assert list(table[[50, 100, 200, 300, 400]]) == [0, 0, 127, 255, 255]
    assert measures.grey_table(100, 300, 0.5, 1.0)[100] == 127
    assert measures.grey_table(100, 300, 0.0, 2.0)[150] == 0


def test_the_displacement_of_diffusion_grows_with_the_lag() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(0, 0.5, (2, 4000, 20)).cumsum(axis=1)
    x[100:120] = np.nan  # not seen for a while
    lags = measures.spaced_lags(400)
    found = measures.displacement(x, y, lags)
    np.testing.assert_allclose(found, 4 * 0.125 * lags, rtol=0.15)


def test_series_leave_holes_where_a_particle_was_not_seen() -> None:
    frames = [(5, rows_at(5, [(1, 2), (3, 4)])), (7, rows_at(7, [(1.5, 2.5)]))]
    first, x, y = measures.series(frames, np.array([1, 0]))
    assert first == 5
    np.testing.assert_array_equal(x, [[3, 1], [np.nan, np.nan], [np.nan, 1.5]])
    np.testing.assert_array_equal(y, [[4, 2], [np.nan, np.nan], [np.nan, 2.5]])


def test_the_memory_is_bounded_and_starts_over_with_another_run(tmp_path) -> None:
    memory = Memory()
    for frame in range(MOST_FRAMES + 10):
        memory.add(frame, rows_at(frame, [(frame * 0.01, 5.0)]))
    assert len(memory.frames) == MOST_FRAMES
    trail = memory.trails(frames=40)[0]
    assert trail.shape == (40, 2)
    assert memory.write_csv(tmp_path / "tracks.csv") == MOST_FRAMES
    head, first = (tmp_path / "tracks.csv").read_text().splitlines()[:2]
    assert head.startswith("frame,particle,x,y,mass")
    assert first.startswith("10,0,")
    memory.add(0, rows_at(0, [(1, 1)]))
    assert memory.newest == 0
    assert len(memory.frames) == 1


def test_the_sharpness_of_another_view_is_no_measure_for_this_one() -> None:
    memory, rows = Memory(), rows_at(0, [(5, 5)])
    pixels = np.random.default_rng(1).integers(0, 99, (64, 64)).astype(np.uint16)
    for seconds, view in ((1.0, (2, (0, 0))), (2.0, (2, (0, 0))), (3.0, (1, (8, 8)))):
        memory.add_focus(seconds, rows, pixels, view)
    sizes, _, sharpness = np.transpose(memory.focus)
    assert np.isfinite(sizes).all()
    assert np.isnan(sharpness[:2]).all()
    assert sharpness[2] > 0


def test_statistics_are_in_pixels_and_where_calibrated_in_micrometres() -> None:
    rows = rows_at(0, [(10, 20), (30, 20)])
    calibrated = {
        line.split()[0] + line.split()[1]: line.split()[-4:] for line in statistics_text(rows, 0.1).splitlines()[2:]
    }
    assert calibrated["xpx"] == ["20", "10", "10", "30"]
    assert calibrated["xµm"] == ["2", "1", "1", "3"]
    assert "µm" not in statistics_text(rows, 0.0)


def test_pixels_of_the_screen_show_the_nearest_of_the_picture() -> None:
    grey = np.array([[10, 20], [30, 40]], np.uint8)  # of 4 x 4 camera pixels, from (8, 12) on
    over = np.array([[False, False], [False, True]])
    left, top, rgba = on_screen(grey, over, (8, 12), 2, (9.5, 19.5, 7.5, 12.5), (20, 10))
    assert (left, top) == (4, 0)
    assert rgba.shape == (8, 8, 4)
    assert rgba[0, 0].tolist() == [10, 10, 10, 255]
    assert rgba[3, 3, 0] == 10
    assert rgba[4, 3, 0] == 30
    assert rgba[4, 4].tolist() == [255, 40, 40, 255]
    assert on_screen(grey, None, (8, 12), 2, (100, 110, 0, 10), (20, 20))[2].size == 0


def test_axes_stay_where_they_are_while_the_values_fill_them() -> None:
    assert measures.sticky((0.0, 10.0), 1.0, 9.0) == (0.0, 10.0)
    assert measures.sticky((0.0, 10.0), 1.0, 11.0)[1] > 11
    assert measures.sticky((0.0, 10.0), 1.0, 2.0)[1] < 3
    low, high = measures.sticky((1.0, 10.0), 0.1, 1000.0, logarithmic=True)
    assert low < 0.1 < 1000 < high
