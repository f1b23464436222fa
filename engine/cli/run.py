"""`ringtrack run`: one experiment, from the first process to the closing account."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli import output
from engine.cli.account import account_text
from engine.cli.figures import doubts

if TYPE_CHECKING:
    from engine.experiment import Experiment
    from engine.supervisor import RunSummary
    from recorders.compare import Comparison


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--source",
    metavar="SOURCE",
    help="Also send frames from here: a TIFF stack, a folder, a recorded run, or simulated. Ends with it.",
)
@click.option("--fps", type=click.FloatRange(min=0, min_open=True), help="Send so many a second (with --source).")
@click.option("--finished", is_flag=True, help="The folder is finished: track what is there, and end (with --source).")
@click.option("--duration", type=click.FloatRange(min=0), default=0.0, help="End after so many seconds.")
@click.option("--trace", metavar="5s", help="Write a trace of so long, from the first frame on, for ui.perfetto.dev.")
@click.option("--detach", is_flag=True, help="Return when it is ready; it goes on when this terminal is closed.")
@output.settings_options
@output.json_option
def command(
    path: Path,
    source: str | None,
    fps: float | None,
    finished: bool,
    duration: float,
    trace: str | None,
    detach: bool,
    overrides: tuple[str, ...],
    as_json: bool,
) -> int:
    """Run the experiment of the settings file PATH.

    It ends with its source, after --duration, or by Ctrl-C: the first one ends it in order (what is in the rings is
    still tracked and recorded), the second by force. With a recorded run as its source it tracks that again, and says
    whether the results differ from those in its file.
    """
    from engine.experiment import Experiment

    if source is None and (fps is not None or finished):
        raise click.UsageError("--fps and --finished go with --source; a sender of its own has its own.")
    trace_s = _seconds(trace)
    experiment = Experiment.load(path, overrides)
    for doubt in doubts(experiment):
        output.talk(f"warning: {doubt}")
    options: dict[str, Any] = {"watch": not finished}
    if fps is not None:
        options["fps"] = fps
    if source is not None:
        _refuse(source, not finished, experiment)
    if detach:
        return _detached(experiment, source, options, duration, trace_s, as_json)
    import msgspec

    from engine.supervisor import run

    summary = run(
        experiment,
        source=source,
        source_options=options,
        duration_s=duration,
        say=output.talk,
        on_ready=lambda plan: _trace(plan.run_id, trace_s),
    )
    compared = _compared(source, summary)
    if as_json:
        more = {} if compared is None else {"comparison": msgspec.to_builtins(compared)}
        output.result_json(msgspec.to_builtins(summary) | more)
    else:
        output.result(account_text(summary))
        if compared is not None:
            output.result("\n".join(compared.lines()))
    if summary.reason:
        output.talk(f"ringtrack: {summary.reason}")
    return summary.status


def _compared(source: str | None, summary: RunSummary) -> Comparison | None:
    """A recording that was tracked again, beside what its file says."""
    from recorders.playback import is_recording

    if source is None or not is_recording(Path(source).expanduser()):
        return None
    from recorders.compare import compare
    from recorders.parts import RunError

    try:
        return compare(Path(source).expanduser(), Path(summary.run_folder))
    except RunError as error:
        output.talk(f"warning: the results were not compared with those of {source}: {error}")
        return None


def _seconds(trace: str | None) -> float:
    """Of "5s", "5", "0.5 s"; 0: no trace."""
    if trace is None:
        return 0.0
    try:
        seconds = float(trace.strip().removesuffix("s"))
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 60:
        raise click.UsageError(f"--trace {trace}: write it as --trace 5s, at most 60s")
    return seconds


def _trace(run_id: str, seconds: float) -> None:
    """Have the control server write a trace; without one there is none, and the run goes on."""
    if not seconds:
        return
    from bridge.client import Client
    from bridge.control import local_address
    from engine.errors import PeerError

    try:
        with Client(local_address(run_id), timeout_s=2.0) as client:
            output.talk(f"a trace of {seconds:g} s is written: {client.trace(seconds)}")
    except PeerError as error:
        output.talk(f"warning: no trace: {error}")


def _refuse(text: str, watch: bool, experiment: Experiment) -> None:
    """A source that cannot be, or whose frames would all be refused, is told of now, before anything is started."""
    from engine.errors import SettingsError
    from engine.supervisor.replay import open_any

    source = open_any(text, watch=watch)
    try:
        kind = source.kind()
        doubt = getattr(source, "doubt", "")
    finally:
        source.close()
    if doubt:
        output.talk(f"warning: source: {doubt}")
    camera = experiment.camera
    if kind is None:
        return
    height, width, dtype = kind[0][0] or camera.height, kind[0][1] or camera.width, kind[1] or camera.dtype
    if (height, width, dtype) != (camera.height, camera.width, camera.dtype):
        raise SettingsError(
            f"source: the frames of {text} are {width} x {height} {dtype}; this experiment takes "
            f"{camera.width} x {camera.height} {camera.dtype}. Try --set camera.width={width} "
            f"--set camera.height={height} --set camera.dtype={dtype}"
        )


def _detached(
    experiment: Any, source: str | None, options: dict[str, Any], duration: float, trace_s: float, as_json: bool
) -> int:
    from bridge.web.access import page_lines
    from engine.supervisor.background import start

    started = start(experiment, source=source, source_options=options, duration_s=duration, detached=True)
    plan = started.plan
    _trace(plan.run_id, trace_s)
    started.leave()
    if as_json:
        output.result_json({"run_folder": plan.run_folder, "run_id": plan.run_id, "pid": plan.pid})
    else:
        output.result(plan.run_folder)
        for text in page_lines(Path(plan.run_folder)):
            output.talk(text)
        output.talk(
            f"Run {plan.run_id[:6]} goes on as process {plan.pid}. See: ringtrack status. "
            f"End it: ringtrack stop {plan.run_id[:6]}"
        )
    return 0
