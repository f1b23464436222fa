"""What `ringtrack inspect` says of a run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from engine import cli
from engine.cli import report as html
from recorders.hdf5 import main
from recorders.inspect import inspect
from recorders.parts import RunError
from recorders.run import Run
from recorders.tables import PAUSED


@pytest.fixture
def run(job: Any, ring: Any) -> Path:
    """A run with a camera gap, a change of settings and a new sequence."""
    made = job(
        [
            ring.frame(0, removed_minmass=3),
            ring.frame(1),
            ring.frame(5, ledger=2, settings=2),
            ring.frame(6, ledger=2, settings=2, sequence=1),
            ring.end(3),
        ],
        [ring.loss(2, 3), ring.loss(4, 4), ring.loss(7, 7)],  # as a live run that lost one after the other has them
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


def test_a_run_without_pixels_needs_nothing_to_decode_them(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for extra in ("hdf5plugin", "imagecodecs", "tifffile"):
        monkeypatch.setitem(sys.modules, extra, None)  # as if it were not installed
    assert inspect(run).faults == []


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
    assert len(report.notes) == 4


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


def test_pictures_that_a_recorder_was_too_slow_for_are_said(run: Path) -> None:
    assert inspect(run).pictures == []
    lost = {"event": "images lost", "t_ns": 1, "process": "tiff", "places": "[1, 2]"}
    (run / "events.jsonl").write_text(json.dumps(lost) + "\n")
    report = inspect(run)
    assert (report.frames_lost, report.whole) == (4, True)  # of results; pictures are counted apart
    assert "  tiff      0 of 2 pictures, 2 lost (too slow)\n" in report.text()


def test_a_run_without_frames(job: Any, ring: Any) -> None:
    made = job([ring.end()])
    main(made)
    report = inspect(made.run_folder)
    assert (report.frames_recorded, report.rows, report.whole) == (0, 0, True)
    assert report.text()


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError):
        inspect(tmp_path)


def forced(run: Path) -> None:
    """What is left of the run when it was stopped by force: no end of the file, and the supervisor's account."""
    with h5py.File(run / "tracking_run_001.h5", "r+") as file:
        file["metadata/processing_metrics"].attrs["complete"] = 0
        run_id = str(file.attrs["run_id"])
    step = {"in_flight": 0, "lost": 0}
    summary = {
        "run_id": run_id, "status": 130, "reason": "stopped by force", "frames_tracked": 9, "frames_recorded": 4,
        "frames_lost": 16, "frames_paused": 0,
        "accounting": [
            step | {"step": "camera", "arrived": 20, "out": 16, "lost": 4},
            step | {"step": "tracker", "arrived": 16, "out": 9, "lost": 7},
            step | {"step": "recorder", "arrived": 9, "out": 4, "lost": 5},
        ],
        "fps": 100.0, "latency_ms": {"p50": 1.0, "p99": 2.0},
        "lost": [
            {"first": 2, "last": 4, "step": "camera", "cause": "skipped by the camera"},
            {"first": 7, "last": 12, "step": "recorder", "cause": "stopped by force"},
            {"first": 13, "last": 19, "step": "tracker", "cause": "stopped by force"},
        ],
    }  # fmt: skip
    (run / "run.json").write_text(json.dumps({"summary": summary, "started_utc_ns": 1}))


def test_what_came_after_the_cut_of_a_run_stopped_by_force_is_lost_and_said(run: Path) -> None:
    forced(run)
    found = inspect(run)
    assert found.whole
    assert (found.state, found.frames_recorded, found.frames_lost) == ("cut short", 4, 16)
    assert [(x.first, x.last, x.step) for x in found.losses] == [
        (2, 4, "camera"), (7, 7, "camera"), (8, 12, "recorder"), (13, 19, "tracker"),
    ]  # fmt: skip
    assert "lost at tracker: frame 13 to 19 (stopped by force)" in found.text()
    assert any("the account is of the whole run (stopped by force)" in note for note in found.notes)
    record = Run.open(run)
    assert int((record.lost["last"] - record.lost["first"] + 1).sum()) == 16
    assert int(record.accounting["lost"].sum()) == 16
    said = html._lost(record.lost, record)
    assert "No frame was lost" not in said
    assert "stopped by force" in said
    assert html._lost_count(record) == 16


def test_what_nobody_counted_after_the_cut_is_said_to_be_unknown(run: Path, job: Any, ring: Any) -> None:
    with h5py.File(run / "tracking_run_001.h5", "r+") as file:
        file["metadata/processing_metrics"].attrs["complete"] = 0
        file["accounting/lost"].resize((0,))
    (run / "run.json").write_text('{"summary": null}')
    assert any("was never counted" in note for note in inspect(run).notes)
    record = Run.open(run)
    assert "what came after its end was never counted" in html._lost(record.lost, record)


