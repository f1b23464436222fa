"""What the archive deletes and moves, and when; how full its disk is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import tifffile

from recorders.archive import Archive, jxl
from recorders.archive.level import Level
from recorders.archive.worker import Answer
from tests.recorders.archiving import Bench, Disk, camera_file, image


def test_a_disk_that_fills_is_warned_of_before_it_is_at_its_mark() -> None:
    disk = Disk()
    level = Level(Path("/ram"), 0.8, disk, lambda: disk.now)
    said = []
    for second in range(10):
        disk.now, disk.used = float(second), 20 * second
        level.look()
        said.append(level.warning("Then it is moved."))
    assert level.rate == pytest.approx(20)
    assert [text for text in said if text] == [said[1]]  # at the first rate that is known, and not every second
    assert said[1] == "/ram is 2% full and fills by 0 MB/s: at its mark in 39 s (80%). Then it is moved."
    disk.now, disk.used = 60.0, 900
    level.look()
    assert (level.above, level.highest) == (100, 0.9)


def test_files_are_moved_from_20_s_before_the_mark_on() -> None:
    disk = Disk()
    level = Level(Path("/ram"), 0.8, disk, lambda: disk.now)
    soon = []
    for second in range(20):
        disk.now, disk.used = float(second), 15 * second + 440
        level.look()
        soon.append(level.soon_above)
    assert soon == [440 + 15 * s + (300 if s else 0) > 800 for s in range(20)]
    assert any(soon)
    disk.now, disk.used = 40.0, 440  # it empties
    level.look()
    assert not level.soon_above


def test_a_file_goes_only_when_its_picture_was_verified_and_is_in_the_index(tmp_path: Path) -> None:
    with Bench(tmp_path) as bench:
        path = camera_file(bench.ram, 3)
        bench.keeper.add(path, 3)
        assert bench.step() == "pack"
        assert path.exists()
        assert (bench.dest / "archive.csv").read_text().count("\n") == 1
        assert bench.step() == "verify"
        assert not path.exists()
        assert (bench.keeper.account.archived, bench.keeper.account.deleted) == (1, 1)
        assert not bench.keeper.busy
    archive = Archive.open(bench.dest)
    assert archive.rows[0].counter == 3
    assert (archive.picture("img_0003.tif") == image(3)).all()


@pytest.mark.parametrize("first", ["taken", "archived"])
def test_a_file_that_is_sent_goes_when_it_is_both_taken_and_archived(tmp_path: Path, first: str) -> None:
    with Bench(tmp_path) as bench:
        path = camera_file(bench.ram, 3)
        bench.keeper.offered(path, 3)
        if first == "taken":
            bench.keeper.taken(path)
            bench.keeper.tick()
            assert path.exists()
        bench.step()
        bench.step()
        if first == "archived":
            assert path.exists()
            assert bench.keeper.account.to_take == 1
            bench.keeper.taken(path)
            bench.keeper.tick()
        assert not path.exists()


def test_what_was_taken_before_a_crash_is_archived_by_the_next_one_and_the_rest_stays(tmp_path: Path) -> None:
    with Bench(tmp_path) as bench:
        paths = [camera_file(bench.ram, n) for n in range(3)]
        for n, path in enumerate(paths):
            bench.keeper.offered(path, n)
        bench.keeper.taken(paths[1])
        bench.keeper.tick()
    with Bench(tmp_path) as bench:
        while bench.hands.work:
            bench.step()
        assert [path.exists() for path in paths] == [True, False, True]


def test_a_picture_that_is_wrong_is_packed_once_more_and_then_the_file_stays(tmp_path: Path) -> None:
    wrong = Answer(ok=False, blame="picture", why="its pixels are not the original's")
    with Bench(tmp_path) as bench:
        path = camera_file(bench.ram, 3)
        bench.keeper.add(path, 3)
        assert [bench.step(), bench.step(wrong), bench.step(), bench.step(wrong)] == ["pack", "verify"] * 2
        assert path.exists()
        assert (bench.keeper.account.failed, bench.keeper.busy) == (1, False)
        assert bench.said[-1] == "img_0003.tif was not archived: its pixels are not the original's. The file stays"


def test_a_file_that_somebody_takes_away_is_no_longer_waited_for(tmp_path: Path) -> None:
    with Bench(tmp_path) as bench:
        path = camera_file(bench.ram, 3)
        bench.keeper.add(path, 3)
        path.unlink()
        looks = 0
        while bench.keeper.busy:
            if bench.hands.work:
                looks += 1
                bench.step()
            bench.keeper.tick()
        assert looks == 4
        assert bench.said == []
        assert bench.keeper.account.to_pack == 0


def test_a_full_disk_is_said_once_and_tried_again(tmp_path: Path) -> None:
    full = Answer(ok=False, blame="disk", why="No space left on device")
    with Bench(tmp_path) as bench:
        paths = [camera_file(bench.ram, n) for n in range(3)]
        for path in paths:
            bench.keeper.add(path)
        for _ in paths:
            bench.step(full)
        bench.keeper.tick()
        assert len(bench.said) == 1
        assert "No space left on device" in bench.said[0]
        while bench.hands.work:
            bench.step()
            bench.keeper.tick()
        assert not any(path.exists() for path in paths)


def test_a_file_that_was_written_anew_meanwhile_is_not_deleted(tmp_path: Path) -> None:
    with Bench(tmp_path) as bench:
        path = camera_file(bench.ram, 3)
        bench.keeper.add(path, 3)
        bench.step()
        tifffile.imwrite(path, image(77))
        bench.step()
        assert path.exists()
        bench.keeper.add(path, 3)
        bench.step()
        bench.step()
        assert not path.exists()
    archive = Archive.open(bench.dest)
    assert sorted(row.jxl for row in archive.rows) == ["000000000/img_0003.2.jxl", "000000000/img_0003.jxl"]
    assert (archive.picture("img_0003.tif", jxl.checksum(image(77))) == image(77)).all()


def test_a_file_that_is_in_the_archive_already_is_only_deleted(tmp_path: Path) -> None:
    with Bench(tmp_path, delete=False) as bench:
        bench.keeper.add(camera_file(bench.ram, 3), 3)
        bench.step()
        bench.step()
        assert (bench.ram / "img_0003.tif").exists()
    with Bench(tmp_path) as bench:
        bench.keeper.add(bench.ram / "img_0003.tif", 3)
        assert bench.step() == "pack"
        assert (bench.ram / "img_0003.tif").exists()
        assert bench.step() == "verify"  # the picture may have been taken away meanwhile
        assert bench.keeper.account.known == 1
        assert not (bench.ram / "img_0003.tif").exists()
    assert len(Archive.open(bench.dest)) == 1


@pytest.mark.parametrize("what", ["gone", "damaged", "of other pixels"])
def test_a_file_whose_picture_in_the_archive_is_not_good_is_packed_anew(tmp_path: Path, what: str) -> None:
    with Bench(tmp_path, delete=False) as bench:
        bench.keeper.add(camera_file(bench.ram, 3), 3)
        bench.step()
        bench.step()
    picture = bench.dest / "000000000" / "img_0003.jxl"
    if what == "gone":
        picture.unlink()
    else:
        data = picture.read_bytes()
        picture.write_bytes(data[: len(data) // 2] if what == "damaged" else jxl.packed(image(9), {}, 1))
    with Bench(tmp_path) as bench:
        path = bench.ram / "img_0003.tif"
        bench.keeper.add(path, 3)
        assert [bench.step(), bench.step()] == ["pack", "verify"]
        assert path.exists()
        assert "is not good" in bench.said[0]
        assert [bench.step(), bench.step()] == ["pack", "verify"]
        assert not path.exists()
        assert (bench.keeper.account.archived, bench.keeper.account.known, bench.keeper.busy) == (1, 0, False)
    assert (Archive.open(bench.dest).picture("img_0003.tif") == image(3)).all()


def test_a_picture_that_is_taken_away_before_it_was_verified_is_packed_again(tmp_path: Path) -> None:
    with Bench(tmp_path) as bench:
        path = camera_file(bench.ram, 3)
        bench.keeper.add(path, 3)
        bench.step()
        (bench.dest / "000000000" / "img_0003.jxl").unlink()
        assert [bench.step(), bench.step(), bench.step()] == ["verify", "pack", "verify"]
        assert not path.exists()
    assert (Archive.open(bench.dest).picture("img_0003.tif") == image(3)).all()


@pytest.mark.parametrize("seed", [3, 4], ids=["the same pixels", "other pixels"])
def test_files_whose_pictures_would_have_one_name_come_one_after_the_other(tmp_path: Path, seed: int) -> None:
    with Bench(tmp_path) as bench:
        other = camera_file(bench.ram, 3, seed).rename(bench.ram / "img_0003.tiff")
        one = camera_file(bench.ram, 3)
        bench.keeper.add(one, 3)
        bench.keeper.add(other, 3)
        assert len(bench.hands.work) == 1
        while bench.keeper.busy:
            if bench.hands.work:
                bench.step()
            bench.keeper.tick()
        assert not one.exists()
        assert not other.exists()
        assert bench.keeper.account.archived == 2
    archive = Archive.open(bench.dest)
    assert sorted(row.jxl for row in archive.rows) == ["000000000/img_0003.2.jxl", "000000000/img_0003.jxl"]
    assert (archive.picture("img_0003.tif") == image(3)).all()
    assert (archive.picture("img_0003.tiff") == image(seed)).all()


def test_what_others_left_in_the_folder_of_the_archive_is_not_touched(tmp_path: Path) -> None:
    ours = [tmp_path / "dest" / name for name in ("000000000/img_0003.jxl.77.part", "waiting/0/img_0003.tif.part")]
    theirs = tmp_path / "dest" / "downloads" / "film.part"
    for path in (*ours, theirs):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"half")
    with Bench(tmp_path) as bench:
        assert [path.exists() for path in (*ours, theirs)] == [False, False, True]
        assert not bench.keeper.busy


def test_above_the_mark_files_are_moved_to_the_disk_with_more_room(tmp_path: Path) -> None:
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("NOT TESTED: moving files from a RAM disk (/dev/shm is on the disk of --basetemp: name another)")
    ram = shm / f"archive-test-{os.getpid()}"
    ram.mkdir()
    try:
        (tmp_path / "ram").symlink_to(ram)
        with Bench(tmp_path) as bench:
            bench.ram = (tmp_path / "ram").resolve()
            paths = [camera_file(bench.ram, n) for n in range(4)]
            bench.keeper._folder = bench.ram
            bench.keeper._moves = True
            for n, path in enumerate(paths):
                bench.keeper.add(path, n)
            bench.step()  # the first one is packed: it is the first to be moved
            bench.disk.used = 805
            bench.keeper.tick()
            while not bench.keeper._mover.idle:
                bench.keeper.tick()
            assert bench.hands.first  # and pictures are verified first
            assert not paths[0].exists()
            assert (bench.dest / "waiting" / "0" / "img_0000.tif").exists()
            bench.disk.used = 0
            while bench.hands.work:
                bench.step()
            bench.keeper.tick()
            assert bench.keeper.account.archived == 4
        assert not list(ram.glob("*.tif"))
        assert not list((tmp_path / "dest" / "waiting").glob("*/*"))
    finally:
        shutil.rmtree(ram)
