"""The recording of spheres in water, through a whole run: trackpy's features, trackpy's tracks, water's viscosity."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import trackpy

from engine.rows import ROW
from tests import recordings
from tests.system.comparing import assert_same_partition, located, matched
from tests.system.running import BULK_WATER, Ended, Laboratory

EXAMPLE = Path(__file__).parents[2] / "examples" / "viscosity.py"


@pytest.fixture(scope="module")
def run(shared_lab: Laboratory) -> Ended:
    recordings.frames(recordings.BULK_WATER)  # skips, and says so, where it is absent
    ended = shared_lab.run(shared_lab.settings(BULK_WATER), "--source", recordings.BULK_WATER)
    assert ended.status == 0, ended.stderr
    return ended


@pytest.fixture(scope="module")
def theirs(run: Ended) -> pd.DataFrame:
    """trackpy's features in all 300 frames, linked."""
    features = located(recordings.frames(recordings.BULK_WATER), 11, minmass=20, invert=True)
    return trackpy.link(features, 5, memory=2)


def test_every_frame_is_received_tracked_and_recorded(run: Ended) -> None:
    assert run.counts == (300, 300, 300, 0)
    assert run.summary["restarts"] == {}
    assert {"run_folder", "fps", "features_mean"} <= set(run.summary)
    latency = run.summary["latency_ms"]
    assert 0 < latency["p50"] <= latency["p99"] <= latency["max"]
    table = run.record.frames_table
    assert list(table["frame"]) == list(range(300))
    assert set(table["state"]) == {"tracked"}
    assert run.summary["features_mean"] == pytest.approx(table["rows"].mean(), abs=1e-3)
    accounting = run.record.accounting
    assert (accounting["in"] == accounting["out"] + accounting["lost"] + accounting["in_flight"]).all()
    assert (accounting["out"] == 300).all()


@pytest.mark.timeout(300)
def test_features_and_tracks_are_those_of_trackpy(run: Ended, theirs: pd.DataFrame) -> None:
    """All 300 frames, one to one within 1e-3 px; the same partition into particles."""
    ours = run.record.tracks
    other = theirs.iloc[matched(ours, theirs)]
    assert_same_partition(ours["particle"].to_numpy(), other["particle"].to_numpy())
    for column in ("mass", "size", "ecc", "signal", "raw_mass"):
        np.testing.assert_allclose(ours[column], other[column], rtol=1e-5, atol=1e-6, err_msg=column)


def test_the_tracks_give_the_viscosity_of_water(run: Ended, tmp_path: Path) -> None:
    picture = tmp_path / "msd.png"
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), str(run.folder), "--plot", str(picture)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert float(done.stdout.split()[1]) == pytest.approx(1.0, rel=0.2)
    assert picture.stat().st_size > 10_000


def test_pandas_and_plain_h5py_read_the_file(run: Ended) -> None:
    path = next(run.folder.glob("tracking_run_*.h5"))
    assert importlib.util.find_spec("tables")
    tracks = pd.read_hdf(path, "tracks")
    pd.testing.assert_frame_equal(tracks.reset_index(drop=True), run.record.tracks)
    with h5py.File(path, "r") as file:
        assert file["tracks"].dtype == ROW
        assert file["tracks"].shape == (len(tracks),)
        assert file["frames"].shape == (300,)
        assert {"tracks", "frames", "events", "metadata", "accounting"} <= set(file)


def test_the_folder_holds_what_its_readme_says(run: Ended) -> None:
    names = {path.name for path in run.folder.iterdir()}
    assert {"tracking_run_001.h5", "experiment.toml", "run.json", "log.jsonl", "README.txt"} <= names
    assert not [name for name in names if ".part" in name or name.endswith((".tmp", "~"))]
