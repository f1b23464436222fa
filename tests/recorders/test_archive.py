"""The archive's parts: the file format, the index, the level of a disk, and who deletes what when."""

from __future__ import annotations

import base64
import csv
import errno
import os
import shutil
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from bridge import wire
from bridge.send import _short
from engine.errors import MachineError
from engine.ownership import owned
from recorders.archive import Archive, jxl
from recorders.archive.crew import Crew
from recorders.archive.index import ArchiveError, Index, Row
from recorders.archive.keeper import Keeper
from recorders.archive.level import Level
from recorders.archive.recompress import recompress
from recorders.archive.speed import Speed, measured
from recorders.archive.worker import Answer, Request, do

REPOSITORY = Path(__file__).parents[2]


def image(n: int, shape: tuple[int, int] = (24, 32), dtype: str = "uint16") -> NDArray[Any]:
    return np.random.default_rng(n).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def camera_file(folder: Path, n: int, seed: int | None = None) -> Path:
    path = folder / f"img_{n:04d}.tif"
    tifffile.imwrite(path, image(n if seed is None else seed), description=f'frame {n} <"&', metadata=None)
    os.utime(path, ns=(10**18, 10**18 + n))
    return path


# ---- pictures


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (33, 65), (300, 257)])
@pytest.mark.parametrize("effort", [1, 3])
def test_pixels_come_back_exactly(dtype: str, shape: tuple[int, int], effort: int) -> None:
    for pixels in (image(1, shape, dtype), np.zeros(shape, dtype), np.full(shape, np.iinfo(dtype).max, dtype)):
        data = jxl.packed(pixels, {"a": 1}, effort)
        back = jxl.unpacked(data)
        assert (back.dtype, back.shape) == (pixels.dtype, shape)
        assert back.tobytes() == pixels.tobytes()


def test_what_is_kept_beside_the_pixels_comes_back_whatever_its_letters() -> None:
    about = {"text": "a \"quote\", 'one', <tag> & ü\n\r\t&quot;&#10;", "list": [1, 2.5, None], "nested": {"b": True}}
    assert jxl.about(jxl.packed(image(0), about, 1)) == about
    assert jxl.about(b"no such file") == {}


def test_the_checksum_is_that_of_the_wire() -> None:
    pixels = image(3)
    assert jxl.checksum(pixels) == f"{wire.checksum(pixels):016x}"


def test_tags_and_time_of_the_original_are_kept(tmp_path: Path) -> None:
    path = camera_file(tmp_path, 5)
    answer = do(Request(do="pack", source=str(path), target=str(tmp_path / "a" / "img_0005.jxl")))
    assert answer.ok, answer.why
    target = Path(answer.target)
    kept = jxl.about(target.read_bytes())
    assert kept["tiff"]["ImageDescription"] == 'frame 5 <"&'
    assert (kept["file_name"], kept["time_utc_ns"]) == ("img_0005.tif", 10**18 + 5)
    assert target.stat().st_mtime_ns == 10**18 + 5
    assert list(target.parent.iterdir()) == [target]


def test_tags_of_any_size_are_kept(tmp_path: Path) -> None:
    many, numbers = bytes(range(256)) * 400, tuple(range(70_000))
    tifffile.imwrite(
        tmp_path / "a.tif", image(1), extratags=[(65010, 7, len(many), many), (65011, 4, len(numbers), numbers)]
    )  # fmt: skip
    do(Request(do="pack", source=str(tmp_path / "a.tif"), target=str(tmp_path / "a.jxl")))
    kept = jxl.about((tmp_path / "a.jxl").read_bytes())["tiff"]
    assert base64.b64decode(kept["65010"]["base64"]) == many
    assert kept["65011"] == list(numbers)


def test_an_independent_decoder_reads_them(tmp_path: Path) -> None:
    djxl = shutil.which("djxl")
    if djxl is None:
        pytest.skip("djxl is not installed (Debian: libjxl-tools): whether others read our pictures was NOT tested")
    for dtype in ("uint8", "uint16"):
        pixels = image(4, (40, 57), dtype)
        (tmp_path / "a.jxl").write_bytes(jxl.packed(pixels, {"text": "ü"}, 1))
        subprocess.run([djxl, tmp_path / "a.jxl", tmp_path / "a.pgm"], check=True, capture_output=True)
        header, size, top, data = (tmp_path / "a.pgm").read_bytes().split(b"\n", 3)
        assert (header, size) == (b"P5", b"57 40")
        assert int(top) == np.iinfo(dtype).max
        assert np.frombuffer(data, np.dtype(dtype).newbyteorder(">")).tobytes() == pixels.byteswap().tobytes() or (
            data == pixels.tobytes()
        )


