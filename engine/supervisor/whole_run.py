"""One run from beginning to end: clean up, plan, compile, shared memory, processes, and what it came to."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from bridge.web.access import page_lines
from engine import runs
from engine.accounting import LostRange, Pictures
from engine.addresses import USUAL, local_name, parse_address
from engine.clocks import measure_utc_offset, monotonic_ns
from engine.errors import MachineError, SettingsError
from engine.experiment import Experiment
from engine.plan import Plan
from engine.process import Log
from engine.rings import Rings
from engine.shm.ring import OverrunError
from engine.shm.segment import NoRoomError, sweep
from engine.supervisor import kernels
from engine.supervisor.children import Child
from engine.supervisor.console import StatusLine
from engine.supervisor.overheard import Overheard
from engine.supervisor.planning import make_plan
from engine.supervisor.summary import FORCED, Recording, RunSummary, Truth, read_truth, summarise
from engine.supervisor.supervise import Phase, Supervisor
from engine.supervisor.template import Template


def _to_stderr(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class _Onlooker:
    """What happens at each tick of the supervisor: the status line, and the note when the first frame came."""

    def __init__(
        self, line: StatusLine, overheard: Overheard, say: Callable[[str], None], on_ready: Callable[[Plan], None]
    ) -> None:
        self.first_received_ns = 0
        self.line = line
        self.overheard = overheard
        self._say = say
        self._on_ready = on_ready
        self._ready = False

    def __call__(self, supervisor: Supervisor) -> None:
        self.line(supervisor)
        self.overheard.poll()
        if not self._ready and supervisor.phase is Phase.RUNNING:
            self._ready = True
            for text in page_lines(Path(supervisor.plan.run_folder)):
                self._say(text)
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
    kernels.sweep_old()
    _refuse_missing(experiment)
    _refuse_conflict(experiment)
    duration_s = duration_s or experiment.experiment.duration_s
    # The template loads while the rest is made ready.
    with (
        Template(kernels.child_environment(), experiment.to_toml(), kernels.forget) as template,
        _folder_of_a_run_that_ran(experiment) as folder,
    ):
        log = Log(folder / "log.jsonl", "supervisor")
        if not kernels.are_compiled(experiment):
            kind = f"{experiment.camera.dtype} frames"
            say(f"compiling the kernels for {kind} on this processor (once, about half a minute) …")
            log("info", f"{Phase.STARTING.value}: compiling the kernels, once", event="phase")
        plan = make_plan(experiment, folder, source, source_options)
        _write_run_json(plan, None)
        onlooker = _Onlooker(StatusLine(quiet=quiet), Overheard(folder / "log.jsonl", say), say, on_ready)
        supervisor, truth = _supervise(plan, template, log, onlooker, say, duration_s)
        if supervisor.unfit:
            raise (SettingsError if supervisor.fault_status == SettingsError.exit_status else MachineError)(
                supervisor.fault
            )
    seconds = (monotonic_ns() - plan.started_mono_ns) / 1e9
    recording = _finish_recording(plan, log)
    status, reason = _verdict(supervisor)
    summary = summarise(
        truth,
        recording,
        supervisor.children,
        run_folder=str(folder),
        run_id=plan.run_id,
        status=status,
        reason=reason,
        seconds=seconds,
        pictures=_pictures(truth, folder, experiment),
    )
    if status == 0 and summary.frames_lost > experiment.experiment.max_lost:
        summary = msgspec.structs.replace(
            summary,
            status=4,
            reason=f"frames lost: {summary.frames_lost}; allowed: {experiment.experiment.max_lost} "
            "(experiment.max_lost)",
        )
    try:
        _write_run_json(plan, summary)
    except OSError as error:  # full, or a drive that was taken away: what the run came to is said all the same
        say(f"{folder}/run.json could not be written: {os.strerror(error.errno or 5)}")
    log("info", "run ended", status=summary.status, frames_lost=summary.frames_lost)
    return summary


def _supervise(
    plan: Plan, template: Template, log: Log, onlooker: _Onlooker, say: Callable[[str], None], duration_s: float
) -> tuple[Supervisor, Truth]:
    """Shared memory up, processes up, until the end; what the rings said before they were taken down."""
    with ExitStack() as stack:
        path = stack.enter_context(runs.registered(plan))
        rings = stack.enter_context(_rings(plan))
        log("info", "run started", run_id=plan.run_id, shared_bytes=rings.bytes)
        if not onlooker.line.quiet:
            mib = f"{rings.bytes / 2**20:.0f} MiB of shared memory"
            say(f"run {plan.run_id[:6]}  {plan.run_folder}  ({mib})")
        children = [Child(process, rings.block(process.name), path, template) for process in plan.processes]
        supervisor = Supervisor(plan, rings, children, template, onlooker, duration_s, say)
        supervisor.run()
        if supervisor.running_since_ns:
            kernels.remember_compiled(plan.experiment)
        onlooker.line.end()
        onlooker.overheard.poll(at_once=True)
        return supervisor, read_truth(rings, supervisor.tally(), onlooker.first_received_ns)


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


def _refuse_missing(experiment: Experiment) -> None:
    """Packages that this run needs and that are an extra are missed now, not at minute 40."""
    record, web = experiment.record, experiment.web
    pictures = ("hdf5plugin", "imagecodecs")
    for key, wanted, packages, extra in (
        ("record.images", record.images, pictures, ""),
        ("record.crop_size", record.crop_size > 0, pictures, ""),
        ("record.tiff", record.tiff and record.tiff_compression != "none", ("imagecodecs",), ""),
        ("web.enabled", web.enabled, ("tornado", "PIL"), "'ringtrack[web]'"),
    ):
        missing = [package for package in packages if wanted and find_spec(package) is None]
        if missing:
            install = extra or " ".join(missing)
            raise MachineError(f"{key}: needs what is not installed here. Try: pip install {install}")


def _refuse_conflict(experiment: Experiment) -> None:
    for other in runs.living():
        if other.plan.experiment.camera.listen == experiment.camera.listen:
            since = time.strftime("%H:%M:%S", time.localtime(other.plan.started_utc_ns / 1e9))
            raise MachineError(
                f"camera.listen: {experiment.camera.listen} belongs to the run "
                f"{other.plan.experiment.experiment.name!r} (process {other.plan.pid}, since {since}). "
                "Stop it (ringtrack stop) or use another address"
            )
    _refuse_taken_address(experiment.camera.listen)


def _refuse_taken_address(listen: str) -> None:
    """Say now what the receiver would find out when everything else has been loaded."""
    try:
        family, address = _bound_to(listen)
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        other = _beside(listen) if in_use else USUAL
        fact = "is in use by another program. Stop it, or" if in_use else f"cannot be had: {error.strerror}. Please"
        raise MachineError(f"camera.listen: {listen} {fact} choose another (--set camera.listen={other})") from None


def _beside(listen: str) -> str:
    """An address that is likely to be free."""
    if name := local_name(listen):
        return f"ipc://@{name[:88]}-2"
    host, port = parse_address(listen)
    return f"tcp://{host}:{port + 10 if port < 65000 else port - 10}"


def _bound_to(listen: str) -> tuple[socket.AddressFamily, Any]:
    """What a socket that listens there is bound to. Raises OSError."""
    if name := local_name(listen):
        return socket.AF_UNIX, f"\0{name}"
    host, port = parse_address(listen)
    found = socket.getaddrinfo("0.0.0.0" if host == "*" else host, port, type=socket.SOCK_STREAM)
    return found[0][0], found[0][-1]


@contextmanager
def _folder_of_a_run_that_ran(experiment: Experiment) -> Iterator[Path]:
    """A new run folder; it goes again if the run was refused before it began."""
    from recorders.runfolder import allot

    folder = allot(Path(experiment.experiment.data).absolute(), experiment).path
    try:
        yield folder
    except (MachineError, SettingsError):
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            folder.parent.rmdir()  # the day, if this was its only run
        raise


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


def _finish_recording(plan: Plan, log: Log) -> Recording | None:
    """Join the parts, and count what is in the file; None if nothing was to be recorded."""
    if not plan.experiment.record.hdf5:
        return None
    from engine.accounting import Step
    from recorders.join import join
    from recorders.parts import RunError
    from recorders.pictures import link
    from recorders.run import Run
    from recorders.runfolder import RunFolder

    folder = RunFolder(Path(plan.run_folder))
    first = folder.hdf5
    _clear_marks(first.parent)
    try:
        try:
            joined = join(first)
            if joined.message:
                log("info", joined.message)
        except OSError as error:  # the parts are as they were, and are read as one
            log("error", f"{first.name} stays in its parts: {error}")
        try:
            if plan.experiment.record.images or plan.experiment.record.crop_size:
                link(folder)
        except (OSError, RunError) as error:
            log("error", f"{first.name} has no link to camera frames and crops, which are read all the same: {error}")
        opened = Run.open(first)
        account, lost = opened.accounting, opened.lost
        last_frame = int(opened.metadata["processing_metrics"]["last_frame"])
        paused = opened.paused
    except RunError as error:
        log("error", str(error))
        return Recording(0, 0, -1, [], {})
    recorder = Step.RECORDER.name.lower()
    own = lost[lost["step"].isin([Step.TRACKER.name.lower(), recorder])]
    columns = (own[name].tolist() for name in ("first", "last", "step", "cause"))
    lost_at = {str(step): int(count) for step, count in account["lost"].items()}
    ranges = [LostRange(*row) for row in zip(*columns)]
    return Recording(int(account["out"][recorder]) - paused, paused, last_frame, ranges, lost_at)


def _pictures(truth: Truth, folder: Path, experiment: Experiment) -> list[Pictures]:
    """Of each recorder of camera frames: what it kept, and what it was too slow for."""
    from recorders.missed import pictures_of

    return pictures_of(truth.pictures, folder, experiment.record.image_every)


def _clear_marks(folder: Path) -> None:
    """Files of recorders that died say "open for writing"; say that nobody writes."""
    from recorders.h5clear import NotClearedError, clear

    for path in folder.glob("*.h5"):
        try:
            clear(path)
        except (NotClearedError, OSError) as error:
            Log(folder / "log.jsonl", "supervisor")("warning", f"{path.name}: {error}")


def _write_run_json(plan: Plan, summary: RunSummary | None) -> None:
    """What programs want to know of the run; without a summary while it goes on, or if it never ended in order."""
    from recorders.runfolder import RunFolder

    offset = measure_utc_offset()
    content = {
        "summary": msgspec.to_builtins(summary),
        "started_utc_ns": plan.started_utc_ns,
        "started_mono_ns": plan.started_mono_ns,
        "utc_offset_ns": offset.offset_ns,
        "utc_offset_error_ns": offset.error_ns,
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
