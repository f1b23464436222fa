"""A disk that fills, cannot be written, or goes away while a run records on it: a small tmpfs, which root may mount.

What was written stays readable; tracking goes on, and so do the recorders that still have room.
"""

from __future__ import annotations

import json
import os
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from numpy.typing import NDArray

from recorders import Run
from recorders.image_check import check_images
from recorders.repair import repair
from tests.system.running import Ended, Laboratory, Running, diffusing, wait_until

pytestmark = pytest.mark.faults

FRAMES = 400
SHAPE_HW = (128, 160)
SIZE_MIB = 256
SETTINGS: dict[str, dict[str, Any]] = {
    "experiment": {"max_lost": 10**9},
    "camera": {"width": SHAPE_HW[1], "height": SHAPE_HW[0], "dtype": "uint16", "fps": 100},
    "tracking": {"diameter": 11, "separation": 12, "minmass": 400},
    "linking": {"search_range": 5},
    "record": {
        "images": True, "tiff": True, "csv": True, "tiff_compression": "none", "flush_s": 0.1, "min_free_gb": 0.0,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def frames() -> NDArray[Any]:
    return diffusing(20, FRAMES, SHAPE_HW, seed=5)


@pytest.fixture
def disk(lab: Laboratory) -> Iterator[Path]:
    """The laboratory's data folder, on a disk of its own."""
    lab.data.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", str(lab.data)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        warnings.warn("only root may mount a small tmpfs: full disks were NOT tried", stacklevel=1)
        pytest.skip("NOT TESTED: disks that are full (mounting a small tmpfs needs root: sudo -E pytest …)")
    yield lab.data
    subprocess.run(["umount", "-l", str(lab.data)], capture_output=True, check=False)


def fill(disk: Path, left_bytes: int) -> None:
    """Leave so much room."""
    with (disk / "filler").open("wb", buffering=0) as file:
        for step in (1 << 20, 4096):  # the recorders take room, too, meanwhile
            with suppress(OSError):
                while os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize >= left_bytes + step:
                    file.write(bytes(step))


def given_up(run: Running, names: set[str]) -> bool:
    said = (run.folder / "log.jsonl").read_text()
    return all(f'recorder \\"{name}\\" stopped' in said for name in names)


def recorded(ended: Ended) -> tuple[int, int]:
    """Of files that are whole: how many frames in the TIFF files, how many in the images' file."""
    folder = ended.folder
    tiffs = sorted(folder.glob("frames/*/*.tiff"))
    assert [tifffile.imread(path).shape for path in tiffs] == [SHAPE_HW] * len(tiffs)
    found = check_images(folder / f"images_{folder.name}.h5")
    assert found.faults == []
    assert found.compared == found.frames
    return len(tiffs), found.frames


def test_recorders_that_have_room_go_on(lab: Laboratory, disk: Path, frames: NDArray[Any]) -> None:
    """Frames need more room than tables: they stop first."""
    with lab.started(lab.settings(SETTINGS), "--source", lab.stack(frames), "--fps", "100") as run:
        wait_until(lambda: run.published > 60, "frames")
        fill(disk, 50 * 2**20)
        wait_until(lambda: given_up(run, {"images", "tiff"}), "recorders of frames to stop")
        ended = run.wait()
    assert ended.status == 4, ended.stderr
    assert ended.counts == (FRAMES, FRAMES, FRAMES, 0)
    assert 'recorder "images" stopped' in ended.stderr
    assert "is full" in ended.stderr
    tiffs, images = recorded(ended)
    assert 30 < tiffs < FRAMES
    assert 30 < images < FRAMES
    table = pd.read_csv(ended.folder / f"tracks_{ended.folder.name}.csv")
    assert len(table) == len(ended.record.tracks_array)
    assert table["frame"].max() == FRAMES - 1


def test_tracking_goes_on_when_nothing_can_be_recorded(lab: Laboratory, disk: Path, frames: NDArray[Any]) -> None:
    with lab.started(lab.settings(SETTINGS), "--source", lab.stack(frames), "--fps", "100") as run:
        wait_until(lambda: run.published > 60, "frames")
        fill(disk, 0)
        wait_until(lambda: run.published == FRAMES + 1, "all frames and the closing place")  # tracked all the same
        ended = run.wait()
    assert ended.status == 4, ended.stderr
    for name in ("hdf5", "csv", "images", "tiff"):
        assert f'recorder "{name}" stopped' in ended.stderr
    (disk / "filler").unlink()
    tiffs, images = recorded(ended)
    assert 30 < tiffs < FRAMES
    assert 30 < images < FRAMES
    first = ended.folder / f"tracking_{ended.folder.name}.h5"
    repair(first)
    frames_table = Run.open(first).frames_table
    assert frames_table["frame"].tolist() == list(range(len(frames_table)))
    assert 30 < len(frames_table) < FRAMES


def test_a_stack_on_a_full_disk_is_whole(lab: Laboratory, disk: Path, frames: NDArray[Any]) -> None:
    record = {"tiff_stack": True, "images": False}
    with lab.started(lab.settings(SETTINGS, record=record), "--source", lab.stack(frames), "--fps", "100") as run:
        wait_until(lambda: run.published > 60, "frames")
        fill(disk, 2**20)
        ended = run.wait()
    assert 'recorder "tiff" stopped' in ended.stderr
    stack = tifffile.imread(ended.folder / f"{ended.folder.name}_frames.tiff")
    assert 30 < len(stack) < FRAMES
    np.testing.assert_array_equal(stack, frames[: len(stack)])


def test_a_folder_that_cannot_be_written_refuses_the_run(lab: Laboratory, disk: Path, frames: NDArray[Any]) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    ended = lab.run(lab.settings(SETTINGS), "--source", lab.stack(frames))
    assert ended.status == 3
    assert f"experiment.data: {disk} cannot be written: Read-only file system" in ended.stderr


def test_tracking_goes_on_when_the_drive_is_gone(lab: Laboratory, disk: Path, frames: NDArray[Any]) -> None:
    with lab.started(lab.settings(SETTINGS), "--source", lab.stack(frames), "--fps", "100") as run:
        wait_until(lambda: run.published > 60, "frames")
        subprocess.run(["umount", "-l", str(disk)], check=True)
        wait_until(lambda: run.published == FRAMES + 1, "all frames and the closing place")
        ended = run.wait()
    assert ended.status == 4, ended.stderr
    assert "Traceback" not in ended.stderr
    for name in ("hdf5", "images", "tiff"):
        assert f'recorder "{name}" stopped' in ended.stderr
    assert json.loads(ended.stdout)["frames_tracked"] == FRAMES
