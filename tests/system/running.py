"""Real runs for tests of the whole: `ringtrack` as a subprocess, real sockets, real files, real shared memory.

A `Laboratory` is a folder of its own: settings, recordings, data, and a runtime folder, so that runs of others on this
machine are not seen and do not see it.

    lab = Laboratory(tmp_path)
    ended = lab.run(lab.settings(camera={"fps": 24}), "--source", str(stack))     # blocks
    ended.status, ended.summary["frames_lost"], ended.record.tracks_array
    with lab.started(lab.settings()) as run:                                      # ready for frames when it is entered
        run.kill("linker-0"); run.rings.results.newest; ended = run.stop()
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from engine.plan import Plan
from engine.rings import Rings
from engine.shm.status import ProcessState
from recorders import Run

LIMIT_S = 110.0
"""So long a run of a test may take, compiling kernels included."""
BULK_WATER: dict[str, dict[str, Any]] = {
    "camera": {"width": 640, "height": 424, "dtype": "uint8", "fps": 24},
    "tracking": {
        "diameter": 11, "separation": 12, "minmass": 20, "percentile": 64, "invert": True, "max_ecc": 1e9,
    },
    "linking": {"search_range": 5, "memory": 2},
}  # fmt: skip
"""Settings for the recording of spheres in water."""
_PROGRAM = "import sys; from engine.cli import main; sys.exit(main())"


def free_port() -> int:
    """A port that nobody listens at, on the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = 30.0) -> Any:
    """Look every few milliseconds until `condition` is true; its value. Fails with `what` was awaited."""
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {timeout_s:g} s for {what}"
        threading.Event().wait(0.005)
    return value


@dataclass(frozen=True)
class Ended:
    """What a command said and left."""

    status: int
    stdout: str
    stderr: str

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The JSON object on standard output."""
        parsed: dict[str, Any] = json.loads(self.stdout)
        return parsed

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Frames received, tracked, recorded, lost."""
        received, tracked, recorded, lost = (
            self.summary[f"frames_{name}"] for name in ("received", "tracked", "recorded", "lost")
        )
        return received, tracked, recorded, lost

    @property
    def folder(self) -> Path:
        return Path(self.summary["run_folder"])

    @property
    def record(self) -> Run:
        """What was recorded, as `recorders.Run` opens it."""
        return Run.open(self.folder)

    @property
    def tracks_bytes(self) -> bytes:
        """`/tracks`, for runs that must be the same to the byte."""
        return self.record.tracks_array.tobytes()

    @property
    def log(self) -> list[dict[str, Any]]:
        """The lines of the run's log."""
        return [json.loads(line) for line in (self.folder / "log.jsonl").read_text().splitlines()]


class Running:
    """A run that goes on; `Laboratory.started` makes it and ends it."""

    def __init__(self, process: subprocess.Popen[str], plan: Plan, rings: Rings, out: Any, err: Any) -> None:
        self.process = process
        self.plan = plan
        self.rings = rings
        self._out, self._err = out, err

    @property
    def address(self) -> str:
        """Where senders connect to."""
        return self.plan.experiment.camera.listen

    @property
    def folder(self) -> Path:
        return Path(self.plan.run_folder)

    @property
    def received(self) -> int:
        return self.rings.frames.newest + 1

    @property
    def published(self) -> int:
        return self.rings.results.newest + 1

    def pid(self, name: str) -> int:
        """Of a process of the run ("linker-0"); 0 while it is not there. "supervisor" is one too."""
        return self.process.pid if name == "supervisor" else self.rings.block(name).pid

    def names(self, kind: str) -> list[str]:
        return [process.name for process in self.plan.of_kind(kind)]

    def working(self, kind: str) -> list[str]:
        """The processes of a kind that do its work at this moment, without the spares."""
        return [n for n in self.names(kind) if self.rings.block(n).state is ProcessState.READY]

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to a process of the run; its pid."""
        pid = wait_until(lambda: self.pid(name), f"{name} to be there")
        os.kill(pid, number)
        return int(pid)

    def ready(self) -> bool:
        """Whether every process may be used."""
        usable = (ProcessState.READY, ProcessState.SPARE, ProcessState.STOPPED)
        return all(self.rings.block(process.name).state in usable for process in self.plan.processes)

    def stop(self) -> Ended:
        """End it in order, as Ctrl-C would."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.wait()

    def wait(self, timeout_s: float = LIMIT_S) -> Ended:
        """Wait until it ends by itself."""
        status = self.process.wait(timeout_s)
        return Ended(status, _text(self._out), _text(self._err))


