"""`ringtrack status`: the runs on this machine, as their shared memory says."""

from __future__ import annotations

import time
from typing import Any

import click

from engine.cli import output
from engine.runs import FoundRun, phase_of


@click.command()
@click.option("--watch", is_flag=True, help="Show everything at a glance, twice a second, until Ctrl-C.")
@output.json_option
def command(watch: bool, as_json: bool) -> None:
    """Show the runs that are going on, and those that did not end in order."""
    if watch and as_json:
        raise click.UsageError("--watch is for people; without it, --json says what is now.")
    if watch:
        from engine.cli.watch import watch as show

        show()
        return
    from engine.runs import find

    runs = [_look(run) for run in find()]
    if as_json:
        output.result_json({"runs": runs})
        return
    if not runs:
        output.talk("no run is going on here")
    for run in runs:
        output.result(_said(run))


def _look(run: FoundRun) -> dict[str, Any]:
    """Facts of one run. Looking costs it nothing: only shared words are read."""
    plan = run.plan
    facts: dict[str, Any] = {
        "run_id": plan.run_id,
        "name": plan.experiment.experiment.name,
        "run_folder": plan.run_folder,
        "pid": plan.pid,
        "alive": run.alive,
        "started_utc_ns": plan.started_utc_ns,
        "listen": plan.experiment.camera.listen,
    }
    return facts | {"phase": phase_of(plan)} | _figures(run) if run.alive else facts


def _figures(run: FoundRun) -> dict[str, Any]:
    from bridge.figures import Figures
    from engine.rings import Rings
    from engine.shm.segment import SegmentError

    try:
        with Rings(run.plan, owner=False) as rings:
            figures = Figures(rings)
            closed = figures.tally()["closed"]  # the closing place is no frame
            processes = figures.processes()
            return {
                "received": rings.frames.newest + 1 - closed,
                "published": rings.results.newest + 1 - closed,
                "ring": {"used": rings.frames.newest - rings.results.newest, "slots": rings.frames.slots},
                "processes": processes,
            }
    except (SegmentError, RuntimeError):
        return {}  # it is starting, or ended while we looked


def _said(run: dict[str, Any]) -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run["started_utc_ns"] / 1e9))
    head = f"{run['run_id'][:6]}  {run['name']}  since {since}  process {run['pid']}  {run['run_folder']}"
    if not run["alive"]:
        return head + "\n        did not end in order; the next run cleans up"
    if "received" not in run:
        return head + f"\n        {run['phase']}"
    ring = run["ring"]
    lines = [
        head,
        f"        {run['phase']}  received {run['received']}  published {run['published']}  "
        f"ring {ring['used']}/{ring['slots']}  listens at {run['listen']}",
    ]
    rows = []
    for name, process in run["processes"].items():
        counts = " ".join(f"{key} {value}" for key, value in process["counters"].items() if value)
        rows.append((name, state_shown(process["state"], run["phase"]), counts))
    return "\n".join([*lines, output.table(rows, indent="        ")])


def state_shown(state: str, phase: str) -> str:
    """The state of a process for people: who has not come yet while a run starts is not missing."""
    return "awaited" if state == "absent" and phase.startswith("starting") else state
