"""A recorder over real rings and nothing else: the test is the supervisor, and whoever publishes; it may kill it.

Recorders are forked from a warm template, as in a run: of the second that an interpreter's start and imports take,
every life costs a fifth.
"""

from __future__ import annotations

import os
import random
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from engine.experiment import Experiment
from engine.plan import RECORDER_GRACE_S, Geometry, Plan, ProcessPlan
from engine.rings import Rings
from engine.shm.cursors import CursorTable
from engine.shm.status import ProcessState
from engine.supervisor import kernels
from engine.supervisor.template import StartedProcess, Template
from recorders.runfolder import RunFolder

REPOSITORY = Path(__file__).parents[2]
SLOTS = 64


@contextmanager
def warm() -> Iterator[Template]:
    """What recorders are forked from, loaded."""
    environment = kernels.child_environment() | {"PYTHONPATH": str(REPOSITORY)}
    with Template(environment, Experiment().to_toml(), kernels.forget) as template:
        while not template.ready:
            assert not template.fault, template.fault
            select.select([template.fd], [], [], 0.1)
            template.poll()
        yield template


class Recording:
    """A run with one recorder. `publish` is the linker's part; `close` or never."""

    def __init__(
        self, folder: Path, kind: str, template: Template, *, side: int = 16, of_frames: bool = False, **record: Any
    ) -> None:
        """`of_frames`: it reads the ring of frames, of `side` x `side` pixels. `record`: settings of that section."""
        experiment = Experiment()
        experiment = msgspec.structs.replace(
            experiment,
            camera=msgspec.structs.replace(experiment.camera, width=side, height=side),
            ring=msgspec.structs.replace(experiment.ring, max_particles=200),
            record=msgspec.structs.replace(experiment.record, **{"flush_s": 0.02, **record}),
        )
        self.folder = RunFolder(folder)
        self.plan = Plan(
            run_id=os.urandom(8).hex(),
            pid=os.getpid(),
            started_utc_ns=0,
            started_mono_ns=0,
            run_folder=str(folder),
            experiment=experiment,
            geometry=Geometry(
                frame_slots=SLOTS if of_frames else 2,
                result_slots=SLOTS,
                depth=2,
                units_of_step=(1,),
                scratch_bytes=64,
                state_bytes=64,
                blocks=1,
            ),
            processes=(
                ProcessPlan(
                    name=kind,
                    target=f"recorders.{kind}:main",
                    kind=kind,
                    block=0,
                    **({"frame_reader": 0} if of_frames else {"reader": 0, "grace_s": RECORDER_GRACE_S}),
                ),
            ),
        )
        self.kind = kind
        self.plan_file = folder / "plan.json"
        self.plan_file.write_bytes(self.plan.encode())
        self.rings = Rings.create(self.plan)
        self.cursors = CursorTable(self.rings.frames if of_frames else self.rings.results)
        self.process: StartedProcess | None = None
        self._template = template

    def start(self) -> None:
        self.rings.block(self.kind).reset()
        self.process = self._template.start(f"recorders.{self.kind}:main", self.kind, self.plan_file)

    def wait_ready(self) -> None:
        end = time.monotonic() + 30
        while self.rings.block(self.kind).state != ProcessState.READY:
            assert not self.has_ended, self.complaint()
            assert time.monotonic() < end, "the recorder was not ready in time"
            time.sleep(0.002)

    def wait_for_room(self, place: int) -> bool:
        """Wait until the slot of a place may be written again; False if the recorder ended meanwhile."""
        while place - SLOTS > self.cursors.cursor(0):
            if self.has_ended:
                return False
            time.sleep(0.0005)
        return True

    def publish(self, place: int, meta: np.void, rows: np.ndarray) -> bool:
        """Wait for room as the linker does, then publish a result; False if the recorder ended meanwhile."""
        if not self.wait_for_room(place):
            return False
        results = self.rings.results
        results.invalidate(place)
        results.record(place)[0] = meta
        results.payload(place)[: len(rows)] = rows
        results.publish(place, "test")
        return True

    @property
    def running(self) -> StartedProcess:
        """Its process, which was started and not reaped."""
        assert self.process
        return self.process

    @property
    def has_ended(self) -> bool:
        return self._ends_within(0)

    def complaint(self) -> str:
        """What it said before it ended."""
        said = b""
        with suppress(BlockingIOError):
            while more := os.read(self.running.stderr_fd, 1 << 16):
                said += more
        return said.decode()

    def cut_the_life_line(self) -> None:
        """What the supervisor's death is to it."""
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, self.running._life_line)  # which is closed by that, and to be closed when it is reaped
        os.close(nothing)

    def kill(self) -> None:
        self.running.kill()
        self.reap()

    def reap(self) -> int:
        """Its exit status, when it has ended by itself; what it said is in `errors`. Its life-line stays whole."""
        assert self._ends_within(60), "it did not end"
        self.errors = self.complaint()
        status = self.running.reap()
        self.process = None
        return status

    def _ends_within(self, timeout_s: float) -> bool:
        return bool(select.select([self.running.pidfd], [], [], timeout_s)[0])

    def close(self) -> None:
        if self.process:
            self.kill()
        del self.cursors
        self.rings.close()


def kill_again_and_again(
    recording: Recording,
    publish: Callable[[int], object],
    *,
    kills: int,
    places: int,
    seed: int,
    apart_s: float,
    killed_at: Callable[[int, random.Random], None] = lambda safe, dice: None,
) -> int:
    """Publish so many places, or more, while the recorder is killed at random moments; how many were published.

    Kills are `apart_s` apart at most, some of them while the next one starts. `killed_at` is told up to which place all
    was safe, while no recorder is alive.
    """
    dice = random.Random(seed)
    started = time.monotonic()
    recording.start()
    recording.wait_ready()
    start_s = time.monotonic() - started
    place = killed = 0
    next_kill = time.monotonic() + dice.uniform(0.0, apart_s)
    while killed < kills or place < places:
        publish(place)
        place += 1
        if killed < kills and time.monotonic() >= next_kill:
            safe = recording.cursors.cursor(0)
            recording.kill()
            killed += 1
            killed_at(safe, dice)
            recording.start()
            if dice.random() < 0.3:  # and once more while it makes its file
                time.sleep(start_s * dice.uniform(0.7, 1.05))
                recording.kill()
                killed += 1
                recording.start()
            recording.wait_ready()
            next_kill = time.monotonic() + dice.uniform(0.0, apart_s)
    return place
