"""From settings to a plan: how many slots, workers and tiles, which processes, on which cores."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import Any

import psutil

from engine.clocks import monotonic_ns
from engine.cores import parse_cores
from engine.errors import MachineError
from engine.experiment import Experiment
from engine.frames import FRAME_META
from engine.plan import RECORDER_GRACE_S, Geometry, Plan, ProcessPlan
from engine.rows import RESULT_META, ROW
from engine.workers.configure import detector_for, link_state_for, scratch_bytes_for, workers_for
from engine.workers.detector import units_of_steps
from engine.workers.linker import TALLY_BYTES

RESULT_SECONDS = 10.0
"""So long results are kept for recorders that stall."""
FEWEST_SLOTS = 16


def make_plan(
    experiment: Experiment, run_folder: Path, source: str | None = None, source_options: dict[str, Any] | None = None
) -> Plan:
    """Decide everything that is decided once. Raises MachineError if the memory is too small."""
    geometry, processes = _geometry(experiment), _processes(experiment, source, source_options or {})
    return Plan(
        run_id=secrets.token_hex(8),
        pid=os.getpid(),
        started_utc_ns=time.time_ns(),
        started_mono_ns=monotonic_ns(),
        run_folder=str(run_folder),
        experiment=experiment,
        geometry=geometry,
        processes=tuple(processes),
    )


def _geometry(experiment: Experiment) -> Geometry:
    camera, ring = experiment.camera, experiment.ring
    workers = workers_for(experiment)
    detector = detector_for(experiment)
    # With one unit a step every worker is on a frame of its own; two more are being filled and finished.
    depth = max(4, workers + 2)
    free = psutil.virtual_memory().available
    frame_bytes = camera.frame_bytes + FRAME_META.itemsize
    wanted = max(FEWEST_SLOTS, depth + 2, round(ring.seconds * camera.fps))
    frame_slots = min(wanted, int(free / 4 / frame_bytes))
    if frame_slots < min(wanted, max(FEWEST_SLOTS, depth + 2)):
        raise MachineError(
            f"memory: {free / 2**30:.1f} GiB are free; {FEWEST_SLOTS} frames of {frame_bytes / 2**20:.1f} MiB and "
            "as much again are needed. Close other programs, or track a smaller region"
        )
    result_bytes = RESULT_META.itemsize + ring.max_particles * ROW.itemsize
    result_slots = min(max(64, round(RESULT_SECONDS * camera.fps)), int(free / 8 / result_bytes))
    return Geometry(
        frame_slots=frame_slots,
        result_slots=max(frame_slots, result_slots),
        depth=depth,
        units_of_step=units_of_steps(detector),
        scratch_bytes=scratch_bytes_for(experiment),
        state_bytes=TALLY_BYTES + link_state_for(experiment).bytes,
        blocks=64,
    )


def _processes(experiment: Experiment, source: str | None, options: dict[str, Any]) -> list[ProcessPlan]:
    """The processes of a run: what design and operators talk about, in one list."""
    record, workers = experiment.record, workers_for(experiment)
    # A unit may be a whole frame: 0.02 s a megapixel as a rule; a hundred times that on a machine that is overloaded.
    stall_s = max(5.0, 2e-6 * experiment.camera.width * experiment.camera.height)
    wanted: list[dict[str, Any]] = [
        {"name": "receiver", "target": "bridge.receiver:main", "kind": "receiver", "nice": -10}
    ]
    wanted += [
        {"name": f"tracker-{i}", "target": "engine.workers.tracker:main", "kind": "tracker", "worker": i, "spares": 1,
         "stall_s": stall_s, "nice": -5 if experiment.slm.enabled else 0}  # light waits for them: no less than its own
        for i in range(workers + 1)
    ]  # fmt: skip
    wanted += [
        {"name": f"linker-{i}", "target": "engine.workers.linker:main", "kind": "linker", "spares": 1, "nice": -5}
        for i in range(2)
    ]
    readers = [name for name in ("hdf5", "csv") if getattr(record, name)]
    wanted += [
        {"name": name, "target": f"recorders.{name}:main", "kind": "recorder", "reader": i, "nice": 5,
         "stall_s": max(8.0, experiment.ring.hold_s + 5.0), "grace_s": RECORDER_GRACE_S, "vital": False}
        for i, name in enumerate(readers)
    ]  # fmt: skip
    wanted += [
        {"name": name, "target": f"recorders.{name}:main", "kind": "recorder", "frame_reader": i, "nice": 5,
         "stall_s": max(8.0, experiment.ring.hold_s + 5.0),
         "vital": False}
        for i, name in enumerate(name for name in ("images", "tiff") if getattr(record, name))
    ]  # fmt: skip
    if record.crop_size:  # positions from the results, pixels from the frames
        wanted.append(
            {"name": "crops", "target": "recorders.crops:main", "kind": "recorder", "reader": len(readers),
             "frame_reader": int(record.images) + int(record.tiff), "nice": 5,
             "stall_s": max(8.0, experiment.ring.hold_s + 5.0), "grace_s": RECORDER_GRACE_S, "vital": False}
        )  # fmt: skip
    if experiment.lsl.enabled:
        wanted.append({"name": "lsl", "target": "bridge.lsl.process:main", "kind": "lsl", "vital": False})
    if experiment.slm.enabled:
        wanted.append({"name": "slm", "target": "bridge.slm.process:main", "kind": "slm", "nice": -5, "vital": False})
    wanted.append(
        {"name": "control", "target": "bridge.control:main", "kind": "control", "nice": 5, "stall_s": 60.0,
         "vital": False}
    )  # fmt: skip
    if experiment.correction.background_s:
        wanted.append(
            {"name": "background", "target": "engine.workers.moving_background:main", "kind": "background", "nice": 10,
             "stall_s": 60.0, "vital": False}
        )  # fmt: skip
    if experiment.monitor.enabled:
        wanted.append(
            {"name": "monitor", "target": "bridge.monitor.process:main", "kind": "monitor", "nice": 5, "stall_s": 60.0,
             "vital": False}
        )  # fmt: skip
    if experiment.web.enabled:
        wanted.append(
            {"name": "web", "target": "bridge.web.server:main", "kind": "web", "nice": 5, "stall_s": 30.0,
             "vital": False}
        )  # fmt: skip
    if source is not None:
        wanted.append(
            {"name": "sender", "target": _sender_of(source), "kind": "source", "options": {"source": source} | options,
             "stall_s": 30.0}
        )  # fmt: skip
    cores = _cores_for(experiment, [w["name"] for w in wanted])
    return [ProcessPlan(block=i, cores=cores.get(w["name"], ()), **w) for i, w in enumerate(wanted)]


def _sender_of(source: str) -> str:
    """The process that sends: a recording is opened by what knows recordings."""
    from recorders.playback import is_recording

    again = is_recording(Path(source).expanduser())
    return "engine.supervisor.replay:main" if again else "bridge.send:main"


def _cores_for(experiment: Experiment, names: list[str]) -> dict[str, tuple[int, ...]]:
    """One core for each busy process where there are enough; nothing is pinned on a smaller machine.

    With `tracking.cores` the trackers get those, one each in turn, and the others stay off them where that leaves any.
    """
    trackers = [name for name in names if name.startswith("tracker")]
    usable = sorted(os.sched_getaffinity(0))
    chosen = list(parse_cores(experiment.tracking.cores))
    if chosen:
        others = tuple(core for core in usable if core not in chosen)
        pinned = {name: (chosen[i % len(chosen)],) for i, name in enumerate(trackers)}
        return pinned | ({name: others for name in names if name not in pinned} if others else {})
    busy = [name for name in names if not name.startswith("linker-1")]
    if len(usable) <= len(busy):
        return {}
    pinned = {name: (usable[1 + i],) for i, name in enumerate(trackers)}
    rest = tuple(core for core in usable if (core,) not in pinned.values())
    return pinned | {name: rest for name in names if name not in pinned}
