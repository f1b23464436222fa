"""Commands that find a run that goes on: status, stop, note; and the closing account."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from engine import cli, runs
from engine.accounting import LostRange, Pictures
from engine.cli.account import account_text
from engine.cli.choose import choose
from engine.experiment import Experiment
from engine.plan import Geometry, Plan, ProcessPlan
from engine.process import Log
from engine.rings import Rings
from engine.supervisor.summary import RunSummary, StepAccount

GEOMETRY = Geometry(
    frame_slots=4, result_slots=4, depth=4, units_of_step=(1,), scratch_bytes=64, state_bytes=4096, blocks=4
)


def plan_of(folder: Path, run_id: str, pid: int = 0) -> Plan:
    experiment = Experiment.load(
        None, ["camera.width=64", "camera.height=64", "ring.max_particles=8", "experiment.name=beads"], {}
    )
    processes = (ProcessPlan(name="receiver", target="bridge.receiver:main", kind="receiver", block=0),)
    return Plan(
        run_id=run_id,
        pid=pid,
        started_utc_ns=1_795_000_000_000_000_000,
        started_mono_ns=0,
        run_folder=str(folder / run_id),
        experiment=experiment,
        geometry=GEOMETRY,
        processes=processes,
    )


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of runs of its own: runs of others are none of this test's business."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@contextmanager
def going_on(tmp_path: Path, *run_ids: str) -> Iterator[list[Plan]]:
    """Runs that are registered as living by this process."""
    plans = [plan_of(tmp_path, run_id) for run_id in run_ids]
    with ExitStack() as stack:
        for plan in plans:
            Path(plan.run_folder).mkdir()
            stack.enter_context(runs.registered(plan))
        yield plans


def test_status_without_a_run_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.status_of(["status"]) == 0
    assert capfd.readouterr() == ("", "no run is going on here\n")
    cli.status_of(["status", "--json"])
    assert json.loads(capfd.readouterr().out) == {"runs": []}


def test_status_shows_what_the_shared_memory_says(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with going_on(tmp_path, "0123456789abcdef") as (plan,), Rings.create(plan) as rings:
        block = rings.block("receiver")
        block.open(4711, 0, ["frames"])
        block.count("frames", 7)
        block.ready()
        cli.status_of(["status", "--json"])
        (run,) = json.loads(capfd.readouterr().out)["runs"]
        cli.status_of(["status"])
    assert run["alive"]
    assert run["name"] == "beads"
    assert run["ring"] == {"used": 0, "slots": 4}
    receiver = run["processes"]["receiver"]
    assert (receiver["state"], receiver["pid"], receiver["counters"]) == ("ready", 4711, {"frames": 7})
    said = capfd.readouterr().out
    assert "012345  beads" in said
    assert "receiver  ready  frames 7" in said


def test_status_shows_a_run_that_has_no_memory_yet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with going_on(tmp_path, "0123456789abcdef"):
        assert cli.status_of(["status"]) == 0
    assert "\n        starting\n" in capfd.readouterr().out


PHASES = {
    "nothing yet": ([], "starting"),
    "kernels are compiled": (["starting: compiling the kernels, once"], "starting: compiling the kernels, once"),
    "it runs": (["starting: compiling the kernels, once", "running"], "running"),
    "it ends": (["running", "draining"], "draining"),
}


@pytest.mark.parametrize("name", PHASES)
def test_status_says_how_far_a_run_is(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    written, shown = PHASES[name]
    with going_on(tmp_path, "0123456789abcdef") as (plan,), Rings.create(plan):
        log = Log(Path(plan.run_folder) / "log.jsonl", "supervisor")
        for phase in written:
            log("info", phase, event="phase")
            log("info", 'somebody says "phase"')
        cli.status_of(["status"])
        awaited = "awaited" if shown.startswith("starting") else "absent"
        said = capfd.readouterr().out
        assert f"        {shown}  received 0" in said
        assert f"receiver  {awaited}" in said
        cli.status_of(["status", "--json"])
        assert json.loads(capfd.readouterr().out)["runs"][0]["phase"] == shown


def test_a_long_log_without_a_phase_is_of_a_run_that_goes_on(tmp_path: Path) -> None:
    with going_on(tmp_path, "0123456789abcdef") as (plan,):
        (Path(plan.run_folder) / "log.jsonl").write_bytes(b'{"message": "talk"}\n' * 20_000)
        assert runs.phase_of(plan) == "running"


def test_the_whole_system_at_a_glance(tmp_path: Path) -> None:
    from engine.cli.watch import Watcher

    with going_on(tmp_path, "0123456789abcdef") as (plan,), Rings.create(plan) as rings:
        rings.block("receiver").open(4711, 0, ["frames"])
        rings.ledger.append(3, 7, 0, 0, 2, 5)
        console = Console(width=150, record=True, file=io.StringIO())
        watcher = Watcher()
        console.print(watcher.picture())
        watcher.close()
    shown = console.export_text()
    for said in ("beads  012345", "phase", "received", "tracked", "recorded", "recording", "lag", "0 ms  (0 frames)",
                 "ring ", "trackers busy", "disk free", "median", "receiver", "4711", "cores",
                 "5  (last: 3 to 7 at receiver, ring full)"):  # fmt: skip
        assert said in shown, said


def test_status_tells_of_a_run_that_died(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (runs.runtime_folder() / "dead.json").write_bytes(plan_of(tmp_path, "dead").encode())
    assert cli.status_of(["status"]) == 0
    assert "did not end in order; the next run cleans up" in capfd.readouterr().out


CHOICES = {
    "no name": ([], "2 runs are going on, name one of them: aaaa ("),
    "a name of none": (["--run", "cccc"], "cccc: no run of that name is going on"),
    "a name of both": (["--run", "0"], "2 runs are going on"),
}


@pytest.mark.parametrize("name", CHOICES)
def test_which_run_is_meant_must_be_clear_with(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    args, said = CHOICES[name]
    with going_on(tmp_path, "aaaa", "bbbb"):
        assert cli.status_of(["note", *args, "x"]) == 2
    assert said in capfd.readouterr().err


def test_a_run_is_chosen_by_id_or_folder(tmp_path: Path) -> None:
    with going_on(tmp_path, "aaaa", "bbbb") as (_, second):
        for name in ("bb", second.run_folder, Path(second.run_folder).name):
            assert choose(name).plan.run_id == second.run_id


def test_stop_without_a_run_ends_with_3(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.status_of(["stop"]) == 3
    assert "no run is going on here" in capfd.readouterr().err


RECORDERS = {
    "nothing": ((), None),
    "tables first": (("tiff", "csv"), 7),
    "every third frame as TIFF": (("tiff",), 21),
}


@pytest.mark.parametrize("name", RECORDERS)
def test_what_was_recorded_is_counted_whatever_records_it(name: str, tmp_path: Path) -> None:
    recorders, counted = RECORDERS[name]
    plan = plan_of(tmp_path, "0123456789abcdef")
    record = msgspec.structs.replace(plan.experiment.record, image_every=3)
    plan = msgspec.structs.replace(
        plan,
        experiment=msgspec.structs.replace(plan.experiment, record=record),
        processes=plan.processes
        + tuple(
            ProcessPlan(name=each, target=f"recorders.{each}:main", kind="recorder", block=block, reader=-1)
            for block, each in enumerate(recorders, 1)
        ),
    )
    with Rings.create(plan) as rings:
        for each in recorders:
            rings.block(each).open(4711, 0, ["frames_recorded"])
            rings.block(each).count("frames_recorded", 7)
        assert rings.frames_recorded() == counted


STAND_IN = """
import os, pathlib, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # before a library starts threads that do not
import msgspec
from engine import runs
from engine.plan import Plan
plan = msgspec.structs.replace(Plan.read(pathlib.Path(sys.argv[1])), pid=os.getpid())
with runs.registered(plan):
    print("ready", flush=True)
    for _ in range(int(sys.argv[2])):
        signal.sigwait([signal.SIGTERM])
