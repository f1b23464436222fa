"""Rules that every recorder of results is put through, whatever it writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recorders import Run
from recorders.csv import CsvRecorder
from recorders.hdf5 import Hdf5Recorder
from recorders.loop import LAST_CALL_S, ORPHANS_CALL_S, Recorder, record
from recorders.metadata import About
from recorders.runfolder import RunFolder


@dataclass(frozen=True)
class Kind:
    """One recorder: how it is made, and its tracks read back as (frame, particle, x) rows."""

    make: Callable[[Any], Recorder]
    read: Callable[[RunFolder], pd.DataFrame]


def read_csv(folder: RunFolder) -> pd.DataFrame:
    return pd.read_csv(folder.csv).rename(columns={"particle_id": "particle"})


KINDS = {
    "hdf5": Kind(
        lambda job: Hdf5Recorder(RunFolder(job.run_folder).hdf5, About(job.experiment, job.run_id, "run_001")),
        lambda folder: Run.open(folder.path).tracks,
    ),
    "csv": Kind(lambda job: CsvRecorder(RunFolder(job.run_folder).csv, 0), read_csv),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def folder(run_folder: Path) -> RunFolder:
    return RunFolder(run_folder)


def told(tracks: pd.DataFrame) -> list[tuple[int, int, float]]:
    return list(zip(tracks["frame"].tolist(), tracks["particle"].tolist(), tracks["x"].tolist()))


def expected(ring: Any, frames: list[int], count: int = 5) -> list[tuple[int, int, float]]:
    rows = np.concatenate([ring.rows(frame, count) for frame in frames])
    return list(zip(rows["frame"].tolist(), rows["particle"].tolist(), rows["x"].tolist()))


def test_every_frame_is_there_once_and_in_order(kind: Kind, job: Any, ring: Any, folder: RunFolder) -> None:
    run = job([ring.frame(k) for k in range(50)] + [ring.end()])
    record(run, kind.make(run))
    assert told(kind.read(folder)) == expected(ring, list(range(50)))
    assert (run.counts["frames_recorded"], run.counts["frames_lost"], run.counts["rows"]) == (50, 0, 250)
    assert run.counts["bytes"] > 0
    assert run.done == 49  # never past the closing place: who comes after a kill has to meet it too


def test_a_lost_frame_leaves_its_hole(kind: Kind, job: Any, ring: Any, folder: RunFolder) -> None:
    run = job([ring.frame(0), ring.frame(6, ledger=1), ring.end(1)], [ring.loss(1, 5)])
    record(run, kind.make(run))
    assert told(kind.read(folder)) == expected(ring, [0, 6])
    assert run.counts["frames_lost"] == 5


def test_a_frame_without_particles_is_no_trouble(kind: Kind, job: Any, ring: Any, folder: RunFolder) -> None:
    run = job([ring.frame(0), ring.frame(1, 0), ring.frame(2), ring.end()])
    record(run, kind.make(run))
    assert told(kind.read(folder)) == expected(ring, [0, 2])


def test_a_run_without_frames_leaves_a_readable_file(kind: Kind, job: Any, ring: Any, folder: RunFolder) -> None:
    run = job([ring.end()])
    record(run, kind.make(run))
    assert told(kind.read(folder)) == []


def test_the_cursor_moves_with_the_flush_and_not_before(kind: Kind, job: Any, ring: Any, folder: RunFolder) -> None:
    seen: list[int] = []
    run = job([ring.frame(0), ring.frame(1), lambda: seen.append(run.done), ring.end()])
    record(run, kind.make(run))
    assert seen == [-1]
    assert run.done == 1


def test_what_is_flushed_can_be_read_while_more_is_written(
    kind: Kind, job: Any, ring: Any, fast: Any, folder: RunFolder
) -> None:
    seen: list[Any] = []
    run = job(
        [ring.frame(0), ring.frame(1), lambda: seen.extend(told(kind.read(folder))), ring.frame(2), ring.end()],
        experiment=fast,
    )
    record(run, kind.make(run))
    assert seen == expected(ring, [0, 1])
    assert told(kind.read(folder)) == expected(ring, [0, 1, 2])


def test_a_frame_that_was_overwritten_while_it_was_read_is_lost_not_wrong(
    kind: Kind, job: Any, ring: Any, folder: RunFolder
) -> None:
    run = job([ring.frame(0), ring.frame(1), ring.frame(2), ring.end()])
    run.torn.add(1)
    record(run, kind.make(run))
    assert told(kind.read(folder)) == expected(ring, [0, 2])
    assert run.counts["frames_lost"] == 1


def test_told_to_leave_without_a_closing_place_it_finishes_its_file(
    kind: Kind, job: Any, ring: Any, folder: RunFolder
) -> None:
    run = job([ring.frame(0), ring.frame(1)], stopping=True)
    record(run, kind.make(run))
    assert told(kind.read(folder)) == expected(ring, [0, 1])


@pytest.mark.parametrize(("orphaned", "limit_s"), [(True, ORPHANS_CALL_S), (False, LAST_CALL_S)])
def test_what_it_had_no_time_for_is_said_in_the_log(
    kind: Kind, job: Any, ring: Any, folder: RunFolder, orphaned: bool, limit_s: float
) -> None:
    run = job([ring.frame(n) for n in range(60)], stopping=True, orphaned=orphaned, untracked=3)
    now = [0.0]

    def clock() -> float:
        now[0] += limit_s / 20
        return now[0]

    record(run, kind.make(run), clock)
    written = told(kind.read(folder))
    taken = run.done + 1
    assert 5 < taken < 60
    assert written == expected(ring, list(range(taken)))
    assert run.logged == [
        (
            "warning",
            f"hdf5 was told to leave before the run had ended; not in its file are {60 - taken} results that time was "
            "too short for and 3 frames that were not tracked any more",
        )
    ]


def test_an_orphan_takes_all_that_was_published_and_says_nothing_where_nothing_is_missing(
    kind: Kind, job: Any, ring: Any, folder: RunFolder
) -> None:
    run = job([ring.frame(n) for n in range(60)], stopping=True, orphaned=True)
    record(run, kind.make(run))
    assert told(kind.read(folder)) == expected(ring, list(range(60)))
    assert run.logged == []


def test_one_that_starts_again_when_all_was_taken_says_nothing(
    kind: Kind, job: Any, ring: Any, folder: RunFolder
) -> None:
    run = job([ring.frame(0), ring.frame(1)], stopping=True)
    run.done = 1
    record(run, kind.make(run))
    assert run.logged == []


def test_the_heart_beats_at_every_round(kind: Kind, job: Any, ring: Any, folder: RunFolder) -> None:
    run = job([ring.frame(0), lambda: None, lambda: None, ring.end()])
    record(run, kind.make(run))
    assert run.beats == 4
