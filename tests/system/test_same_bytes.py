"""Results do not depend on how the work was cut: the same bytes for any number of workers and any tiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests import recordings
from tests.system.comparing import assert_same_partition, linked, located, matched
from tests.system.running import BULK_WATER, Ended, Laboratory, diffusing

SHAPE_HW, FRAMES = (200, 310), 30
MADE: dict[str, dict[str, Any]] = {
    "camera": {"width": SHAPE_HW[1], "height": SHAPE_HW[0], "dtype": "uint16", "fps": 50},
    "tracking": {"diameter": 11, "separation": 12, "minmass": 400, "percentile": 64, "max_ecc": 0},
    "linking": {"search_range": 6, "memory": 2},
}
WHOLE = (4096, 4096)
QUICK = [(1, WHOLE), (2, (64, 64)), (7, (96, 80))]
ALL = [(workers, tile) for workers in (1, 2, 3, 7) for tile in ((64, 64), (256, 256), WHOLE)]


def made() -> NDArray[Any]:
    """Frames of two bytes a pixel; one is black, one is without spots, one has a hot pixel."""
    frames = diffusing(90, FRAMES, SHAPE_HW, seed=5)
    frames[11] = 0
    frames[17] = np.random.default_rng(6).poisson(20, SHAPE_HW)
    frames[23, 100, 150] = 65535
    return frames


def run_cut(
    lab: Laboratory, settings: dict[str, dict[str, Any]], frames: NDArray[Any], workers: int, tile: tuple[int, int]
) -> Ended:
    height, width = tile
    path = lab.settings(
        settings, tracking={**settings["tracking"], "workers": workers, "tile_height": height, "tile_width": width}
    )
    ended = lab.run(path, "--source", lab.stack(frames), timeout_s=240)
    assert ended.status == 0, ended.stderr
    assert ended.counts == (len(frames), len(frames), len(frames), 0)
    return ended


def assert_all_the_same(
    lab: Laboratory, settings: dict[str, dict[str, Any]], frames: NDArray[Any], cuts: list[tuple[int, tuple[int, int]]]
) -> Ended:
    first = run_cut(lab, settings, frames, *cuts[0])
    expected = first.tracks_bytes
    assert expected
    for workers, tile in cuts[1:]:
        assert run_cut(lab, settings, frames, workers, tile).tracks_bytes == expected, (workers, tile)
    return first


def test_made_frames_come_out_the_same_however_they_are_cut_and_as_trackpy_has_them(lab: Laboratory) -> None:
    frames = made()
    tracks = assert_all_the_same(lab, MADE, frames, QUICK).record.tracks
    theirs = located(frames, 11, separation=12, minmass=400, percentile=64)
    matched(tracks, theirs)
    assert_same_partition(tracks["particle"].to_numpy(), linked(tracks, 6, 2))


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_made_frames_with_every_number_of_workers_and_tiles(lab: Laboratory) -> None:
    assert_all_the_same(lab, MADE, made(), ALL)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_water_with_every_number_of_workers_and_tiles(lab: Laboratory) -> None:
    assert_all_the_same(lab, BULK_WATER, recordings.frames(recordings.BULK_WATER)[:40], ALL)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_faint_spots_of_a_16_bit_camera(lab: Laboratory) -> None:
    """Few grey values above a high background: plateaus, ties, and neighbours at every seam."""
    settings: dict[str, dict[str, Any]] = {
        "camera": {"width": 512, "height": 512, "dtype": "uint16", "fps": 10},
        "tracking": {"diameter": 9, "separation": 10, "minmass": 60, "percentile": 64, "max_ecc": 0},
        "linking": {"search_range": 3, "memory": 1},
    }
    frames = recordings.frames(recordings.STUCK)
    tracks = assert_all_the_same(lab, settings, frames, [(1, WHOLE), (3, (64, 64)), (2, (256, 256))]).record.tracks
    matched(tracks, located(frames, 9, minmass=60))
