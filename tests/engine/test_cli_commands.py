"""The command line without a run: what it writes where, and the exit status of everything that can go wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine import cli
from engine.errors import InternalError, MachineError, PeerError, SettingsError
from engine.experiment import Experiment
from engine.supervisor import whole_run


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    status: int
    out: str
    err: str


Ringtrack = Callable[..., Outcome]


@pytest.fixture
def ringtrack(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ringtrack:
    """The command line, in this process, in an empty working directory."""
    monkeypatch.chdir(tmp_path)

    def run(*args: str) -> Outcome:
        capfd.readouterr()
        status = cli.status_of(list(args))
        return Outcome(status, *capfd.readouterr())

    return run


def test_help_names_every_command_and_imports_none(ringtrack: Ringtrack) -> None:
    code = "import sys; from engine.cli import status_of; status_of(['--help']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    *help_lines, modules = done.stdout.splitlines()
    for name in cli.COMMANDS:
        assert any(line.split()[:1] == [name] for line in help_lines)
    for heavy in ("numpy", "msgspec", "numba", "zmq", "h5py", "matplotlib", "pandas", "engine.cli.run"):
        assert f"'{heavy}'" not in modules


def test_init_writes_a_file_that_is_our_defaults(ringtrack: Ringtrack) -> None:
    done = ringtrack("init")
    assert (done.status, done.out) == (0, "experiment.toml\n")
    assert Experiment.load("experiment.toml", environ={}) == Experiment()
    assert "ringtrack check experiment.toml" in done.err


def test_init_replaces_nothing_unless_told(ringtrack: Ringtrack) -> None:
    Path("a.toml").write_text("mine")
    refused = ringtrack("init", "a.toml")
    assert refused.status == 2
    assert "is there already" in refused.err
    assert Path("a.toml").read_text() == "mine"
    assert ringtrack("init", "a.toml", "--force", "--set", "tracking.diameter=11").status == 0
    assert Experiment.load("a.toml", environ={}).tracking.diameter == 11


def test_init_can_write_to_stdout(ringtrack: Ringtrack) -> None:
    assert Experiment.loads(ringtrack("init", "-").out) == Experiment()
    assert list(Path().iterdir()) == []


def test_check_says_what_settings_mean(ringtrack: Ringtrack) -> None:
    done = ringtrack("check", "--set", "camera.fps=50")
    assert done.status == 0
    for said in ("2048 x 2048 uint16", "50 a second: 419.4 MB/s", "frame ring", "an hour", "longest disk stall"):
        assert said in done.out
    assert "camera.encrypt would take" in done.out
    assert "in the clear, by ticket" in done.out
    assert "ms of CPU for a whole one" in ringtrack("check", "--set", "control.encrypt_pixels=true").out
    assert "ms of CPU a frame at each end" in done.out
    assert "lets camera noise through" in done.err
    assert "lets camera noise through" not in ringtrack("check", "--set", "tracking.minmass=5000").err


def test_light_without_a_registration_is_refused(ringtrack: Ringtrack) -> None:
    refused = ringtrack("check", "--set", "slm.enabled=true")
    assert refused.status == 2
    assert "slm.registration" in refused.err
    assert "ringtrack slm register" in refused.err


def test_check_for_machines_is_one_json_object(ringtrack: Ringtrack) -> None:
    found = json.loads(ringtrack("check", "--json", "--set", "camera.width=640").out)
    assert found["settings"]["camera"]["width"] == 640
    assert found["ring_slots"] > 0
    assert found["encryption"]["on"] is False
    assert found["encryption"]["frame_ms"] > 0
    assert found["recorders"]["hdf5"]["gb_hour"] == pytest.approx(26, abs=2)


def test_check_can_write_the_resolved_file(ringtrack: Ringtrack) -> None:
    done = ringtrack("check", "--toml", "--set", "tracking.diameter=9")
    assert Experiment.loads(done.out).tracking.diameter == 9


def test_check_tells_all_faults_and_no_traceback(ringtrack: Ringtrack) -> None:
    Path("bad.toml").write_text("[tracking]\ndiameter = 20\nseperation = 3\n")
    done = ringtrack("check", "bad.toml")
    assert (done.status, done.out) == (2, "")
    assert "(bad.toml, line 2). Try 19 or 21." in done.err
    assert "(bad.toml, line 3). Nearest: tracking.separation." in done.err
    assert "Traceback" not in done.err


def test_check_warns_of_a_data_folder_that_cannot_be_written(ringtrack: Ringtrack) -> None:
    Path("data").write_text("a file in the way")
    assert "data cannot be written" in ringtrack("check", "--set", "experiment.data=data/mine").err


def test_doctor_looks_and_leaves_nothing(ringtrack: Ringtrack) -> None:
    done = ringtrack("doctor", "--json")
    findings = {finding["subject"]: finding for finding in json.loads(done.out)["findings"]}
    assert {"system", "python", "packages", "cores", "memory", "/dev/shm", "clock", "disk"} <= set(findings)
    assert done.status == (3 if any(f["verdict"] == "bad" for f in findings.values()) else 0)
    assert list(Path().iterdir()) == []


def test_doctor_names_a_disk_that_cannot_be_written(ringtrack: Ringtrack) -> None:
    done = ringtrack("doctor", "--data", "/proc")
    assert done.status == 3
    assert "/proc cannot be written" in done.out


WRONG_USAGE = {
    "an unknown command": (["chekc"], "chekc: no such command. Nearest: check."),
    "an unknown option": (["check", "--jsno"], "See ringtrack check --help."),
    "no command": ([], "Commands:"),
    "a file that is not there": (["check", "none.toml"], "none.toml: no such file"),
    "a setting without a value": (["check", "--set", "tracking"], "--set tracking: it must be section.key=value"),
}


@pytest.mark.parametrize("name", WRONG_USAGE)
def test_wrong_usage_ends_with_2_and_says(name: str, ringtrack: Ringtrack) -> None:
    args, said = WRONG_USAGE[name]
    done = ringtrack(*args)
    assert (done.status, done.out) == (2, "")
    assert said in done.err


BLAME = {
    "yours": (SettingsError("x"), 2),
    "the machine's": (MachineError("x"), 3),
    "the other side's": (PeerError("x"), 3),
    "ours, and known": (InternalError("x"), 1),
    "ours, and a surprise": (ZeroDivisionError("x"), 1),
    "a missing package": (ModuleNotFoundError("x", name="pylsl"), 3),
    "a second Ctrl-C": (KeyboardInterrupt(), 130),
}


@pytest.mark.parametrize("name", BLAME)
def test_the_exit_status_says_whose_fault_it_is(
    name: str, ringtrack: Ringtrack, monkeypatch: pytest.MonkeyPatch
) -> None:
    error, status = BLAME[name]

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Experiment, "load", fail)
    done = ringtrack("check")
    assert (done.status, done.out) == (status, "")
    assert done.err.strip().startswith("ringtrack: ")
    assert len(done.err.strip().splitlines()) == 1
    assert "Traceback" in ringtrack("--debug", "check").err


def test_it_works_from_anywhere_with_a_strangers_engine_beside(tmp_path: Path) -> None:
    for name in ("engine", "bridge", "recorders", "click"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('a stranger')")
    script = Path(sys.executable).with_name("ringtrack")
    done = subprocess.run([script, "check"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "frame ring" in done.stdout


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("ringtrack")
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"'{script}' init - | head -n 1"], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    assert done.stdout.startswith("# An experiment of ringtrack")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("width=256&height=256", "are 256 x 256 uint16; this experiment takes 512 x 512 uint16"),
        ("width=256", "are 256 x 512 uint16"),
        ("dtype=uint8", "are 512 x 512 uint8"),
        ("beads=-3", "beads=-3 is not allowed; it must be a whole number, at least 0"),
    ],
)
def test_simulated_frames_that_the_run_cannot_take_are_told_of_before_the_start(
    ringtrack: Ringtrack, options: str, said: str
) -> None:
    ringtrack("init")
    size = ("--set", "camera.width=512", "--set", "camera.height=512", "--set", "camera.dtype=uint16")
    done = ringtrack("run", "experiment.toml", *size, "--source", f"simulated?{options}&frames=5")
    assert done.status == 2
    assert said in done.err
    assert not Path("runs").exists()


def test_a_page_without_its_packages_is_missed_before_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = Experiment.load(None, ["web.enabled=true"], {})
    whole_run._refuse_missing(experiment)
    monkeypatch.setattr(whole_run, "find_spec", lambda name: None if name == "tornado" else object())
    with pytest.raises(MachineError, match=r"web\.enabled: .*pip install 'ringtrack\[web\]'"):
        whole_run._refuse_missing(experiment)
