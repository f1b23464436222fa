"""`kill -9` exactly at each numbered step, in whole runs: at the first attempt, and at the first two.

The source is a folder of frames with a hole, so that the ledger of losses is written too. A unit of work whose worker
died twice marks its frame as failed; then that frame is lost and all the rest is what it would be had the camera left
that frame out. For these there is one worker (and its spare), so that it is sure who meets the unit again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tifffile

import engine
from tests.crashing import CrashPlan, steps_in_source
from tests.system.faults import SMALL, assert_clean, lost_numbers, lost_rows, small
from tests.system.running import Ended, Laboratory

PACKAGES = Path(engine.__file__).parents[1]
STEPS = sorted(steps_in_source([PACKAGES / name for name in ("engine", "bridge", "recorders")]))
FRAMES, HOLE = 60, range(20, 23)
PASSES_OF = {"ledger": 1, "read": 1, "unit": 40, "result": 9}
"""Which pass of one life it is. Others: the second, so that there is a first one behind it."""
FAIL_THEIR_FRAME = {"unit.3", "unit.4", "result.2", "result.3"}
"""Steps between a unit's claim and its being done."""
TOGETHER = {"receiver": "frame.5", "linker-0": "link.5", "hdf5": "read.5", "tracker-0": "unit.5"}

SETTINGS: dict[str, dict[str, Any]] = {
    **SMALL,
    "experiment": {"max_lost": len(HOLE)},
    "tracking": {**SMALL["tracking"], "workers": 1},
    "record": {"flush_s": 0.05},
}


def folder(lab: Laboratory, *without: int) -> Path:
    """The frames as files of their own; some are missing."""
    path = lab.folder / "frames"
    path.mkdir()
    for n, image in enumerate(small(FRAMES)):
        if n not in HOLE and n not in without:
            tifffile.imwrite(path / f"frame_{n:04}.tif", image)
    return path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    """`/tracks` of a run in which nobody is killed, of the frames without these."""
    kept: dict[tuple[int, ...], bytes] = {}

    def tracks(*without: int) -> bytes:
        if without not in kept:
            lab = Laboratory(tmp_path_factory.mktemp("undisturbed"))
            settings = lab.settings(SETTINGS, experiment={"max_lost": len(HOLE) + len(without)})
            ended = lab.run(settings, "--source", folder(lab, *without), "--finished")
            arrived = FRAMES - len(HOLE) - len(without)
            assert (ended.status, ended.counts) == (0, (arrived, arrived, arrived, len(HOLE) + len(without)))
            kept[without] = ended.tracks_bytes
        return kept[without]

    return tracks


def run_with(lab: Laboratory, plan: CrashPlan) -> Ended:
    lab.environment.update(plan.environment())
    return lab.run(lab.settings(SETTINGS), "--source", folder(lab), "--finished")


def assert_right(ended: Ended, undisturbed: Callable[..., bytes], failed: int = 0) -> None:
    """Nothing was lost but the hole and, at the tracker, so many frames; the rest is as it should be."""
    table = ended.record.frames_array
    lost = lost_rows(table)
    assert lost_numbers(ended.record.lost.to_dict("records")) == lost
    assert list(table["frame"]) == list(range(FRAMES))
    hole = dict.fromkeys(HOLE, ("camera", "skipped by the camera"))
    marked = {n: why for n, why in lost.items() if n not in hole}
    assert {n: lost[n] for n in HOLE} == hole
    assert list(marked.values()) == [("tracker", "tracking failed twice")] * failed
    arrived = FRAMES - len(HOLE)
    assert ended.counts == (arrived, arrived - failed, arrived - failed, len(HOLE) + failed)
    assert ended.tracks_bytes == undisturbed(*marked)
    assert ended.status == (4 if failed else 0), ended.stderr
    assert_clean(ended)


def nth_of(step: str) -> int:
    return PASSES_OF.get(step.partition(".")[0], 2)


def test_crashes_of_all_at_their_worst_steps_change_nothing(
    lab: Laboratory, undisturbed: Callable[..., bytes], tmp_path: Path
) -> None:
    plan = CrashPlan(tmp_path / "crashes")
    for process, step in TOGETHER.items():
        plan.crash(step, process=process, nth=nth_of(step), times=2)
    plan.crash("ledger.2", process="receiver")
    plan.crash("result.3", process="tracker-1", nth=3)
    ended = run_with(lab, plan)
    assert set(plan.happened()) == {*TOGETHER.values(), "ledger.2", "result.3"}
    assert_right(ended, undisturbed)


def test_a_frame_that_kills_its_tracker_twice_is_lost_and_no_other(
    lab: Laboratory, undisturbed: Callable[..., bytes], tmp_path: Path
) -> None:
    plan = CrashPlan(tmp_path / "crashes")
    plan.crash("unit.4", process="tracker-0", nth=40)
    plan.crash("unit.4", process="tracker-1", nth=1)
    ended = run_with(lab, plan)
    assert plan.happened() == ["unit.4"] * 2
    assert_right(ended, undisturbed, failed=1)


@pytest.mark.faults
@pytest.mark.parametrize("times", [1, 2], ids=["first attempt", "first two attempts"])
@pytest.mark.parametrize("step", STEPS)
def test_a_run_comes_out_right_whoever_dies_at(
    lab: Laboratory, undisturbed: Callable[..., bytes], tmp_path: Path, step: str, times: int
) -> None:
    plan = CrashPlan(tmp_path / "crashes")
    failed = int(times == 2 and step in FAIL_THEIR_FRAME)
    if failed:  # the spare takes the dead one's place, and meets its unit first of all
        plan.crash(step, process="tracker-0", nth=nth_of(step))
        plan.crash(step, process="tracker-1", nth=1)
    else:
        plan.crash(step, nth=nth_of(step), times=times)
    ended = run_with(lab, plan)
    assert plan.happened() == [step] * times
    assert_right(ended, undisturbed, failed)


@pytest.mark.faults
def test_a_run_passes_every_step(lab: Laboratory, undisturbed: Callable[..., bytes], tmp_path: Path) -> None:
    plan = CrashPlan(tmp_path / "crashes")
    plan.watch_steps()
    assert_right(run_with(lab, plan), undisturbed)
    assert plan.steps_seen() == set(STEPS)
