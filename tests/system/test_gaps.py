"""Frames that the camera left out, and a camera counter that starts again: time stays true, identities too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.system.comparing import assert_same_partition, diffusion_px2_s, linked
from tests.system.running import Ended, Laboratory

FPS, SEARCH_RANGE, MEMORY = 100.0, 6, 6
SETTINGS: dict[str, dict[str, Any]] = {
    "experiment": {"max_lost": 5},
    "camera": {"width": 320, "height": 240, "dtype": "uint16", "fps": FPS},
    "tracking": {"diameter": 11, "separation": 12, "minmass": 2000, "percentile": 64},
    "linking": {"search_range": SEARCH_RANGE, "memory": MEMORY},
}
CAMERA = "simulated?live=false&beads=40&seed=3&margin_px=20"


def run_of(lab: Laboratory, options: str, frames: int) -> Ended:
    ended = lab.run(lab.settings(SETTINGS), "--source", f"{CAMERA}&frames={frames}{options}")
    assert ended.status == 0, ended.stderr
    return ended


def assert_trackpys_partition(ended: Ended) -> None:
    tracks = ended.record.tracks
    assert_same_partition(tracks["particle"].to_numpy(), linked(tracks, SEARCH_RANGE, MEMORY))


@pytest.fixture(scope="module")
def gap(shared_lab: Laboratory) -> Ended:
    """A run without the counters 100 to 104."""
    return run_of(shared_lab, "&skip=100-104", 200)


def test_counters_that_the_camera_left_out_stay_holes_in_time(gap: Ended) -> None:
    """`frame` jumps by 6, five rows say where they were lost."""
    ended = gap
    assert ended.counts == (195, 195, 195, 5)
    record = ended.record
    table = record.frames_table
    assert list(table["frame"]) == list(range(200))
    lost = table[table["state"] == "lost"]
    assert list(lost["frame"]) == [100, 101, 102, 103, 104]
    assert set(lost["step"]) == {"camera"}
    assert set(lost["cause"]) == {"skipped by the camera"}
    assert ended.summary["lost"] == [{"first": 100, "last": 104, "step": "camera", "cause": "skipped by the camera"}]
    steps = {step["step"]: step for step in ended.summary["accounting"]}
    assert (steps["camera"]["arrived"], steps["camera"]["lost"], steps["recorder"]["out"]) == (200, 5, 195)
    present = np.unique(record.tracks["frame"])
    assert set(np.diff(present)) == {1, 6}
    assert present[np.argmax(np.diff(present))] == 99
    assert_trackpys_partition(ended)
    across = record.tracks[record.tracks["frame"].isin([99, 105])].groupby("particle").size()
    assert (across == 2).sum() >= 35, "identities go on across the gap"


def test_diffusion_does_not_notice_the_gap(gap: Ended, lab: Laboratory) -> None:
    """D from the mean squared displacement is within 1 % of that of the run without the gap."""
    undisturbed = run_of(lab, "", 200)
    assert undisturbed.counts == (200, 200, 200, 0)
    with_gap, without = diffusion_px2_s(gap.record.tracks, FPS), diffusion_px2_s(undisturbed.record.tracks, FPS)
    assert with_gap == pytest.approx(without, rel=0.01)


def test_velocities_across_a_gap_use_the_time_that_has_passed(gap: Ended) -> None:
    """A particle that came back after 6 frames has moved for 60 ms."""
    tracks = gap.record.tracks.set_index(["particle", "frame"])
    back = tracks.xs(105, level="frame")
    before = tracks.xs(99, level="frame").reindex(back.index)
    moved = (back["x"] - before["x"]) / (6 / FPS)
    both = moved.notna()
    assert both.sum() >= 35
    np.testing.assert_allclose(back["vx"][both], moved[both], rtol=1e-4, atol=1e-3)


def test_a_counter_that_starts_again_opens_another_sequence(lab: Laboratory) -> None:
    """No link across, no frame number used twice, and an event says so."""
    ended = run_of(lab, "&restart=40", 100)
    assert ended.counts == (100, 100, 100, 0)
    record = ended.record
    table = record.frames_table
    assert list(table["frame"]) == list(range(100))
    assert list(table["counter"]) == [*range(40), *range(40), *range(20)]
    assert list(table["sequence"]) == [0] * 40 + [1] * 40 + [2] * 20
    sequence_of = table.set_index("frame")["sequence"]
    tracks = record.tracks.assign(sequence=record.tracks["frame"].map(sequence_of))
    assert tracks.groupby("particle")["sequence"].nunique().max() == 1
    assert tracks.groupby("sequence").size().min() > 0
    first_rows = tracks[tracks["frame"] == 40]
    assert first_rows["vx"].isna().all()
    assert (first_rows["age"] == 0).all()
    assert list(record.events["kind"]).count("sequence") == 2
    for _, part in tracks.groupby("sequence"):
        assert_same_partition(part["particle"].to_numpy(), linked(part, SEARCH_RANGE, MEMORY))
