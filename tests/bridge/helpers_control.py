"""A control server in a thread, on shared memory of its own."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from bridge.control import COUNTERS, Server
from bridge.desk import Desk
from engine.experiment import Camera, Experiment
from engine.plan import Geometry, Plan, ProcessPlan
from engine.process import Job
from engine.rings import Rings

SHAPE = (48, 64)


@contextmanager
def served(folder: Path, listen: str = "tcp://127.0.0.1:0", camera: str = "tcp://127.0.0.1:1") -> Iterator[Job]:
    """A run that has a control server, in a thread, and no frames."""
    folder.mkdir(exist_ok=True)
    experiment = Experiment.load(None, ["ring.max_particles=8", f"control.listen={listen}"], {}, machine=False)
    settings = Camera(listen=camera, width=SHAPE[1], height=SHAPE[0], dtype="uint16", fps=50)
    experiment = msgspec.structs.replace(experiment, camera=settings)
    plan = Plan(
        run_id=os.urandom(8).hex(), pid=os.getpid(), started_utc_ns=0, started_mono_ns=0, run_folder=str(folder),
        experiment=experiment,
        geometry=Geometry(
            frame_slots=8, result_slots=8, depth=4, units_of_step=(1,), scratch_bytes=1 << 20, state_bytes=4096,
            blocks=2,
        ),
        processes=(
            ProcessPlan(name="receiver", target="bridge.receiver:main", kind="receiver", block=0),
            ProcessPlan(name="control", target="bridge.control:main", kind="control", block=1),
        ),
    )  # fmt: skip
    with Rings.create(plan):
        job = Job(plan, "control")
        job.status.open(os.getpid(), time.monotonic_ns(), COUNTERS)
        with job.rings, closing(Desk(job)) as desk, Server(job, desk) as server:
            over = threading.Event()

            def serve() -> None:
                while not over.is_set():
                    server.step()
                    desk.go_on()

            thread = threading.Thread(target=serve, name="control server")
            thread.start()
            try:
                yield job
            finally:
                over.set()
                thread.join()