def test_a_run_json_of_another_run_is_not_believed(run: Path) -> None:
    forced(run)
    text = (run / "run.json").read_text()
    (run / "run.json").write_text(text.replace('"run_id": "', '"run_id": "f'))
    assert inspect(run).frames_lost == 4


def test_paused_frames_and_particles_that_were_never_recorded_count_for_nothing(run: Path) -> None:
    with h5py.File(run / "tracking_run_001.h5", "r+") as file:
        rows = file["tracks"][...]
        rows["particle"][rows["particle"] == 4] = 900  # 5 particles, the last of them with a high number
        file["tracks"][...] = rows
        frames = file["frames"][...]
        last = np.flatnonzero(frames["frame"] == 6)[0]
        kept = int(frames["first_row"][last])
        frames["state_code"][last], frames["state"][last], frames["rows"][last] = PAUSED, b"paused", 0
        frames["first_row"][last:] = kept
        file["frames"][...] = frames
        file["tracks"].resize((kept,))
    report = inspect(run)
    assert (report.frames_recorded, report.frames_paused) == (3, 1)
    assert (report.rows, report.particles, report.features_mean) == (15, 5, 5.0)
    assert Run.open(run).tracks["particle"].nunique() == report.particles


EVENTS = {
    "a remark": ("note", '{"message": "laser on", "event": "note", "level": "info", "t_ns": 5}', "laser on"),
    "facts": ("died", '{"message": "linker-0 died", "pid": 7, "complaint": "no"}', "linker-0 died (complaint no)"),
    "settings": (
        "settings", '{"version": 2, "tracking": {"minmass": 5}, "linking": {"memory": 1}}',
        "from here on version 2: tracking.minmass = 5, linking.memory = 1",
    ),
    "no message": ("sequence", '{"sequence": 3, "first_frame": 4}', "sequence 3, first frame 4"),
    "no JSON": ("old", "text", "text"),
}  # fmt: skip


@pytest.mark.parametrize("name", EVENTS)
def test_events_are_sentences_in_the_report(name: str) -> None:
    kind, details, said = EVENTS[name]
    assert html.event_said(kind, details) == said


def test_a_table_that_nothing_else_reads_is_read_to_its_last_chunk(run: Path) -> None:
    with h5py.File(run / "tracking_run_001.h5", "r+") as file:
        table = file.create_dataset("streams/laser", data=np.arange(1000.0), chunks=(100,), fletcher32=True)
    assert inspect(run).whole
    with h5py.File(run / "tracking_run_001.h5") as file:
        table = file["streams/laser"]
        place = table.id.get_chunk_info(9).byte_offset
    with (run / "tracking_run_001.h5").open("r+b") as raw:
        raw.seek(place + 8)
        raw.write(b"?")
    (fault,) = inspect(run).faults
    assert fault.startswith("tracking_run_001.h5: /streams/laser cannot be read: ")


@pytest.mark.parametrize("kind", ["images", "crops"])
def test_a_file_of_frames_that_is_none_is_a_fault_and_the_rest_is_told(run: Path, kind: str) -> None:
    (run / f"{kind}_run_001.h5").write_bytes(b"nothing that HDF5 knows")
    report = inspect(run)
    assert f"{kind}_run_001.h5 cannot be read" in report.faults[0]
    assert report.frames_recorded == 4


def test_commands_about_a_run_name_it_alike_and_say_what_is_wrong(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    (data / "2026-11-21").mkdir(parents=True)
    (data / "2026-11-21" / "run_001").symlink_to(run, target_is_directory=True)
    there = ("--data", str(data))
    (run / "run.json").write_text("{}")
    assert cli.status_of(["export", "latest", "--to", "csv", "--out", str(tmp_path / "all.csv"), *there]) == 0
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 21, "all particles, where none are chosen"
    assert cli.status_of(["copy", "run_001", str(tmp_path / "copied"), *there]) == 0
    assert cli.status_of(["inspect", "2026-11-21/run_001", *there]) == 0
    for command, said in {
        ("report", "run_002"): "run_002 does not exist, neither here nor as a run under",
        ("export", "run_002", "--to", "csv"): "Did you mean",
        ("copy", "run_002", "there"): "Did you mean",
        ("calibrate", "trap", "run_002", "--particle", "1"): "Did you mean",
        ("report", "latest", "--out", str(tmp_path / "no" / "x.html")): "there is no folder",
        ("status", "--watch", "--json"): "--watch is for people",
    }.items():
        capfd.readouterr()
        assert cli.status_of([*command, *(there if command[0] != "status" else ())]) in (2, 3)
        assert said in capfd.readouterr().err
