"""One run from beginning to end: clean up, plan, compile, shared memory, processes, and what it came to."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from engine import runs
from engine.clocks import measure_utc_offset
from engine.errors import InternalError, MachineError, SettingsError
from engine.experiment import Experiment
from engine.plan import Plan
from engine.process import Log
from engine.rings import Rings
from engine.shm.ring import OverrunError
from engine.shm.segment import NoRoomError, sweep
from engine.supervisor import kernels
from engine.supervisor.children import Child
from engine.supervisor.console import StatusLine
from engine.supervisor.planning import make_plan
from engine.supervisor.summary import LostRange, RunSummary, read_truth, summarise
from engine.supervisor.supervise import Phase, Supervisor

FORCED = 130


def _to_stderr(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class _Onlooker:
    """What happens at each tick of the supervisor: the status line, and the note when the first frame came."""

    def __init__(self, line: StatusLine, on_ready: Callable[[Plan], None]) -> None:
        self.first_received_ns = 0
        self._line = line
        self._on_ready = on_ready
        self._ready = False

    def __call__(self, supervisor: Supervisor) -> None:
        self._line(supervisor)
        if not self._ready and supervisor.phase is Phase.RUNNING:
            self._ready = True
            self._on_ready(supervisor.plan)
        results = supervisor.rings.results
        if not self.first_received_ns and results.newest >= 0:
            try:
                with results.view(0) as entry:
                    self.first_received_ns = int(entry.meta["t_received_ns"])
            except OverrunError:
                self.first_received_ns = supervisor.running_since_ns


def run(
    experiment: Experiment,
    *,
    source: str | None = None,
    source_options: dict[str, Any] | None = None,
    duration_s: float = 0.0,
    quiet: bool = False,
    say: Callable[[str], None] = _to_stderr,
    on_ready: Callable[[Plan], None] = lambda _: None,
) -> RunSummary:
    """Run an experiment until its source ends, its time is over, or it is told to stop (SIGINT, SIGTERM).

    Blocks; call it in the main thread. `source`: also send from here (see `bridge.send`), and end when that ends.
    Raises SettingsError or MachineError before anything was started; nothing is left behind then.
    """
    _refuse_elsewhere()
    for text in clean_up():
        say(text)
    _refuse_conflict(experiment)
    if not kernels.are_compiled(experiment):
        say("compiling the kernels for this processor (once, about half a minute) …")
        kernels.compile_for(experiment)
    with ExitStack() as stack:
        folder = _allot(experiment)
        plan = make_plan(experiment, folder, source, source_options)
        path = stack.enter_context(runs.registered(plan))
        rings = stack.enter_context(_rings(plan))
        log = Log(folder / "log.jsonl", "supervisor")
        log("info", "run started", run_id=plan.run_id, shared_bytes=rings.bytes)
        if not quiet:
            say(f"run {folder}  ({rings.bytes / 2**20:.0f} MiB of shared memory)")
        environment = kernels.child_environment()
        children = [Child(process, rings.block(process.name), path, environment) for process in plan.processes]
        line = StatusLine(quiet=quiet)
        onlooker = _Onlooker(line, on_ready)
        supervisor = Supervisor(plan, rings, children, onlooker, duration_s or experiment.experiment.duration_s)
        supervisor.run()
        line.end()
        truth = read_truth(rings, supervisor.tally(), onlooker.first_received_ns)
    recorded, missed = _finish_recording(plan, log)
    status, reason = _verdict(supervisor)
    summary = summarise(
        truth,
        recorded,
        missed,
        children,
        run_folder=str(folder),
        run_id=plan.run_id,
        status=status,
        reason=reason,
        recording=experiment.record.hdf5,
    )
    if status == 0 and summary.frames_lost > experiment.experiment.max_lost:
        summary = msgspec.structs.replace(
            summary,
            status=4,
            reason=f"{summary.frames_lost} frames were lost, {experiment.experiment.max_lost} are allowed "
            "(experiment.max_lost)",
        )
    _write_run_json(plan, summary, rings_bytes=rings.bytes)
    log("info", "run ended", status=summary.status, frames_lost=summary.frames_lost)
    return summary


def clean_up() -> list[str]:
    """Remove what dead runs left: their segments and their files in the runtime folder. What was done, as sentences."""
    said = []
    for plan in runs.sweep_dead():
        said.append(f"the run {plan.run_folder} (process {plan.pid}) did not end in order; its files are being closed")
        _clear_marks(Path(plan.run_folder))
    swept = sweep()
    if swept:
        names = ", ".join(segment.name for segment in swept)
        size = sum(segment.size for segment in swept) / 2**20
        said.append(f"removed {len(swept)} segments of dead runs ({size:.0f} MiB): {names}")
    return said


def _refuse_elsewhere() -> None:
    if sys.platform != "linux":
        raise MachineError(
            f"the engine runs on Linux; this is {platform.system()}. From here, `ringtrack send` reaches one"
        )


def _refuse_conflict(experiment: Experiment) -> None:
    for other in runs.living():
        if other.plan.experiment.camera.listen == experiment.camera.listen:
            since = time.strftime("%H:%M:%S", time.localtime(other.plan.started_utc_ns / 1e9))
            raise MachineError(
                f"camera.listen: {experiment.camera.listen} belongs to the run "
                f"{other.plan.experiment.experiment.name!r} (process {other.plan.pid}, since {since}). "
                "Stop it (ringtrack stop) or use another port"
            )


def _allot(experiment: Experiment) -> Path:
    from recorders.runfolder import allot

    return allot(Path(experiment.experiment.data).absolute(), experiment).path


def _rings(plan: Plan) -> Rings:
    try:
        return Rings.create(plan)
    except NoRoomError as error:
        raise MachineError(str(error)) from error


def _verdict(supervisor: Supervisor) -> tuple[int, str]:
    if supervisor.forced:
        return FORCED, "stopped by force"
    if supervisor.fault:
        return supervisor.fault_status, supervisor.fault
    dead = [child.name for child in supervisor.children if child.given_up]
    return (4, f"{', '.join(dead)} stayed dead") if dead else (0, "")


def _finish_recording(plan: Plan, log: Log) -> tuple[int, list[LostRange]]:
    """Join the parts, and count what is in the file: frames recorded, and what the recorder missed."""
    if not plan.experiment.record.hdf5:
        return 0, []
    from engine.accounting import Step
    from recorders.join import join
    from recorders.parts import RunError
    from recorders.run import Run
    from recorders.runfolder import RunFolder

    first = RunFolder(Path(plan.run_folder)).hdf5
    _clear_marks(first.parent)
    try:
        joined = join(first)
        if joined.message:
            log("info", joined.message)
        recording = Run.open(first)
        recorded = int(recording.accounting["out"][Step.RECORDER.name.lower()])
        lost = recording.lost
    except RunError as error:
        log("error", str(error))
        return 0, []
    own = lost[lost["step"] == Step.RECORDER.name.lower()]
    columns = (own[name].tolist() for name in ("first", "last", "step", "cause"))
    return recorded, [LostRange(*row) for row in zip(*columns)]


def _clear_marks(folder: Path) -> None:
    """Files of recorders that died say "open for writing"; say that nobody writes."""
    from recorders.h5clear import NotClearedError, clear

    for path in folder.glob("*.h5"):
        try:
            clear(path)
        except (NotClearedError, OSError) as error:
            Log(folder / "log.jsonl", "supervisor")("warning", f"{path.name}: {error}")


def _write_run_json(plan: Plan, summary: RunSummary, rings_bytes: int) -> None:
    from recorders.runfolder import RunFolder

    offset = measure_utc_offset()
    content = {
        "summary": msgspec.to_builtins(summary),
        "started_utc_ns": plan.started_utc_ns,
        "started_mono_ns": plan.started_mono_ns,
        "utc_offset_ns": offset.offset_ns,
        "utc_offset_error_ns": offset.error_ns,
        "shared_bytes": rings_bytes,
        "geometry": msgspec.to_builtins(plan.geometry),
        "host": {
            "name": platform.node(),
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        },
        "versions": {name: version(name) for name in ("ringtrack", "numpy", "numba", "pyzmq", "h5py")},
    }
    RunFolder(Path(plan.run_folder)).write_json(content)


def refuse_bad_request(request: dict[str, Any]) -> None:
    """A request of `engine.supervisor.background` that is not one of this version."""
    if request.get("version") != 1:
        raise SettingsError(f"background run: version {request.get('version')}, this program reads 1")


__all__ = ["InternalError", "clean_up", "run"]
