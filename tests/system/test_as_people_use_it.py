"""A run as people meet it: started in any folder, looked at, written notes for, ended; from a script too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.shm.segment import name_of
from tests.system.running import Laboratory, Running, diffusing, wait_until

SHAPE_HW = (120, 160)
SETTINGS: dict[str, dict[str, Any]] = {
    "experiment": {"name": "beads"},
    "notes": {"operator": "Ada"},
    "camera": {"width": SHAPE_HW[1], "height": SHAPE_HW[0], "dtype": "uint16", "fps": 50},
    "tracking": {"diameter": 11, "separation": 12, "minmass": 400},
}
_HOOK = """
import atexit, json, os, sys
from pathlib import Path
def tell(folder=Path({folder!r})):
    if len(sys.argv) == 4 and sys.argv[0].endswith("child.py"):
        (folder / f"{{sys.argv[2]}}.json").write_text(json.dumps(sorted(sys.modules)))
atexit.register(tell)
"""
_STRANGERS = ("engine", "bridge", "recorders", "click", "numpy", "zmq")


@pytest.fixture(scope="module")
def modules_of(shared_lab: Laboratory) -> Path:
    """Here each process of the run leaves the names of what it had imported, when it ends."""
    told, hook = shared_lab.folder / "modules", shared_lab.folder / "hook"
    told.mkdir()
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(_HOOK.format(folder=str(told)))
    paths = [str(hook), *filter(None, [os.environ.get("PYTHONPATH")])]
    shared_lab.environment["PYTHONPATH"] = os.pathsep.join(paths)
    return told


@pytest.fixture(scope="module")
def run(shared_lab: Laboratory, modules_of: Path) -> Iterator[Running]:
    """A run that was started in a folder where somebody else's packages of our names lie."""
    elsewhere = shared_lab.folder / "elsewhere"
    for name in _STRANGERS:
        (elsewhere / name).mkdir(parents=True)
        (elsewhere / name / "__init__.py").write_text("raise SystemExit('a stranger')")
    with shared_lab.started(shared_lab.settings(SETTINGS), cwd=elsewhere) as run:
        yield run


def test_frames_can_be_sent_from_another_terminal(run: Running, shared_lab: Laboratory) -> None:
    stack = shared_lab.stack(diffusing(20, 30, SHAPE_HW, seed=1))
    sent = shared_lab.command("send", stack, "--to", run.address, "--wait", "20", "--json")
    assert sent.status == 0, sent.stderr
    assert sent.summary["statistics"]["taken"] == 30
    wait_until(lambda: run.published == 30, "30 frames to be tracked")


def test_the_standard_librarys_shared_memory_opens_every_segment_and_does_no_harm(
    run: Running, shared_lab: Laboratory
) -> None:
    """Python's resource tracker removes a name that a program attached to and left open; the run does not mind."""
    reader = (
        "import sys\n"
        "from multiprocessing.shared_memory import SharedMemory\n"
        "for name in sys.argv[1:]:\n"
        "    memory = SharedMemory(name)\n"
        "    print(bytes(memory.buf[:8]).hex(), memory.size)\n"
        "    memory.close()\n"
    )
    names = [name_of(run.plan.run_id, kind) for kind in ("frames", "results", "work", "state", "status")]
    done = subprocess.run([sys.executable, "-c", reader, *names], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) == 5
    assert len({magic for magic, _ in lines}) == 1
    assert all(int(size) > 4096 for _, size in lines)
    before = run.received
    sent = shared_lab.command("send", shared_lab.folder / "stack.tif", "--to", run.address, "--wait", "20", "--json")
    assert sent.summary["statistics"]["taken"] == 30
    wait_until(lambda: run.published == before + 30, "the frames to be tracked")
    (found,) = shared_lab.command("status", "--json").summary["runs"]  # somebody who attaches anew
    assert found["published"] == before + 30


def test_status_tells_what_goes_on(run: Running, shared_lab: Laboratory) -> None:
    (found,) = shared_lab.command("status", "--json").summary["runs"]
    assert (found["run_id"], found["name"], found["alive"]) == (run.plan.run_id, "beads", True)
    assert found["received"] == found["published"] == run.received
    assert found["processes"]["receiver"]["counters"]["received"] == run.received
    assert {p["state"] for p in found["processes"].values()} <= {"ready", "spare"}
    text = shared_lab.command("status").stdout
    assert run.plan.run_id[:6] in text
    assert str(run.folder) in text


def test_a_second_run_on_the_port_is_refused_with_the_first_ones_name(run: Running, shared_lab: Laboratory) -> None:
    second = shared_lab.run(shared_lab.settings(SETTINGS))
    assert second.status == 3
    assert second.stderr.count("\n") == 1
    assert f"{run.address} belongs to the run 'beads' (process {run.process.pid}" in second.stderr
    assert run.process.poll() is None


