"""Tables from XDF files whose streams are those of a run; the whole way is in tests/system/test_lsl_run.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bridge.lsl.describe import Stream, streams
from bridge.lsl.samples import Sampler
from engine.errors import SettingsError
from engine.experiment import Experiment
from engine.rows import RESULT_META, ROW
from recorders.xdf import read_tracks
from tests.bridge.lsl.xdf import XdfWriter

pytest.importorskip("pyxdf")


def described(stream: Stream) -> str:
    channels = "".join(
        f"<channel><label>{c.label}</label><type>{c.type}</type><unit>{c.unit}</unit></channel>"
        for c in stream.channels
    )
    return (
        f'<?xml version="1.0"?><info><name>{stream.name}</name><type>{stream.type}</type>'
        f"<channel_count>{len(stream.channels)}</channel_count><nominal_srate>0</nominal_srate>"
        f"<channel_format>double64</channel_format><desc><channels>{channels}</channels></desc></info>"
    )


def recorded(path: Path, *names: str) -> None:
    """Three frames of two particles, in micrometres, of runs of these names; their particles stream alone."""
    writer = XdfWriter(path)
    for number, name in enumerate(names, 1):
        experiment = Experiment.load(
            None,
            ["lsl.enabled=true", f"lsl.name={name}", "lsl.groups=3", 'lsl.fields=["x", "mass"]', "camera.pixel_um=0.5"],
            environ={},
        )
        sampler = Sampler(experiment)
        writer.stream(number, described(streams(experiment)["particles"]))
        for frame in range(3):
            meta, rows = np.zeros((), RESULT_META), np.zeros(2, ROW)
            meta["frame"], rows["particle"], rows["x"], rows["mass"] = frame, [7, 2**40], [10.0, 20.0 + frame], 3.5
            writer.samples(number, [float(frame)], sampler.frame_sample(meta, rows).particles)
    writer.close()


def test_channel_groups_become_rows_again(tmp_path: Path) -> None:
    recorded(tmp_path / "a.xdf", "beads")
    table = read_tracks(tmp_path / "a.xdf")
    assert table.columns.tolist() == ["frame", "particle", "x", "mass"]
    assert table["frame"].tolist() == [0, 0, 1, 1, 2, 2]
    assert table["particle"].tolist() == [7, 2**40] * 3
    assert table["x"].tolist() == [5.0, 10.0, 5.0, 10.5, 5.0, 11.0]
    assert table["mass"].dtype == np.float32
    assert table.attrs["units"] == {"frame": "frames", "particle": "none", "x": "micrometers", "mass": "counts"}


def test_of_two_runs_in_a_file_one_has_to_be_named(tmp_path: Path) -> None:
    recorded(tmp_path / "a.xdf", "beads", "rods")
    with pytest.raises(SettingsError, match="beads_particles and rods_particles: name the one"):
        read_tracks(tmp_path / "a.xdf")
    assert len(read_tracks(tmp_path / "a.xdf", "rods")) == 6


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is no file"):
        read_tracks(tmp_path / "b.xdf")
