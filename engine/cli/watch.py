"""`ringtrack status --watch`: the whole system at a glance, from the shared words of the runs alone."""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack, suppress
from typing import Any

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from bridge.figures import Figures
from engine.cli import output
from engine.cli.status import state_shown
from engine.rings import Rings
from engine.runs import FoundRun, find, phase_of
from engine.shm.segment import SegmentError

EVERY_S = 0.5
_COLOURS = {
    "ready": "green", "spare": "cyan", "starting": "yellow", "awaited": "yellow", "stopped": "dim", "absent": "red",
}  # fmt: skip
_SHOWN = 4  # counters of a process


class Watcher:
    """Keeps the runs that it has seen open, so that rates are over the time between two looks."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[ExitStack, Figures]] = {}

    def picture(self) -> RenderableType:
        """All runs as they are now."""
        runs = find()
        for run_id in set(self._open) - {run.plan.run_id for run in runs if run.alive}:
            self._open.pop(run_id)[0].close()
        if not runs:
            return Text("no run is going on here", style="dim")
        return Group(*(self._run(run) for run in runs))

    def close(self) -> None:
        for stack, _ in self._open.values():
            stack.close()
        self._open.clear()

    def _run(self, run: FoundRun) -> RenderableType:
        plan = run.plan
        title = f"{plan.experiment.experiment.name}  {plan.run_id[:6]}  {plan.run_folder}"
        phase = phase_of(plan) if run.alive else ""
        if not run.alive:
            return Panel(Text("did not end in order; the next run cleans up", style="yellow"), title=title)
        try:
            if plan.run_id not in self._open:
                stack = ExitStack()
                rings = stack.enter_context(Rings(plan, owner=False))
                self._open[plan.run_id] = stack, Figures(rings)
            figures = self._open[plan.run_id][1]
            metrics, lost = figures.metrics(), figures.losses(1)
        except (SegmentError, RuntimeError):
            return Panel(Text(phase, style="yellow"), title=title)
        glance = _glance(metrics, lost, phase, plan.run_folder)
        return Panel(Group(glance, _processes(metrics["processes"], phase)), title=title)


def _glance(metrics: dict[str, Any], losses: list[dict[str, Any]], phase: str, folder: str) -> RenderableType:
    """The figures that people look for first, and the time of each step."""
    depth, slots = metrics["queue_depth"], metrics["ring_slots"]
    lost = Text(str(metrics["lost"]), style="bold red" if metrics["lost"] else "green")
    for last in losses:
        numbers = f"{last['first']}" if last["first"] == last["last"] else f"{last['first']} to {last['last']}"
        lost.append(f"  (last: {numbers} at {last['step']}, {last['cause']})", style="red")
    recording = metrics["recording"]
    minutes = "" if recording["minutes_left"] is None else f"  for {output.duration(60 * recording['minutes_left'])}"
    state = Text(recording["state"], style="bold red" if recording["state"] == "on" else "dim")
    if recording["state"] != "off":
        state.append(f"  {recording['name']}", style="not bold default")
    left = Table.grid(padding=(0, 2))
    rows: list[tuple[str, str | Text]] = [
        ("phase", Text(phase, style="" if phase == "running" else "yellow")),
        ("received", f"{metrics['received']}  ({metrics['receive_rate']:.0f}/s)"),
        ("tracked", f"{metrics['tracked']}  ({metrics['process_rate']:.0f}/s)"),
        ("recorded", f"{metrics['recorded']}  {output.size(metrics['bytes_recorded'])}"),
        ("recording", state),
        ("lost", lost),
        ("particles", f"{metrics['track_count']}  (mean {metrics['features_mean']:g})"),
        ("lag", f"{metrics['lag_ms']:.0f} ms  ({metrics['lag_frames']} frames)"),
        ("ring", f"{_bar(depth / max(1, slots))} {depth}/{slots}"),
        ("trackers busy", f"{_bar(metrics['worker_utilisation'])} {metrics['worker_utilisation']:.0%}"),
        ("settings", f"version {metrics['settings']}"),
        ("running", output.duration(metrics["seconds"])),
    ]
    with suppress(OSError):
        rows.append(("disk free", output.size(shutil.disk_usage(folder).free) + minutes))
    for name, value in rows:
        left.add_row(Text(name, style="dim"), value)
    right = Table("ms", "median", "99 %", "most", box=None, header_style="dim")
    for step, took in metrics["step_ms"].items():
        right.add_row(Text(step, style="dim"), f"{took['p50']:.1f}", f"{took['p99']:.1f}", f"{took['max']:.1f}")
    return Columns([left, right], padding=(0, 6))


def _processes(processes: dict[str, dict[str, Any]], phase: str) -> Table:
    table = Table("process", "state", "pid", "cores", "counts", box=None, header_style="dim", padding=(0, 2))
    for name, process in processes.items():
        state, counters = state_shown(process["state"], phase), process["counters"]
        counts = "  ".join(f"{key} {value}" for key, value in counters.items() if value and not key.endswith("_ns"))
        counts = "  ".join(counts.split("  ")[:_SHOWN])
        cores = ",".join(map(str, process["cores"])) or "any"
        table.add_row(name, Text(state, style=_COLOURS.get(state, "")), str(process["pid"]), cores, counts)
    return table


def _bar(share: float, width: int = 12) -> str:
    full = round(min(1.0, max(0.0, share)) * width)
    return "█" * full + "░" * (width - full)


def watch() -> None:
    """Until Ctrl-C. Where nobody can watch (no terminal) the picture is written once."""
    console, watcher = Console(), Watcher()
    try:
        if not console.is_terminal:
            watcher.picture()
            time.sleep(EVERY_S)  # a rate needs two looks
            console.print(watcher.picture())
            return
        with Live(watcher.picture(), console=console, screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(EVERY_S)
                live.update(watcher.picture(), refresh=True)
    except KeyboardInterrupt:
        pass
    finally:
        watcher.close()
