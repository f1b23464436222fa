"""`ringtrack archive` as people use it, and misuse it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from engine import cli
from recorders.archive import Archive


@pytest.fixture
def watch(tmp_path: Path) -> Path:
    folder = tmp_path / "ram"
    folder.mkdir()
    return folder


def camera_file(path: Path, value: int) -> None:
    path.parent.mkdir(exist_ok=True)
    tifffile.imwrite(path, np.full((8, 9), value, np.uint16))


def archive(*arguments: object) -> int:
    return cli.status_of(["archive", *map(str, arguments), "--workers", "1"])


def test_folders_of_ten_thousand_are_archived_too(watch: Path, tmp_path: Path) -> None:
    for n in (3, 10_004):
        camera_file(watch / f"{n // 10_000 * 10_000:09d}" / f"run_001_frame_{n:09d}.tiff", n)
    assert archive(watch, tmp_path / "dest", "--finished") == 0
    found = Archive.open(tmp_path / "dest")
    assert sorted((row.counter, row.jxl.split("/")[0]) for row in found.rows) == [
        (3, "000000000"),
        (10_004, "000010000"),
    ]
    assert not list(watch.rglob("*.tiff"))


def test_files_without_a_number_are_archived_too(
    watch: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    camera_file(watch / "snap.tif", 7)
    (watch / "notes.txt").write_text("no frame")
    assert archive(watch, tmp_path / "dest", "--idle", "0.3") == 0
    assert [(row.file_name, row.counter) for row in Archive.open(tmp_path / "dest").rows] == [("snap.tif", -1)]
    assert (watch / "notes.txt").exists()
    assert "are on one disk: above its mark there is nowhere to move files to" in capsys.readouterr().err


def test_a_folder_that_is_an_archive_is_not_watched(
    watch: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (watch / "archive.csv").write_text("")
    assert archive(watch, tmp_path / "dest") == 2
    assert "is an archive itself. The folder that the camera writes into comes first" in capsys.readouterr().err
    assert not (tmp_path / "dest").exists()


def test_an_empty_folder_that_is_finished_is_said_unless_files_wait_beside_the_archive(
    watch: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dest = tmp_path / "dest"
    assert archive(watch, dest, "--finished") == 2
    assert "has no file that ends in .tif" in capsys.readouterr().err
    (dest / "waiting").mkdir()
    camera_file(dest / "waiting" / "0" / "img_0005.tif", 5)
    assert archive(watch, dest, "--finished") == 0
    assert [row.counter for row in Archive.open(dest).rows] == [5]
    assert not list((dest / "waiting").glob("*/*"))


def test_an_archive_is_a_folder(watch: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "dest").write_text("")
    assert archive(watch, tmp_path / "dest") == 2
    assert "is a file" in capsys.readouterr().err
    assert cli.status_of(["send", str(watch), "--archive", str(tmp_path / "dest")]) == 2
    assert "is a file" in capsys.readouterr().err
