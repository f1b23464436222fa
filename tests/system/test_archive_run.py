"""Sending and archiving one RAM disk, with real processes: what is tracked is archived, and found again."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from recorders.archive import Archive
from tests.system.running import Laboratory, _command, diffusing

FRAMES = 60
SETTINGS: dict[str, dict[str, Any]] = {
    "camera": {"width": 64, "height": 48, "fps": 200},
    "tracking": {"diameter": 9, "minmass": 500, "max_ecc": 1e9},
}


def camera_files(folder: Path, frames: NDArray[Any], first: int = 0) -> dict[str, NDArray[Any]]:
    folder.mkdir(exist_ok=True)
    for n, frame in enumerate(frames, first):
        tifffile.imwrite(folder / f"img_{n:05d}.tif", frame)
    return {f"img_{n:05d}.tif": frame for n, frame in enumerate(frames, first)}


def left(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def djxl(path: Path, shape: tuple[int, int], to: Path) -> NDArray[Any]:
    """The pixels by an independent decoder."""
    program = shutil.which("djxl")
    if program is None:
        pytest.skip("djxl is not installed (Debian: libjxl-tools): whether others read our pictures was NOT tested")
    subprocess.run([program, path, to], check=True, capture_output=True)
    header, size, _, data = to.read_bytes().split(b"\n", 3)
    assert (header, size) == (b"P5", b"%d %d" % shape[::-1])
    return np.frombuffer(data, ">u2").reshape(shape).astype(np.uint16)


def test_rows_of_frames_lead_to_pictures_that_an_independent_decoder_finds_equal(lab: Laboratory) -> None:
    ram, dest = lab.folder / "ram", lab.folder / "archive"
    frames = diffusing(4, FRAMES, (48, 64), 3)
    camera_files(ram, frames, first=900)
    with lab.started(lab.settings(SETTINGS)) as run:
        sent = lab.command("send", ram, "--to", run.address, "--archive", dest, "--idle", "0.5", "--workers", "2")
        assert sent.status == 0, sent.stderr
        ended = run.stop()
    assert ended.counts == (FRAMES, FRAMES, FRAMES, 0), ended.stderr
    assert left(ram) == []
    archive = Archive.open(dest)
    assert len(archive) == FRAMES
    table = ended.record.frames_table
    for n in random.Random(5).sample(range(FRAMES), 20):
        entry = table.iloc[n]
        row = archive.row(entry["file_name"], entry["checksum"])
        assert row.counter == entry["counter"] == 900 + n
        assert (djxl(archive.path(row), (48, 64), lab.folder / "picture.pgm") == frames[n]).all()
        assert (archive.picture(entry["file_name"], entry["checksum"]) == frames[n]).all()


def archiving(lab: Laboratory, ram: Path, dest: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        _command("archive", ram, dest, "--finished", "--workers", "2", *options), env=lab.environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def killed_again_and_again(lab: Laboratory, times: int, count: int, seed: int) -> None:
    """Kill an archiver, or one of its workers, at random moments; at the end everything is in the archive, once."""
    import psutil

    rng = random.Random(seed)
    ram, dest = lab.folder / "ram", lab.folder / "archive"
    expected = camera_files(ram, diffusing(2, count, (48, 64), seed))
    number = count
    for _ in range(times):
        process = archiving(lab, ram, dest)
        time.sleep(rng.uniform(0.2, 1.2))
        victims = [process.pid] + [child.pid for child in psutil.Process(process.pid).children()]
        with contextlib.suppress(ProcessLookupError):
            os.kill(rng.choice(victims[: 1 + len(victims) // 2]), signal.SIGKILL)
        process.communicate(timeout=60)
        gone = set(expected) - {path.name for path in left(ram)}
        archive = Archive.open(dest) if (dest / "archive.csv").exists() else None
        for name in rng.sample(sorted(gone), min(5, len(gone))):  # deleted: so it must be there, and be right
            assert archive is not None
            assert (archive.picture(name) == expected[name]).all()
        if len(left(ram)) < count // 4:
            expected |= camera_files(ram, diffusing(2, count, (48, 64), number), first=number)
            number += count
    process = archiving(lab, ram, dest)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert left(ram) == []
    archive = Archive.open(dest)
    assert sorted(row.file_name for row in archive.rows) == sorted(expected)
    for name, frame in expected.items():
        assert (archive.picture(name) == frame).all()
    assert not list(dest.rglob("*.part"))


def test_an_archiver_that_is_killed_loses_nothing(lab: Laboratory) -> None:
    killed_again_and_again(lab, 2, 60, 1)


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_an_archiver_that_is_killed_two_hundred_times_loses_nothing(lab: Laboratory) -> None:
    killed_again_and_again(lab, int(os.environ.get("RINGTRACK_KILLS", "200")), 120, 2)


def test_a_second_owner_of_the_folder_is_refused_by_name(lab: Laboratory) -> None:
    from engine.ownership import owned

    ram = lab.folder / "ram"
    ram.mkdir()
    with owned(ram, "ringtrack send --archive"):
        refused = lab.command("archive", ram, lab.folder / "archive", "--finished")
    assert refused.status == 3
    assert f"belongs to `ringtrack send --archive` (process {os.getpid()} of " in refused.stderr


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_an_owner_that_sends_and_archives_and_is_killed_loses_no_file(lab: Laboratory) -> None:
    rng = random.Random(7)
    times, count = int(os.environ.get("RINGTRACK_KILLS", "100")), 40
    ram, dest = lab.folder / "ram", lab.folder / "archive"
    frames = diffusing(4, count, (48, 64), 3)
    expected: dict[str, NDArray[Any]] = {}
    with lab.started(lab.settings(SETTINGS)) as run:
        command = _command("send", ram, "--to", run.address, "--archive", dest, "--idle", "1", "--workers", "2")
        for n in range(times + 1):
            expected |= camera_files(ram, frames, first=n * count)
            process = subprocess.Popen(
                command, env=lab.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            if n < times:
                time.sleep(rng.uniform(0.3, 2.0))
                process.kill()
            process.communicate(timeout=120)
            gone = set(expected) - {path.name for path in left(ram)}
            if gone:
                archive = Archive.open(dest)
                for name in rng.sample(sorted(gone), min(5, len(gone))):
                    assert (archive.picture(name) == expected[name]).all()
        assert process.returncode == 0
        ended = run.stop()
    table = ended.record.frames_table
    came = set(table["file_name"][table["state"] == "tracked"])
    assert came == set(expected)
    archive = Archive.open(dest)
    for name, frame in expected.items():
        if not (ram / name).exists():  # taken, archived, deleted; the others wait for somebody to decide
            assert (archive.picture(name) == frame).all()
