"""What is recorded while recording is switched on and off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.live import Recording
from engine.rows import RESULT_META, ROW, State
from recorders import Run
from recorders.csv import CsvRecorder
from recorders.hdf5 import Hdf5Recorder
from recorders.loop import record
from recorders.metadata import About
from recorders.runfolder import RunFolder
from recorders.tables import PAUSED
from recorders.takes import Result, Takes

FRAME_NS = 10_000_000  # 100 frames a second, as the made results have it
OFF = Recording(on=False, take=0)


def result(place: int, version: int) -> Result:
    meta = np.zeros(1, RESULT_META)[0]
    meta["frame"], meta["settings"], meta["rows"], meta["t_received_ns"] = place, version, 2, place * FRAME_NS
    return Result(place, meta, np.zeros(2, ROW))


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 30), st.integers(0, 40)), min_size=1, max_size=6),
    st.integers(0, 40), st.integers(1, 50),
)  # fmt: skip
def test_every_result_comes_out_once_in_order_and_takes_reach_back_as_far_as_is_kept(
    stretches: list[tuple[bool, int, int]], kept: int, most: int
) -> None:
    recordings = {n: Recording(on=on, before_s=before / 100) for n, (on, _, before) in enumerate(stretches)}
    versions = [n for n, (_, length, _) in enumerate(stretches) for _ in range(length)]
    takes = Takes(recordings.__getitem__, kept / 100, most)
    out: list[Result] = []
    for place, version in enumerate(versions):
        out += takes.push(result(place, version))
        assert place + 1 - len(out) <= most  # no more wait than may
    out += takes.rest()
    assert [each.place for each in out] == list(range(len(versions)))
    for each in out:
        place, recorded = each.place, each.meta["state"] == State.TRACKED
        assert (len(each.rows) == each.meta["rows"] == 2) if recorded else (len(each.rows) == each.meta["rows"] == 0)
        ahead = [n for n in range(place, len(versions)) if recordings[versions[n]].on]
        reach = round(recordings[versions[ahead[0]]].before_s * 100) if ahead else 0
        near = bool(ahead) and ahead[0] - place <= min(reach, kept, most)
        wanted = recordings[versions[place]].on or near
        on_the_edge = bool(ahead) and ahead[0] - place >= min(reach, kept, most)  # just now let go
        assert recorded == wanted or (not recorded and on_the_edge)


def script(ring: Any) -> list[Any]:
    """Off for 20 frames, a take, a pause, the take again, off."""
    versions = [1] * 20 + [2] * 10 + [3] * 10 + [4] * 5 + [5] * 5
    return [*(ring.frame(n, settings=version) for n, version in enumerate(versions)), ring.end()]


RECORDINGS = {
    1: OFF,
    2: Recording(take=1, name="a", before_s=0.05),
    3: Recording(on=False, paused=True, take=1, name="a"),
    4: Recording(take=1, name="a"),
    5: Recording(on=False, take=1, name="a"),
}
RECORDED = [*range(15, 30), *range(40, 45)]


def hdf5(run: Any) -> Hdf5Recorder:
    about = About(run.experiment, run.run_id, "run_001")
    return Hdf5Recorder(RunFolder(run.run_folder).hdf5, about, None, run.settings_of, run.recording_of)


def test_the_file_has_the_particles_of_takes_and_a_row_for_every_frame(job: Any, ring: Any, run_folder: Path) -> None:
    run = job(script(ring), recordings=RECORDINGS)
    record(run, hdf5(run))
    recorded = Run.open(run_folder)
    assert sorted(set(recorded.tracks["frame"])) == RECORDED
    table = recorded.frames_table
    assert table["frame"].tolist() == list(range(50))
    assert table.loc[table["state"] == "tracked", "frame"].tolist() == RECORDED
    assert set(table["state"]) == {"tracked", "paused"}
    assert recorded.paused == 50 - len(RECORDED)
    assert recorded.takes.to_dict("records") == [
        {"take": 1, "name": "a", "first_frame": 15, "last_frame": 44, "frames": len(RECORDED)}
    ]
    assert (run.counts["frames_recorded"], run.counts["frames_paused"]) == (len(RECORDED), 50 - len(RECORDED))
    assert recorded.accounting["lost"].sum() == 0


def test_a_recorder_killed_before_a_take_reaches_back_as_if_it_had_lived(
    job: Any, ring: Any, run_folder: Path, fast: Any
) -> None:
    """What waits to be decided upon is not given back to the ring: the next recorder has it again."""

    def kill() -> None:
        raise KeyboardInterrupt

    items = script(ring)
    first = job([*items[:18], kill], recordings=RECORDINGS, experiment=fast)
    dying = hdf5(first)
    with pytest.raises(KeyboardInterrupt):
        record(first, dying)
    dying.abandon()
    second = job(items, recordings=RECORDINGS)
    second.done = first.done
    record(second, hdf5(second))
    assert sorted(set(Run.open(run_folder).tracks["frame"])) == RECORDED
    assert Run.open(run_folder).frames_table["frame"].tolist() == list(range(50))
    assert Run.open(run_folder).paused == int((Run.open(run_folder).frames_array["state_code"] == PAUSED).sum())


def test_csv_has_the_particles_of_takes(job: Any, ring: Any, run_folder: Path) -> None:
    import pandas as pd

    run = job(script(ring), recordings=RECORDINGS)
    record(run, CsvRecorder(RunFolder(run_folder).csv, 0))
    assert sorted(set(pd.read_csv(RunFolder(run_folder).csv)["frame"])) == RECORDED