"""


@contextmanager
def stand_in(tmp_path: Path, requests: int) -> Iterator[subprocess.Popen[str]]:
    """A process that is registered as a run and ends after so many requests to stop."""
    request = tmp_path / "plan"
    request.write_bytes(plan_of(tmp_path, "aaaa").encode())
    command = [sys.executable, "-P", "-c", STAND_IN, str(request), str(requests)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


@pytest.mark.parametrize(("requests", "args"), [(1, ["stop"]), (2, ["stop", "--force", "aaaa"])])
def test_stop_asks_and_waits_until_it_has_ended(
    requests: int, args: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with stand_in(tmp_path, requests) as process:
        assert cli.status_of(args) == 0
        assert process.wait(5) == 0
    assert capfd.readouterr().out == f"{tmp_path / 'aaaa'}\n"


def test_stop_says_when_a_run_does_not_end_in_time(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with stand_in(tmp_path, 2):
        assert cli.status_of(["stop", "--wait", "0.01"]) == 3
    assert "has not ended after 0.01 s" in capfd.readouterr().err


def test_the_closing_account_names_what_was_lost() -> None:
    summary = RunSummary(
        run_folder="data/run_001",
        run_id="aaaa",
        status=4,
        reason="6 frames were lost",
        seconds=12.5,
        frames_received=294,
        frames_tracked=294,
        frames_recorded=294,
        frames_lost=6,
        frames_paused=0,
        fps=24.0,
        latency_ms={"p50": 1.0, "p99": 2.5, "p99.9": 3.0, "max": 3.25},
        features_mean=187.5,
        filtered={"minmass": 12, "maxmass": 0},
        overflow=0,
        accounting=[StepAccount("camera", 300, 294, 6, 0), StepAccount("recorder", 294, 294, 0, 0)],
        lost=[LostRange(100, 104, "camera", "skipped by the camera"), LostRange(200, 200, "camera", "skipped")],
        pictures=[Pictures("images", 300, 0, 1), Pictures("tiff", 741, 459, 1), Pictures("x", 10, 5, 3)],
        restarts={"tracker-0": 2},
        held_ms={"trackers": 0.0, "readers": 12.0},
    )
    text = account_text(summary)
    for said in (
        "camera    300  294     6          0",
        "lost  100 to 104  at camera: skipped by the camera",
        "lost  200         at camera: skipped",
        "p50 1 p99 2.5 max 3.25 ms",
        "minmass 12",
        "tracker-0 2x",
        "readers 12 ms",
        "images         300 pictures\n",
        "tiff           741 of 1200 pictures, 459 lost (too slow)\n",
        "10 of about 15 pictures, about 5 lost (too slow)\n",
        "data/run_001",
    ):
        assert said in text
    assert "maxmass" not in text
