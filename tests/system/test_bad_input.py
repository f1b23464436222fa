"""What is refused before anything starts: one clear message, status 2 or 3, nothing left behind."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.system.running import Ended, Laboratory


def assert_refused(ended: Ended, status: int, *said: str, lab: Laboratory) -> None:
    """One sentence on stderr that names the subject, no result, no run folder and no file of a run."""
    assert (ended.status, ended.stdout) == (status, ""), ended.stderr
    complaints = [line for line in ended.stderr.splitlines() if not line.startswith(("compiling", "warning: "))]
    assert complaints[0].startswith("ringtrack: "), ended.stderr
    assert "Traceback" not in ended.stderr
    assert "internal error" not in ended.stderr
    for words in said:
        assert words in ended.stderr
    assert not list(lab.data.rglob("*")) if lab.data.is_dir() else True
    assert not list(lab.runtime.rglob("*.json"))


def _broken(lab: Laboratory) -> Path:
    path = lab.settings()
    path.write_text(path.read_text() + "\n[tracking\ndiameter = 11\n")
    return path


SETTINGS: dict[str, tuple[Callable[[Laboratory], Path], list[str]]] = {
    "broken TOML": (_broken, ["experiment_1.toml", "line 8"]),
    "a misspelt key": (
        lambda lab: lab.settings(tracking={"seperation": 12}),
        ["tracking.seperation", "Nearest: tracking.separation", "line"],
    ),
    "an even diameter": (
        lambda lab: lab.settings(tracking={"diameter": 20}),
        ["tracking.diameter: 20 is even", "Try 19 or 21", "line"],
    ),
    "an overlap that is too small": (
        lambda lab: lab.settings(tracking={"tile_overlap": 3}),
        ["tracking.tile_overlap: 3 is too small", "Try "],
    ),
    "a core that does not exist": (
        lambda lab: lab.settings(tracking={"cores": f"{os.cpu_count() or 1}-{(os.cpu_count() or 1) + 1}"}),
        ["tracking.cores: cores", "do not exist on this machine"],
    ),
    "no such file": (lambda lab: lab.folder / "none.toml", ["none.toml: no such file"]),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_are_wrong_end_with_2_before_anything_starts(name: str, lab: Laboratory) -> None:
    make, said = SETTINGS[name]
    assert_refused(lab.run(make(lab)), 2, *said, lab=lab)


def test_every_fault_is_told_at_once(lab: Laboratory) -> None:
    ended = lab.run(lab.settings(camera={"widht": 3, "fps": -1}, tracking={"diameter": 20}))
    assert_refused(ended, 2, "camera.widht", "camera.fps", "tracking.diameter", lab=lab)


def test_a_data_folder_that_is_a_file(lab: Laboratory) -> None:
    lab.data.write_text("in the way")
    assert_refused(lab.run(lab.settings()), 3, "experiment.data", "cannot be written", lab=lab)


def test_frames_too_large_for_the_memory(lab: Laboratory) -> None:
    ended = lab.run(lab.settings(camera={"width": 32768, "height": 32768}))
    assert_refused(ended, 3, "GiB", lab=lab)


def test_a_dev_shm_that_is_too_small(lab: Laboratory) -> None:
    """In a mount namespace of its own /dev/shm has 8 MiB: refused by the reservation, not by a bus error later."""
    settings = lab.settings(camera={"width": 640, "height": 480})
    script = 'mount -t tmpfs -o size=8m tmpfs /dev/shm && "$@"; status=$?; ls /dev/shm >&2; exit $status'
    inside = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode:
        pytest.skip("NOT TESTED: a small /dev/shm (unshare --map-root-user --mount is not allowed here; try as root)")
    assert_refused(lab.run(settings, within=inside), 3, "/dev/shm", "MiB", lab=lab)


def test_a_port_that_another_program_has(lab: Laboratory) -> None:
    with socket.create_server(("127.0.0.1", lab.port)):
        ended = lab.run(lab.settings(camera={"width": 64, "height": 64}))
    assert ended.status == 3
    assert f"camera.listen: tcp://127.0.0.1:{lab.port} is in use by another program" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not list(lab.runtime.rglob("*.json"))


def test_an_address_of_another_computer(lab: Laboratory) -> None:
    """It is only bound to, which fails: nothing is sent."""
    listen = "tcp://192.0.2.1:50052"
    settings = lab.settings(camera={"width": 64, "height": 64, "listen": listen}, network={"remote": True})
    remedy = "choose another (--set camera.listen=tcp://127.0.0.1:50052)"
    assert_refused(lab.run(settings), 3, f"camera.listen: {listen} cannot be had", remedy, lab=lab)


def test_a_name_that_another_program_has(lab: Laboratory) -> None:
    listen = f"ipc://@ringtrack-test-{lab.port}"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(f"\0{listen.removeprefix('ipc://@')}")
        ended = lab.run(lab.settings(camera={"width": 64, "height": 64, "listen": listen}))
    assert_refused(ended, 3, f"camera.listen: {listen} is in use", f"(--set camera.listen={listen}-2)", lab=lab)


SOURCES = {
    "nothing of that name": (lambda folder: folder / "none.tif", "neither a folder, nor a TIFF stack"),
    "no TIFF": (lambda folder: _file(folder / "no.tif", b"a letter to the editor, not an image"), "is no TIFF file"),
    "an empty file": (lambda folder: _file(folder / "empty.tif", b""), "is no TIFF file"),
    "the simulation misspelt": (lambda folder: "simulated?beds=100", "Did you mean beads?"),
}


def _file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_that_is_none_ends_with_2_before_anything_starts(name: str, lab: Laboratory) -> None:
    make, said = SOURCES[name]
    ended = lab.run(lab.settings(camera={"width": 64, "height": 64}), "--source", make(lab.folder))
    assert_refused(ended, 2, "source: ", said, lab=lab)


def test_frames_of_another_kind_than_the_experiments_are_told_of_before_anything_starts(lab: Laboratory) -> None:
    settings = lab.settings(camera={"width": 64, "height": 64})
    stack = lab.stack(np.full((3, 48, 80), 100, np.uint8))
    ended = lab.run(settings, "--source", stack)
    assert_refused(ended, 2, "are 80 x 48 uint8", "takes 64 x 64 uint16", "--set camera.width=80", lab=lab)
    folder = lab.folder / "files"
    folder.mkdir()
    tifffile.imwrite(folder / "frame_1.tif", np.full((48, 80), 100, np.uint8))
    ended = lab.run(settings, "--source", folder, "--finished")
    assert_refused(ended, 2, "are 80 x 48 uint8", lab=lab)


def test_a_stack_that_was_cut_off_gives_what_is_whole_and_names_the_rest(lab: Laboratory) -> None:
    frames = np.full((20, 64, 64), 100, np.uint16)
    path = lab.stack(frames)
    path.write_bytes(path.read_bytes()[: -(5 * 64 * 64 * 2 + 100)])
    settings = lab.settings(camera={"width": 64, "height": 64}, tracking={"diameter": 5, "separation": 6})
    ended = lab.run(settings, "--source", path)
    assert ended.status == 4, ended.stderr
    received, tracked, recorded, lost = ended.counts
    assert received == tracked == recorded == 15
    assert lost == 5
    table = ended.record.frames_table
    assert list(table["frame"]) == list(range(20))
    gone = table[table["state"] == "lost"]
    assert set(gone["step"]) == {"sender"}
    assert set(gone["cause"]) == {"file unreadable"}
    assert any("page" in line["message"] for line in ended.log if line["process"] == "sender")
    assert "max_lost" in ended.stderr