@pytest.mark.parametrize("what", ["cut", "two pages", "colour", "float", "empty"])
def test_what_is_no_whole_frame_is_told_and_nothing_is_written(tmp_path: Path, what: str) -> None:
    path = camera_file(tmp_path, 1)
    if what == "cut":
        os.truncate(path, path.stat().st_size - 100)
    elif what == "empty":
        path.write_bytes(b"")
    else:
        pixels = {
            "two pages": np.zeros((2, 8, 9), "u2"),
            "colour": np.zeros((8, 9, 3), "u1"),
            "float": np.zeros((8, 9)),
        }
        tifffile.imwrite(path, pixels[what], photometric="rgb" if what == "colour" else "minisblack")
    answer = do(Request(do="pack", source=str(path), target=str(tmp_path / "a" / "x.jxl")))
    assert not answer.ok
    assert answer.blame == "file"
    assert not (tmp_path / "a").exists()


def test_a_name_that_is_taken_is_not_written_over(tmp_path: Path) -> None:
    target = tmp_path / "a" / "img_0001.jxl"
    first = do(Request(do="pack", source=str(camera_file(tmp_path, 1)), target=str(target)))
    same = do(Request(do="pack", source=str(camera_file(tmp_path, 1)), target=str(target)))
    other = do(Request(do="pack", source=str(camera_file(tmp_path, 1, seed=9)), target=str(target)))
    assert Path(first.target) == Path(same.target) == target
    assert Path(other.target).name == "img_0001.2.jxl"
    known = do(
        Request(do="pack", source=str(camera_file(tmp_path, 1)), target=str(target), known={first.checksum: "a/b.jxl"})
    )
    assert (known.known, known.target) == (True, "a/b.jxl")


def test_noise_that_does_not_shrink_takes_another_effort_and_comes_back() -> None:
    pixels = image(0, (256, 256))  # effort 1 of libjxl 0.11 writes beyond its memory with this
    for _ in range(5):
        assert (jxl.unpacked(jxl.packed(pixels, {}, 1)) == pixels).all()


# ---- the index


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


# ---- one owner


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


# ---- the level


class Disk:
    def __init__(self) -> None:
        self.used, self.now = 0, 0.0

    def __call__(self, folder: Path) -> tuple[int, int]:
        return 1000, self.used


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


# ---- what is deleted when


class Hands:
    """A crew whose work is done when the test says so."""

    def __init__(self) -> None:
        self.work: deque[tuple[Any, Request]] = deque()
        self.done: list[tuple[Any, Request, Answer]] = []
        self.restarts = 0
        self.first = False

    def submit(self, token: Any, request: Request) -> None:
        self.work.append((token, request))

    def results(self, timeout_s: float = 0.0) -> list[tuple[Any, Request, Answer]]:
        out, self.done = self.done, []
        return out

    def verify_first(self, yes: bool) -> None:
        self.first = yes

    @property
    def idle(self) -> bool:
        return not self.work and not self.done

    def finish(self, answer: Answer | None = None) -> str:
        """Do the next request, or answer it so."""
        token, request = self.work.popleft()
        self.done.append((token, request, answer or do(request)))
        return request.do


