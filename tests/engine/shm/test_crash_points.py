"""Kill -9 at every numbered step of every protocol, in real processes; see `tests.crashing` and `crash_runs`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import engine
from tests.crashing import CrashPlan, steps_in_source
from tests.engine.shm import crash_runs, test_versions
from tests.engine.shm.shm_model_actors import DIES

PACKAGES = Path(engine.__file__).parents[1]

# Who takes which steps. A step of the code that is not here fails `test_every_step_has_a_crash`.
STEPS = {
    "receiver": ["frame.1", "frame.2", "frame.3", "frame.4", "frame.5", "frame.6", "frame.7", "ledger.1", "ledger.2"],
    "either tracker": ["unit.1", "unit.2", "unit.3", "unit.4", "unit.5", "result.2", "result.3"],
    "linker": ["link.1", "link.2", "link.3", "link.4", "link.5", "link.6"],
    "result recorder": ["read.5", "read.6"],
    "frame recorder": ["read.5", "read.6"],
}
CASES = [(process, step) for process, steps in STEPS.items() for step in steps]

Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def run_with_crashes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Do a run under a crash plan; what came of it."""
    hook = CrashPlan(tmp_path_factory.mktemp("hook"))
    program = subprocess.Popen(
        [sys.executable, crash_runs.__file__],
        env={**os.environ, **hook.environment(), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def run(plan: CrashPlan, poison: dict[int, tuple[int, int, str]] | None = None) -> dict[str, Any]:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write(json.dumps({"folder": str(plan.folder), "poison": poison or {}}) + "\n")
        program.stdin.flush()
        answer: dict[str, Any] = json.loads(program.stdout.readline())
        return answer

    yield run
    program.communicate()


@pytest.mark.parametrize("times", [1, 2], ids=["first attempt", "first two attempts"])
@pytest.mark.parametrize(("process", "step"), CASES, ids=[f"{process} at {step}" for process, step in CASES])
def test_a_run_comes_out_right_whoever_dies_wherever(
    run_with_crashes: Run, tmp_path: Path, process: str, step: str, times: int
) -> None:
    plan = CrashPlan(tmp_path)
    # The second pass has a first one behind it; of losses there are two in a run, and a life must meet one again.
    nth = 1 if step.startswith("ledger") else 2
    plan.crash(step, process=None if process == "either tracker" else process, nth=nth, times=times)
    answer = run_with_crashes(plan)
    assert answer["wrong"] is None, answer["wrong"]
    assert plan.happened() == [step] * times
    assert answer["deaths"] == times


@pytest.mark.parametrize("unit", [(0, 0), (0, 1), (1, 0), (2, 0)], ids=["tile 0", "tile 1", "whole", "last"])
def test_a_unit_that_kills_its_worker_twice_marks_its_place_and_nothing_else(
    run_with_crashes: Run, tmp_path: Path, unit: tuple[int, int]
) -> None:
    plan = CrashPlan(tmp_path)
    plan.crash(DIES, times=2)  # whichever worker has it
    answer = run_with_crashes(plan, {5: (*unit, DIES)})
    assert (answer["wrong"], answer["deaths"]) == (None, 2)


def test_all_die_at_once_at_their_worst_steps(run_with_crashes: Run, tmp_path: Path) -> None:
    plan = CrashPlan(tmp_path)
    worst = {"receiver": "frame.5", "tracker 0": "result.3", "tracker 1": "unit.4", "linker": "link.5",
             "result recorder": "read.5", "frame recorder": "read.6"}  # fmt: skip
    for process, step in worst.items():
        plan.crash(step, process=process, nth=1, times=2)
    answer = run_with_crashes(plan)
    assert (answer["wrong"], answer["deaths"]) == (None, 12)


def test_every_step_has_a_crash() -> None:
    steps = steps_in_source([PACKAGES / "engine", PACKAGES / "bridge", PACKAGES / "recorders"])
    assert steps == {step for _, step in CASES} | set(test_versions.STEPS), (
        "a step without a test, or a test without a step"
    )


def test_a_run_passes_every_step(run_with_crashes: Run, tmp_path: Path) -> None:
    plan = CrashPlan(tmp_path)
    plan.watch_steps()
    assert run_with_crashes(plan)["wrong"] is None
    assert {step for _, step in CASES} <= plan.steps_seen()


# ---- the harness itself, with processes that are started as the engine starts its own

PASSES = """
import sys
from engine.shm.steps import run
def steps():
    for step in ("a.1", "a.2", "a.1", "a.2"):
        yield step
        print(step, flush=True)
run(steps())
"""


def _lives(plan: CrashPlan, name: str, count: int) -> list[list[str]]:
    """What that many lives of a process of this name say, one after the other."""
    said = []
    for _ in range(count):
        process = subprocess.run(
            [sys.executable, "-P", "-c", PASSES, name],
            env={**os.environ, **plan.environment()},
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode in (0, -signal.SIGKILL), process.stderr
        said.append(process.stdout.split())
    return said


def test_a_process_dies_just_before_the_step_at_the_pass_and_in_the_lives_that_were_planned(tmp_path: Path) -> None:
    plan = CrashPlan(tmp_path)
    plan.crash("a.2", process="victim", nth=2, times=2)
    assert _lives(plan, "bystander", 1) == [["a.1", "a.2", "a.1", "a.2"]]
    assert _lives(plan, "victim", 3) == [["a.1", "a.2", "a.1"]] * 2 + [["a.1", "a.2", "a.1", "a.2"]]
    assert plan.happened() == ["a.2", "a.2"]
    assert len(set(plan.pids())) == 2
