"""The archive's index, found by name and checksum, and its one owner."""

from __future__ import annotations

import csv
import errno
import os
from pathlib import Path

import pytest

from bridge.send import _short
from engine.errors import MachineError
from engine.ownership import owned
from recorders.archive import Archive, jxl
from recorders.archive.index import ArchiveError, Index, Row
from tests.recorders.archiving import image


def row(name: str, checksum: str, picture: str, effort: int = 1) -> Row:
    return Row(
        file_name=name, counter=1, checksum=checksum, jxl=picture, width=32, height=24, dtype="uint16",
        bytes_raw=1536, bytes_jxl=700, effort=effort, time_utc_ns=5,
    )  # fmt: skip


def test_a_torn_line_is_cut_off_and_the_index_goes_on(tmp_path: Path) -> None:
    with Index(tmp_path) as index:
        index.add([row("a.tif", "00ff", "0/a.jxl")])
    with (tmp_path / "archive.csv").open("a") as file:
        file.write("b.tif,2,0")
    with Index(tmp_path) as index:
        assert list(index.rows) == ["0/a.jxl"]
        index.add([row('odd, "name".tif', "0001", "0/c.jxl")])
    with (tmp_path / "archive.csv").open(newline="") as file:
        assert [entry["file_name"] for entry in csv.DictReader(file)] == ["a.tif", 'odd, "name".tif']


def test_a_name_used_twice_needs_the_checksum(tmp_path: Path) -> None:
    with Index(tmp_path) as index:
        index.add([row("a.tif", "01", "0/a.jxl"), row("a.tif", "02", "0/a.2.jxl"), row("a.tif", "01", "0/a.jxl", 7)])
        assert [one.effort for one in index.by_name["a.tif"]] == [1, 7]
    archive = Archive.open(tmp_path)
    assert len(archive) == 2
    assert archive.row("a.tif", "01").effort == 7
    with pytest.raises(ArchiveError, match=r"2 files were called a\.tif; give the checksum"):
        archive.row("a.tif")
    with pytest.raises(ArchiveError, match=r"b\.tif is not in the archive"):
        archive.row("b.tif")
    with pytest.raises(ArchiveError, match="is no archive"):
        Archive.open(tmp_path / "elsewhere")


@pytest.mark.parametrize("left", ["", "file_name,counter,che"])
def test_an_index_whose_head_was_not_written_gets_it(tmp_path: Path, left: str) -> None:
    (tmp_path / "archive.csv").write_text(left)
    with Index(tmp_path) as index:
        index.add([row("a.tif", "00ff", "0/a.jxl")])
    assert Archive.open(tmp_path).row("a.tif").jxl == "0/a.jxl"


def test_an_archive_csv_of_another_program_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "archive.csv").write_text("id;title\n1;not ours")
    with (
        pytest.raises(ArchiveError, match=r"archive\.csv is no index of ringtrack: name another folder"),
        Index(tmp_path),
    ):
        pass
    assert (tmp_path / "archive.csv").read_text() == "id;title\n1;not ours"


def test_a_picture_that_another_name_is_given_to_is_found_by_that(tmp_path: Path) -> None:
    with Index(tmp_path) as index:
        index.add([row("a.tif", "01", "0/a.jxl"), row("a.tiff", "01", "0/a.jxl")])
        assert {name: len(rows) for name, rows in index.by_name.items()} == {"a.tif": 0, "a.tiff": 1}


def test_a_name_that_frames_has_cut_at_the_front_is_found(tmp_path: Path) -> None:
    name = 40 * "größe" + "_0001.tif"
    with Index(tmp_path) as index:
        index.add([row(name, "01", "a.jxl")])
    archive = Archive.open(tmp_path)
    assert archive.row(_short(name)).file_name == archive.row(name).file_name == name


def test_a_picture_that_is_gone_or_damaged_is_said_in_a_sentence(tmp_path: Path) -> None:
    with Index(tmp_path) as index:
        index.add([row("a.tif", "01", "a.jxl"), row("b.tif", "01", "b.jxl"), row("c.tif", "01", "c.jxl")])
    (tmp_path / "b.jxl").write_bytes(b"no picture")
    (tmp_path / "c.jxl").write_bytes(jxl.packed(image(1), {}, 1))
    archive = Archive.open(tmp_path)
    for name, said in (("a", "cannot be read: No such file"), ("b", "is damaged: it cannot"), ("c", "is damaged: its")):
        with pytest.raises(ArchiveError, match=rf"{name}\.jxl {said}"):
            archive.picture(f"{name}.tif")


def test_a_second_owner_is_refused_and_told_who_the_first_is(tmp_path: Path) -> None:
    second = owned(tmp_path, "ringtrack send --archive")
    told = rf"belongs to `ringtrack archive` \(process {os.getpid()} of "
    with owned(tmp_path, "ringtrack archive"), pytest.raises(MachineError, match=told):
        second.__enter__()
    with owned(tmp_path, "ringtrack send --archive"):  # it ended: free again, though the file is there
        pass


def test_a_full_disk_has_an_owner_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    second = owned(tmp_path, "ringtrack archive")
    with owned(tmp_path, "ringtrack archive"), pytest.raises(MachineError, match="belongs to another process"):
        second.__enter__()
