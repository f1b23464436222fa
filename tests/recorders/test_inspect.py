"""What `ringtrack inspect` says of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import pytest

from recorders.hdf5 import main
from recorders.inspect import inspect
from recorders.parts import RunError


@pytest.fixture
def run(job: Any, ring: Any) -> Path:
    """A run with a camera gap, a change of settings and a new sequence."""
    made = job(
        [
            ring.frame(0, removed_minmass=3),
            ring.frame(1),
            ring.frame(5, ledger=1, settings=2),
            ring.frame(6, ledger=1, settings=2, sequence=1),
            ring.end(2),
        ],
        [ring.loss(2, 4), ring.loss(7, 7)],
    )
    main(made)
    return Path(made.run_folder)


def test_a_whole_run(run: Path) -> None:
    report = inspect(run)
    assert report.whole
    assert (report.state, report.parts, report.run, report.name) == ("finished", 1, "run_001", "run")
    assert (report.frames_recorded, report.frames_lost, report.first_frame, report.last_frame) == (4, 4, 0, 7)
    assert (report.rows, report.particles, report.features_mean, report.sequences) == (20, 5, 5.0, 2)
    assert report.removed["minmass"] == 3
    assert report.fps == pytest.approx(100.0)
    assert report.latency_ms == {"p50": 8.0, "p99": 8.0, "max": 8.0}
    assert [(s.version, s.first, s.last) for s in report.settings] == [(1, 0, 1), (2, 5, 6)]
    assert [(x.first, x.last, x.step) for x in report.losses] == [(2, 4, "camera"), (7, 7, "camera")]
    assert report.events == {"recording started": 1, "settings": 1, "sequence": 1}


def test_it_can_be_shown(run: Path) -> None:
    report = inspect(run)
    assert json.loads(report.json())["accounting"][0] == {
        "step": "camera", "in": 8, "out": 4, "lost": 4, "in_flight": 0,
    }  # fmt: skip
    text = report.text()
    assert "lost at camera: frame 2 to 4 (skipped by the camera)" in text
    assert "the tables agree with each other" in text


def test_parts_and_a_cut_end_are_noted(run: Path, job: Any, ring: Any) -> None:
    main(job([ring.frame(6, ledger=1), ring.frame(8, ledger=2), ring.end(2)], [ring.loss(2, 4), ring.loss(7, 7)]))
    with h5py.File(run / "tracking_run_001.part002.h5", "r+") as file:
        file["frames"].resize((file["frames"].shape[0] + 2,))
        file["metadata/processing_metrics"].attrs["complete"] = 0
    report = inspect(run)
    assert report.whole
    assert (report.state, report.parts, report.last_frame) == ("cut short", 2, 8)
    assert len(report.notes) == 3


def test_tables_that_do_not_agree_are_a_fault(run: Path) -> None:
    with h5py.File(run / "tracking_run_001.h5", "r+") as file:
        row = file["tracks"][7]
        row["frame"] = 5
        file["tracks"][7] = row
        row = file["frames"][3]
        row["frame"] = 4
        file["frames"][3] = row
    report = inspect(run)
    assert not report.whole
    assert any("row 7 of /tracks is of frame 5" in fault for fault in report.faults)
    assert any("3 to 3 are missing without a word" in fault for fault in report.faults)
    assert "FAULT" in report.text()


def test_a_run_without_frames(job: Any, ring: Any) -> None:
    made = job([ring.end()])
    main(made)
    report = inspect(made.run_folder)
    assert (report.frames_recorded, report.rows, report.whole) == (0, 0, True)
    assert report.text()


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError):
        inspect(tmp_path)