def test_a_note_is_in_the_events_and_the_end_is_in_order(
    run: Running, shared_lab: Laboratory, modules_of: Path
) -> None:
    """Also: what each process had imported, and that `inspect` finds the run whole."""
    noted = shared_lab.command("note", "--json", "laser", "on,", "5 mW")
    assert noted.status == 0, noted.stderr
    assert json.loads(noted.stdout) == {
        "text": "laser on, 5 mW", "run_id": run.plan.run_id, "run_folder": str(run.folder),
    }  # fmt: skip
    stopped = shared_lab.command("stop")
    assert (stopped.status, stopped.stdout.strip()) == (0, str(run.folder)), stopped.stderr
    ended = run.wait()
    run.rings.close()
    received = ended.counts[0]
    assert ended.counts == (received, received, received, 0)
    notes = ended.record.events.query("kind == 'note'")
    assert len(notes) == 1
    assert "laser on, 5 mW" in notes["json"].iloc[0]
    assert ended.record.settings.notes["operator"] == "Ada"
    inspected = shared_lab.command("inspect", run.folder, "--json")
    assert inspected.status == 0, inspected.stdout
    assert shared_lab.command("status").stderr == "no run is going on here\n"
    heavy = {"matplotlib", "pandas", "trackpy", "tornado", "click", "rich", "tables"}
    files_and_sockets = {"h5py", "tifffile", "zmq", "recorders", "bridge"}
    told = {path.stem: set(json.loads(path.read_text())) for path in modules_of.glob("*.json")}
    assert set(told) == {process.name for process in run.plan.processes}
    for name, modules in told.items():
        assert not heavy & modules, name
        if name.startswith(("tracker", "linker")):
            assert not files_and_sockets & modules, name


def lives(pid: int) -> bool:
    """Whether the process runs; one that nobody has reaped yet does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_detached_run_goes_on_until_it_is_stopped(lab: Laboratory) -> None:
    started = lab.command("run", lab.settings(SETTINGS), "--detach", "--source", "simulated?beads=20", "--json")
    assert started.status == 0, started.stderr
    pid, folder = started.summary["pid"], Path(started.summary["run_folder"])
    try:
        assert lives(pid)
        (found,) = lab.command("status", "--json").summary["runs"]
        assert (found["pid"], found["run_folder"]) == (pid, str(folder))
        stopped = lab.command("stop", started.summary["run_id"][:6])
        assert stopped.status == 0, stopped.stderr
        assert not lives(pid)
    finally:
        if lives(pid):
            os.kill(pid, signal.SIGKILL)
    summary = json.loads((folder / "run.json").read_text())["summary"]
    assert summary["status"] == 0, summary["reason"]
    assert summary["frames_received"] == summary["frames_recorded"] > 0
    assert lab.command("inspect", folder).status == 0


def test_a_run_of_so_many_seconds_ends_by_itself(lab: Laboratory) -> None:
    ended = lab.run(lab.settings(SETTINGS), "--source", "simulated?beads=20", "--duration", "4")
    assert ended.status == 0, ended.stderr
    received, tracked, recorded, lost = ended.counts
    assert received == tracked == recorded
    assert lost == 0
    assert 1 <= received <= 300  # the camera takes a moment to begin, and to end
    (listed,) = lab.command("runs", lab.data, "--json").summary["runs"]
    assert 4 <= listed["seconds"] == ended.summary["seconds"] < 60


def test_a_camera_on_this_computer_needs_no_network(lab: Laboratory) -> None:
    listen = f"ipc://@ringtrack-test-{lab.port}"
    settings = lab.settings(SETTINGS, camera={"listen": listen})
    ended = lab.run(settings, "--source", "simulated?beads=20&frames=20&live=0")
    assert (ended.status, ended.counts) == (0, (20, 20, 20, 0)), ended.stderr
    refused = lab.command("send", "simulated?frames=1", "--to", "ipc:///tmp/camera")
    assert refused.status == 2
    assert "ipc://@name on this computer" in refused.stderr


SCRIPT = """
import json, sys
import engine
from bridge import Sender
import numpy as np

experiment = engine.Experiment.load(sys.argv[1])
frames = np.load(sys.argv[2])
with engine.start(experiment) as run:
    with Sender(experiment.camera.listen, live=False) as sender:
        for image in frames:
            sender.send(image)
        statistics = sender.close(30)
    summary = run.stop()
from recorders import Run
tracks = Run.open(run.run_folder).tracks
print(json.dumps([statistics.taken, summary.frames_recorded, summary.status, len(tracks) > 0]))
"""


def test_a_script_starts_a_run_sends_frames_and_opens_what_was_recorded(lab: Laboratory) -> None:
    import numpy as np

    np.save(lab.folder / "frames.npy", diffusing(20, 12, SHAPE_HW, seed=3))
    (lab.folder / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py", str(lab.settings(SETTINGS)), "frames.npy"], cwd=lab.folder,
        env=lab.environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [12, 12, 0, True]


def test_a_script_hears_of_a_port_in_use_as_an_exception(lab: Laboratory) -> None:
    import socket

    import engine
    from engine.errors import MachineError

    experiment = engine.Experiment.load(lab.settings(SETTINGS), environ={})
    with (
        socket.create_server(("127.0.0.1", lab.port)),
        pytest.raises(MachineError, match="is in use by another program"),
    ):
        engine.start(experiment)