class Bench:
    """A keeper with hands instead of a crew, a disk and a clock that stand still."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.ram, self.dest = folder / "ram", folder / "dest"
        self.ram.mkdir(exist_ok=True)
        self.dest.mkdir(exist_ok=True)
        self.hands, self.disk, self.said = Hands(), Disk(), []
        self.index = Index(self.dest)
        self.options = options

    def __enter__(self) -> Bench:
        self.index.__enter__()
        level = Level(self.ram, 0.8, self.disk, self.clock)
        self.keeper = Keeper(
            self.ram, self.dest, self.hands, self.index, complain=self.said.append, level=level, clock=self.clock,
            **self.options,
        ).__enter__()  # type: ignore[arg-type]  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self.keeper.__exit__()
        self.index.__exit__()

    def clock(self) -> float:
        self.disk.now += 1.0
        return self.disk.now

    def step(self, answer: Answer | None = None) -> str:
        did = self.hands.finish(answer)
        self.keeper.tick()
        return did


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
        one = camera_file(bench.ram, 3)
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
        pytest.skip("NO SECOND DISK: moving files from a RAM disk was NOT tested")
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


# ---- real workers


def test_a_real_crew_archives_and_packs_tighter_and_survives_the_death_of_its_workers(tmp_path: Path) -> None:
    ram, dest = tmp_path / "ram", tmp_path / "dest"
    ram.mkdir()
    dest.mkdir()
    for n in range(30):
        camera_file(ram, n)
    with Index(dest) as index, Crew(2) as crew, Keeper(ram, dest, crew, index) as keeper:
        for n in range(30):
            keeper.add(ram / f"img_{n:04d}.tif", n)
        while not crew.pids:
            keeper.tick(0.01)
        killed = next(iter(crew.pids.values()))
        os.kill(killed, 9)
        keeper.drain(lambda: False)
        account = keeper.account
    assert (account.archived, account.deleted, account.failed) == (30, 30, 0)
    assert not list(ram.iterdir())
    before = {row.jxl: row.bytes_jxl for row in Archive.open(dest).rows}
    done = recompress(dest, 3, 2)
    archive = Archive.open(dest)
    assert (done.done, done.failed, len(archive)) == (30, 0, 30)
    assert {row.effort for row in archive.rows} == {3}
    assert {row.jxl for row in archive.rows} == set(before)
    for n in range(30):
        assert (archive.picture(f"img_{n:04d}.tif") == image(n)).all()
    assert archive.path(archive.row("img_0007.tif")).stat().st_mtime_ns == 10**18 + 7
    assert recompress(dest, 3, 1).pictures == 0


def test_pictures_that_cannot_be_packed_anew_are_told_apart_and_what_is_in_hand_at_the_end_is_kept(
    tmp_path: Path,
) -> None:
    with Bench(tmp_path) as bench:
        for n in range(4):
            bench.keeper.add(camera_file(bench.ram, n), n)
        while bench.hands.work:
            bench.step()
    asked = iter([False, True])
    assert recompress(bench.dest, 2, 1, stopping=lambda: next(asked)).done >= 1
    for one in Archive.open(bench.dest).rows:  # the index says what the pictures are
        data = (bench.dest / one.jxl).read_bytes()
        assert (len(data), jxl.about(data)["effort"]) == (one.bytes_jxl, one.effort)
    folder = bench.dest / "000000000"
    (folder / "img_0000.jxl").unlink()
    (folder / "img_0001.jxl").write_bytes(b"no picture")
    said: list[str] = []
    done = recompress(bench.dest, 3, 1, complain=said.append)
    assert (done.pictures, done.done, done.failed, done.not_written) == (4, 2, 1, 1)
    assert len(said) == 2
    assert done.lines()[1:] == [
        "1 are damaged, and were left as they are", "1 could not be read or written, and are as they were",
    ]  # fmt: skip


def test_a_worker_that_cannot_be_started_is_told_and_its_work_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr("recorders.archive.crew._started", none)
    with Crew(1) as crew:
        crew.submit("token", Request(do="pack"))
        [(token, _, answer)] = crew.results(10.0)
        assert (token, answer.ok, answer.blame, crew.idle) == ("token", False, "disk", True)
        assert answer.why == "no worker could be started: Resource temporarily unavailable"


def test_what_an_effort_costs_is_measured_before() -> None:
    speed = measured(1, image(0, (128, 256)))
    assert (speed.width, speed.height, speed.stand_in) == (256, 128, False)
    fixed = Speed(1, 2048, 2048, 0.014, 0.036, 2.56, False)
    assert fixed.sustained(1) == pytest.approx(20)
    assert fixed.line(1).startswith("effort 1: 14 ms to pack, 36 ms to verify, ratio 2.56; 1 workers on ")


def test_it_imports_nothing_of_linux_and_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "for name in ('fcntl', 'pwd', 'resource', 'grp', '_posixshmem'): sys.modules[name] = None\n"
        "import engine.ownership, engine.cli.archive, bridge.send\n"
        "import recorders.archive.keeper, recorders.archive.worker, recorders.archive.recompress\n"
        "import recorders.archive.speed\n"
        "print(*{'pandas', 'numba', 'h5py', 'matplotlib', 'trackpy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert done.stdout.split() == []
