"""What the HDF5 recorder writes beside the tracks: frames, losses, events, metadata, accounting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
import pytest

from engine.accounting import Cause, Step
from engine.errors import MachineError
from engine.rows import State
from recorders import Run
from recorders.hdf5 import Hdf5Recorder, main
from recorders.hdf5file import DiskError, RunFile
from recorders.inbox import Inbox
from recorders.loop import record
from recorders.metadata import About
from recorders.parts import RunError


def recorded(job: Any) -> Run:
    assert main(job) == 0
    return Run.open(job.run_folder)


def test_lost_frames_are_rows_with_step_and_cause(job: Any, ring: Any) -> None:
    run = recorded(
        job(
            [ring.frame(0), ring.frame(6, ledger=1), ring.Gap(2, 3), None, ring.frame(9, ledger=1), ring.end(2)],
            [ring.loss(1, 5), ring.loss(10, 10, Step.RECEIVER, Cause.RING_FULL)],
        )
    )
    table = run.frames_table.set_index("frame")
    assert table.index.tolist() == list(range(11))
    assert table.loc[1:5, "state"].unique().tolist() == ["lost"]
    assert table.loc[3, ["step", "cause"]].tolist() == ["camera", "skipped by the camera"]
    assert table.loc[7, ["step", "cause"]].tolist() == ["recorder", "overrun"]
    assert table.loc[10, ["step", "cause"]].tolist() == ["receiver", "ring full"]
    assert table.loc[6, ["state", "step", "cause"]].tolist() == ["tracked", "", ""]
    lost = run.lost[["first", "last", "step"]].to_numpy().tolist()
    assert lost == [[1, 5, "camera"], [7, 8, "recorder"], [10, 10, "receiver"]]
    steps = run.accounting
    assert steps["in"].tolist() == [11, 6, 6, 5, 5, 5]
    assert steps["lost"].to_dict() == {
        "camera": 5, "sender": 0, "receiver": 1, "tracker": 0, "linker": 0, "recorder": 2,
    }  # fmt: skip
    assert (steps["in"] == steps["out"] + steps["lost"] + steps["in_flight"]).all()


def test_a_failed_frame_is_recorded_and_counts_as_lost_at_the_tracker(job: Any, ring: Any) -> None:
    run = recorded(job([ring.frame(0), ring.frame(1, 0, state=State.FAILED), ring.frame(2), ring.end()]))
    row = run.frames_table.set_index("frame").loc[1]
    assert (row["state"], row["step"], row["cause"]) == ("failed", "tracker", "tracking failed twice")
    assert run.lost[["first", "last", "cause"]].to_numpy().tolist() == [[1, 1, "tracking failed twice"]]
    assert run.accounting.loc["tracker", "lost"] == 1
    assert run.metadata["processing_metrics"]["frames_lost"] == 1


def test_a_frames_row_leads_to_its_rows_and_its_file(job: Any, ring: Any) -> None:
    run = recorded(job([ring.frame(0, 3), ring.frame(1, 0), ring.frame(2, 4), ring.end()]))
    frames = run.frames_table
    assert frames["first_row"].tolist() == [0, 3, 3]
    row = frames.iloc[2]
    assert run.tracks.iloc[row["first_row"] : row["first_row"] + row["rows"]]["frame"].tolist() == [2] * 4
    assert row["file_name"] == "img_00002.tif"
    assert row["checksum"] == f"{2**63 + 2:016x}"
    assert row["time_source"] == "header"


def test_a_number_missing_without_a_word_is_told_in_the_log(job: Any, ring: Any) -> None:
    run = job([ring.frame(0), ring.frame(3), ring.end()])
    recorded(run)
    assert run.logged == [("error", "hdf5: frames 1 to 2 are missing and nobody said why")]


def test_what_changes_between_frames_is_an_event(job: Any, ring: Any) -> None:
    run = recorded(
        job(
            [
                ring.frame(0),
                ring.frame(1, settings=2),
                ring.frame(2, settings=2, stream=78),
                ring.frame(3, settings=2, stream=79, sequence=1, counter=0),
                ring.end(),
            ]
        )
    )
    told = [(e.frame, e.kind, json.loads(e.json)) for e in run.events.itertuples()]
    assert told == [
        (0, "recording started", {"part": 1, "sequence": 0}),
        (1, "settings", {"version": 2}),
        (2, "sender restarted", {"stream": 78}),
        (3, "sequence", {"sequence": 1, "counter_before": 2, "counter": 0}),
    ]


@pytest.mark.parametrize("extra", [{"stage_um": [1.5, -2.0]}, {"long": "µ" * 240}, {"last": 0}], ids=str)
def test_free_metadata_of_the_source_comes_back(job: Any, ring: Any, extra: dict[str, Any]) -> None:
    packed = msgspec.msgpack.encode(extra)
    run = recorded(job([ring.frame(0), ring.frame(1, extra=packed, extra_bytes=len(packed)), ring.end()]))
    assert {frame: json.loads(text) for frame, text in run.extra.items()} == {1: extra}


def test_metadata_can_be_read_with_any_hdf5_reader(job: Any, ring: Any) -> None:
    recorded(job([ring.frame(0), ring.end()]))
    path = job([]).run_folder / "tracking_run_001.h5"
    with h5py.File(path, "r") as file:
        assert file["metadata/tracking_config"].attrs["diameter"] == 21
        assert file["metadata/acquisition_params"].attrs["fps"] == 100.0
        assert file["metadata/system_info"].attrs["host"]
        assert file["metadata/processing_metrics"].attrs["frames_recorded"] == 1
        assert file["metadata/processing_metrics"].attrs["latency_mean_ms"] == 8.0
        assert file["metadata/processing_metrics"].attrs["complete"] == 1
        assert file["metadata/codes/cause"].attrs["ring full"] == Cause.RING_FULL
        assert file["accounting/steps"].shape == (6,)
        for name in ("tracks", "frames", "events"):
            assert file[name].compression is None


def test_the_settings_come_back_equal(job: Any, ring: Any, fast: Any) -> None:
    assert recorded(job([ring.end()], experiment=fast)).settings == fast


def test_the_same_frames_give_the_same_tracks_whatever_the_times(job: Any, ring: Any, tmp_path: Path) -> None:
    tables = []
    for late in (0, 10**9):
        run = job([ring.frame(k, t_camera_ns=late + k, t_published_ns=late + 10**7) for k in range(9)] + [ring.end()])
        run.run_folder = tmp_path / f"run_{late}"
        run.run_folder.mkdir()
        tables.append(recorded(run).tracks_array.tobytes())
    assert tables[0] == tables[1]


def test_nothing_is_ever_overwritten(tmp_path: Path, fast: Any) -> None:
    path = tmp_path / "tracking_run_001.h5"
    path.write_bytes(b"somebody's week of work")
    with pytest.raises(FileExistsError, match="never overwritten"):
        RunFile(path, About(fast, "0" * 16, "run_001"))
    assert path.read_bytes() == b"somebody's week of work"


@pytest.mark.parametrize("moment", ["made", "named"])
def test_a_recorder_that_died_while_it_made_its_file_is_no_trouble(
    job: Any, ring: Any, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    folder = job([]).run_folder
    making = folder / "tracking_run_001.h5.making"
    if moment == "made":
        making.write_bytes(b"half a file")
    else:
        recorded(job([ring.end()]))
        making.hardlink_to(folder / "tracking_run_001.h5")
    run = recorded(job([ring.frame(0), ring.end()]))
    assert run.frames_table["frame"].tolist() == [0]


def test_without_hard_links_the_file_gets_its_name_too(job: Any, ring: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    assert recorded(job([ring.frame(0), ring.end()])).frames_table["frame"].tolist() == [0]


def test_a_successor_writes_the_next_part(job: Any, ring: Any, fast: Any) -> None:
    run = job([ring.frame(0), ring.frame(1), ring.end()], experiment=fast)
    recorded(run)
    again = job([ring.frame(1), ring.frame(2), ring.end()])
    recorded(again)
    assert (run.run_folder / "tracking_run_001.part002.h5").exists()
    whole = Run.open(run.run_folder)
    assert whole.frames_table["frame"].tolist() == [0, 1, 2]
    assert whole.tracks["frame"].tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert whole.frames_table["first_row"].tolist() == [0, 5, 10]
    assert whole.events["kind"].tolist() == ["recording started", "recorder restarted"]


def test_a_nearly_full_disk_ends_the_recording_with_a_sentence_and_a_whole_file(
    job: Any, ring: Any, fast: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [10**10]
    monkeypatch.setattr("recorders.hdf5file.shutil.disk_usage", lambda _: type("Usage", (), {"free": free[0]}))
    run = job(
        [ring.frame(0), ring.frame(1), lambda: free.__setitem__(0, 10**7), ring.frame(2), ring.end()], experiment=fast
    )
    with pytest.raises(DiskError, match=r'recorder "hdf5" stopped: .*run_001 is full \(0.0 GiB free\)'):
        main(run)
    assert DiskError("", intact=True).exit_status == 3
    whole = Run.open(run.run_folder)
    assert whole.tracks["frame"].tolist() == [0] * 5 + [1] * 5
    assert whole.metadata["processing_metrics"]["complete"] == 0
    assert run.logged[-1][0] == "error"


def test_on_a_full_disk_it_does_not_start(job: Any, ring: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recorders.hdf5file.shutil.disk_usage", lambda _: type("Usage", (), {"free": 10**6}))
    run = job([ring.frame(0), ring.end()])
    with pytest.raises(MachineError, match=r"does not start: .* is full \(1 MiB free, at least 64 wanted\)"):
        main(run)
    assert list(run.run_folder.iterdir()) == []


def test_images_that_were_not_recorded_are_told_of(job: Any, ring: Any) -> None:
    run = recorded(job([ring.frame(0), ring.end()]))
    with pytest.raises(RunError, match="holds no images"):
        run.frames[0]


@pytest.mark.parametrize("what", ["an empty folder", "no such file", "another HDF5 file", "a newer layout"])
def test_what_is_no_run_is_told_in_a_sentence(tmp_path: Path, what: str) -> None:
    path = tmp_path / "some.h5"
    if what == "an empty folder":
        path = tmp_path
    elif what != "no such file":
        with h5py.File(path, "w") as file:
            if what == "a newer layout":
                file.attrs["ringtrack_format"] = 99
    with pytest.raises(RunError, match=r"holds no recording|does not exist|no recording of ringtrack|layout 99"):
        _ = Run.open(path).tracks


def test_a_recorder_is_quick_enough_for_100_frames_a_second(job: Any, ring: Any) -> None:
    """Not a benchmark: 1000 rows a frame must leave most of a core free even on a busy machine."""
    import time

    run = job([ring.frame(k, 1000) for k in range(100)] + [ring.end()])
    recorder = Hdf5Recorder(run.run_folder / "tracking_run_001.h5", About(run.experiment, run.run_id, "run_001"))
    started = time.process_time()
    record(run, recorder)
    assert time.process_time() - started < 0.5
    assert np.array_equal(Run.open(run.run_folder).tracks_array["frame"], np.repeat(np.arange(100), 1000))


def test_a_marker_is_in_the_file_while_the_camera_is_silent(job: Any, ring: Any, run_folder: Path, fast: Any) -> None:
    first, seen = run_folder / "tracking_run_001.h5", []

    def mark() -> None:
        line = {"event": "mark", "t_ns": 7, "message": "laser on"}
        (run_folder / "events.jsonl").write_text(json.dumps(line) + "\n")

    def look() -> None:
        seen.append(Run.open(run_folder).events["kind"].tolist())

    run = job([ring.frame(0), look, mark, look, ring.end()], experiment=fast)
    about = About(run.experiment, run.run_id, "run_001")
    record(run, Hdf5Recorder(first, about, Inbox(run_folder)))
    assert seen == [["recording started"], ["recording started", "mark"]]
