"""A run's shared memory and its receiver process, without the rest of the run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np

from engine.experiment import Camera, Experiment
from engine.experiment import Ring as RingSettings
from engine.plan import Geometry, Plan, ProcessPlan
from engine.rings import Rings
from engine.shm.status import Command, ProcessState

REPOSITORY = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Receiving:
    """Rings with `slots` places and nobody who tracks, and `bridge.receiver:main` in a process of its own."""

    def __init__(
        self,
        folder: Path,
        slots: int = 512,
        shape: tuple[int, int] = (48, 64),
        dtype: Literal["uint8", "uint16"] = "uint16",
        fps: float = 50,
        source: str = "",
    ) -> None:
        self.address = f"tcp://127.0.0.1:{free_port()}"
        camera = Camera(listen=self.address, width=shape[1], height=shape[0], dtype=dtype, fps=fps)
        experiment = Experiment(camera=camera, ring=RingSettings(max_particles=8))
        self.plan = Plan(
            run_id=os.urandom(8).hex(), pid=os.getpid(), started_utc_ns=0, started_mono_ns=0, run_folder=str(folder),
            experiment=experiment,
            geometry=Geometry(
                frame_slots=slots, result_slots=slots, depth=4, units_of_step=(1,), scratch_bytes=4096,
                state_bytes=4096, blocks=2,
            ),
            processes=(
                ProcessPlan(name="receiver", target="bridge.receiver:main", kind="receiver", block=0),
                ProcessPlan(
                    name="sender", target="bridge.send:main", kind="source", block=1,
                    options={"source": source, "watch": False},
                ),
            ),
        )  # fmt: skip
        self._path = folder / "plan.json"
        self._path.write_bytes(self.plan.encode())
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Receiving:
        self.rings = Rings.create(self.plan)
        self.rings.__enter__()
        self.start()
        return self

    def start_sender(self) -> subprocess.Popen[bytes]:
        """`bridge.send:main`, as a run with a source of its own starts it."""
        self.rings.block("sender").reset()
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "engine.child", "bridge.send:main", "sender", str(self._path)],
            stdin=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        )

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._reap()
        self.rings.close()

    def start(self) -> None:
        self.rings.raise_receiver_incarnation()
        self.rings.block("receiver").reset()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "engine.child", "bridge.receiver:main", "receiver", str(self._path)],
            stdin=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def wait_until_ready(self) -> None:
        end = time.monotonic() + 30
        while self.rings.block("receiver").state is not ProcessState.READY:
            assert time.monotonic() < end
            time.sleep(0.005)

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._reap()

    def stop(self) -> int:
        """Ask it to leave in order; gives its exit status."""
        assert self._process is not None
        self.rings.block("receiver").command(Command.STOP)
        status = self._process.wait(20)
        self._reap()
        return status

    def _reap(self) -> None:
        assert self._process is not None
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process = None

    # ---- what there is

    def metas(self) -> np.ndarray[Any, Any]:
        ring = self.rings.frames
        first = max(0, ring.newest + 1 - ring.slots)
        return np.concatenate([ring.record(place).copy() for place in range(first, ring.newest + 1)])

    def losses(self) -> list[tuple[int, int, int, int]]:
        ledger = self.rings.ledger
        records = ledger.read(0, ledger.count)
        return [(int(r["first"]), int(r["last"]), int(r["step"]), int(r["cause"])) for r in records]

    def counters(self) -> dict[str, int]:
        return self.rings.block("receiver").counters()