class Laboratory:
    """See the module."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.data = folder / "data"
        self.runtime = folder / "runtime"
        self.runtime.mkdir(mode=0o700, exist_ok=True)
        self.environment = {k: v for k, v in os.environ.items() if not (k.startswith("RINGTRACK_") and "__" in k)}
        self.environment["XDG_RUNTIME_DIR"] = str(self.runtime)
        self._settings = 0

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def settings(self, base: Mapping[str, Mapping[str, Any]] | None = None, **sections: Mapping[str, Any]) -> Path:
        """Write a settings file: `base`, what the laboratory says (data, port), then `sections`."""
        merged: dict[str, dict[str, Any]] = {k: dict(v) for k, v in (base or {}).items()}
        own: dict[str, dict[str, Any]] = {
            "experiment": {"data": str(self.data)},
            "camera": {"listen": self.address},
            "control": {"listen": "tcp://127.0.0.1:0"},
        }
        for part in (own, sections):
            for name, keys in part.items():
                merged.setdefault(name, {}).update(keys)
        text = ""
        for name, keys in merged.items():
            text += f"[{name}]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in keys.items())
        self._settings += 1
        path = self.folder / f"experiment_{self._settings}.toml"
        path.write_text(text)
        return path

    def stack(self, frames: NDArray[Any], name: str = "stack.tif") -> Path:
        """Write frames as one TIFF stack."""
        path = self.folder / name
        tifffile.imwrite(path, frames, photometric="minisblack")
        return path

    def command(
        self, *args: str | Path, cwd: Path | None = None, timeout_s: float = LIMIT_S, within: Sequence[str] = ()
    ) -> Ended:
        """`ringtrack args…`, to its end; `within`: a program that runs it, as `unshare`."""
        done = subprocess.run(
            [*within, *_command(*args)], cwd=cwd or self.folder, env=self.environment, capture_output=True, text=True,
            timeout=timeout_s, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        return Ended(done.returncode, done.stdout, done.stderr)

    def run(self, settings: Path, *args: str | Path, **more: Any) -> Ended:
        """`ringtrack run settings --json args…`, to its end; `more` as `command` has it."""
        return self.command("run", settings, "--json", *args, **more)

    @contextmanager
    def started(self, settings: Path, *args: str | Path, cwd: Path | None = None) -> Iterator[Running]:
        """The same, entered when it is ready for frames; whatever happens in the block, nothing of it stays."""
        before = set(self._plans())
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            process = subprocess.Popen(
                _command("run", settings, "--json", *args), cwd=cwd or self.folder, env=self.environment,
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, text=True,
            )  # fmt: skip

            def appeared() -> Path | None:
                assert process.poll() is None, f"the run ended at once: {_text(err)}"
                return next((path for path in self._plans() if path not in before), None)

            try:
                plan = Plan.read(wait_until(appeared, "the run to be registered", LIMIT_S))
                with Rings(plan, owner=False) as rings:
                    wait_until(lambda: _attached(rings) or process.poll() is not None, "shared memory", LIMIT_S)
                    run = Running(process, plan, rings, out, err)
                    wait_until(lambda: run.ready() or process.poll() is not None, "the run to be ready", LIMIT_S)
                    assert process.poll() is None or not process.returncode, f"the run ended: {_text(err)}"
                    yield run
            finally:
                for number in (signal.SIGINT, signal.SIGINT, signal.SIGKILL):
                    if process.poll() is None:
                        process.send_signal(number)
                        try:
                            process.wait(20)
                        except subprocess.TimeoutExpired:
                            continue
                process.wait(20)

    def _plans(self) -> list[Path]:
        return list((self.runtime / "ringtrack").glob("*.json"))


def diffusing(
    count: int, frames: int, shape_hw: tuple[int, int], seed: int, *, step_px: float = 1.0, dtype: str = "uint16"
) -> NDArray[Any]:
    """A stack of spots that diffuse, with Poisson noise: what a test has where there is no recording."""
    rng = np.random.default_rng(seed)
    height, width = shape_hw
    at = rng.uniform((0, 0), (height, width), (count, 2))
    peak = (60.0 if dtype == "uint8" else 900.0) * rng.uniform(0.4, 1.0, count)
    y, x = np.arange(height)[:, None], np.arange(width)[None, :]
    stack = np.empty((frames, height, width), dtype)
    for image in stack:
        at = at + rng.normal(0, step_px, at.shape)
        rows = np.exp(-((y - at[:, 0]) ** 2) / 12.5)
        columns = np.exp(-((x - at[:, 1, None]) ** 2) / 12.5)
        image[...] = rng.poisson(20 + (rows * peak) @ columns).clip(0, np.iinfo(dtype).max)
    return stack


def _command(*args: str | Path) -> list[str]:
    script = Path(sys.executable).with_name("ringtrack")
    program = [str(script)] if script.exists() else [sys.executable, "-P", "-c", _PROGRAM]
    return [*program, *map(str, args)]


def _attached(rings: Rings) -> bool:
    from engine.shm.segment import SegmentError

    try:  # all that a test looks at, now, so that no test is blamed for the descriptors of a run it shares
        _ = rings.results, rings.frames, rings.ledger, rings.block("receiver")
        return True
    except SegmentError:  # not there yet, or not laid out yet
        return False


def _text(file: Any) -> str:
    file.seek(0)
    return str(file.read())


def _toml(value: Any) -> str:
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value)
