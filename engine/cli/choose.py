"""Which run a command means: the only one that goes on, or the one that is named."""

from __future__ import annotations

from pathlib import Path

from engine.errors import MachineError, SettingsError
from engine.plan import Plan
from engine.runs import FoundRun, living


def choose(name: str | None) -> FoundRun:
    """The living run of that name: the beginning of its id, its process number, or its folder; None: the only one.

    Raises SettingsError if that is none or several.
    """
    runs = living()
    if not runs:
        raise MachineError("no run is going on here")
    found = [run for run in runs if name is None or _is_called(run, name)]
    if len(found) == 1:
        return found[0]
    known = "; ".join(f"{run.plan.run_id[:6]} ({run.plan.run_folder})" for run in runs)
    if not found:
        raise SettingsError(f"{name}: no run of that name is going on. Going on: {known}")
    raise SettingsError(f"{len(found)} runs are going on, name one of them: {known}")


def called(plan: Plan) -> str:
    """A run as answers name it: the beginning of its id, and where it is."""
    return f"run {plan.run_id[:6]} ({plan.run_folder})"


def facts_of(plan: Plan) -> dict[str, str]:
    """The same for programs."""
    return {"run_id": plan.run_id, "run_folder": plan.run_folder}


def _is_called(run: FoundRun, name: str) -> bool:
    plan = run.plan
    return (
        plan.run_id.startswith(name.lower())
        or name == str(plan.pid)
        or Path(name).absolute() == Path(plan.run_folder)
        or name == Path(plan.run_folder).name
    )
