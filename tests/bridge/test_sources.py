"""Sources: stacks, folders, folders being written into, with every bad habit of camera software."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import tifffile
from helpers_reception import image

from bridge.sources import Shot, Unreadable, open_source
from bridge.sources.folder import Folder
from bridge.sources.simulated import SimulatedCamera
from bridge.sources.stack import Stack
from bridge.sources.tiff import natural, number_of
from bridge.sources.watch import WatchedFolder
from bridge.wire import Answer, Verdict
from engine.errors import SettingsError
from engine.frames import TimeSource

WELCOME = Answer(verdict=Verdict.WELCOME)
S = 1_000_000_000


def resume(counter: int) -> Answer:
    return Answer(verdict=Verdict.WELCOME, resume=counter)


def tiff(path: Path, value: int = 0, **options: object) -> Path:
    tifffile.imwrite(path, image(value), **options)
    return path


def counters(found: list[Shot | Unreadable | None]) -> list[int]:
    return [one.counter for one in found if isinstance(one, Shot)]


def complaints(found: list[Shot | Unreadable | None]) -> list[Unreadable]:
    return [one for one in found if isinstance(one, Unreadable)]


# ---- names


def test_two_is_before_ten() -> None:
    names = ["f10.tif", "f2.tif", "f1.tif"]
    assert sorted(names, key=natural) == ["f1.tif", "f2.tif", "f10.tif"]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("frame_0012.tif", 12),
        ("run3_frame7.tiff", 7),
        ("x.tif", None),
        ("12.TIF", 12),
        ("a1.ome.tif", 1),
        ("20261121155339123456.tif", None),
    ],
)
def test_the_last_number_in_a_name_counts(name: str, number: int | None) -> None:
    assert number_of(name) == number


# ---- stacks


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byteorder": ">"},
        {"compression": "zlib"},
        {"imagej": True},
        {"bigtiff": True},
        {"rowsperstrip": 7},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_stack_is_read_page_by_page(tmp_path: Path, options: dict[str, object], dtype: str) -> None:
    frames = np.random.default_rng(1).integers(0, 255, (7, 30, 41)).astype(dtype)
    tifffile.imwrite(tmp_path / "stack.tif", frames, **options)
    stack = open_source(str(tmp_path / "stack.tif"))
    shots = list(stack.frames(WELCOME))
    assert counters(shots) == list(range(7))
    assert all((shot.image == frame).all() for shot, frame in zip(shots, frames))
    assert all(shot.image.dtype == dtype for shot in shots)
    assert counters(list(stack.frames(resume(5)))) == [5, 6]
    del shots
    stack.close()


@pytest.mark.parametrize("keep", [0.3, 0.62, 0.97])
def test_of_a_stack_that_was_cut_off_the_whole_pages_are_given(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "stack.tif"
    with tifffile.TiffWriter(path) as writer:
        for n in range(10):
            writer.write(image(n), contiguous=False)
    os.truncate(path, int(path.stat().st_size * keep))
    stack = Stack(path)
    found = list(stack.frames(WELCOME))
    whole = counters(found)
    assert whole == list(range(len(whole)))
    assert int(10 * keep) - 1 <= len(whole) < 10
    assert all((shot.image == shot.counter).all() for shot in found if isinstance(shot, Shot))
    del found
    stack.close()


def test_of_an_imagej_stack_that_was_cut_off_every_missing_frame_is_named(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.stack([image(n) for n in range(10)]), imagej=True)
    os.truncate(path, int(path.stat().st_size * 0.55))
    stack = Stack(path)
    found = list(stack.frames(WELCOME))
    assert counters(found) == list(range(5))
    assert [one.counter for one in complaints(found)] == list(range(5, 10))
    del found
    stack.close()


def test_what_is_no_tiff_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.tif").write_bytes(b"this is a text, and no TIFF")
    with pytest.raises(SettingsError, match="is no TIFF file"):
        open_source(str(tmp_path / "x.tif"))
    with pytest.raises(SettingsError, match="neither a folder, nor"):
        open_source(str(tmp_path / "nothing"))


# ---- finished folders


def test_a_finished_folder_is_read_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    for n in (1, 2, 10, 11, 3):
        tiff(tmp_path / f"f{n}.tif", n)
    (tmp_path / "notes.txt").write_text("no frame")
    (tmp_path / ".hidden.tif").write_text("no frame")
    folder = open_source(str(tmp_path), watch=False)
    shots = list(folder.frames(WELCOME))
    assert counters(shots) == [1, 2, 3, 10, 11]
    assert [int(shot.image[0, 0]) for shot in shots if isinstance(shot, Shot)] == [1, 2, 3, 10, 11]
    assert counters(list(folder.frames(resume(4)))) == [10, 11]
    assert counters(list(Folder(tmp_path, "index").frames(WELCOME))) == [0, 1, 2, 3, 4]


def test_bad_files_are_named_and_the_others_given(tmp_path: Path) -> None:
    for n in range(6):
        tiff(tmp_path / f"f{n}.tif", n)
    (tmp_path / "f1.tif").write_bytes(b"no TIFF at all")
    os.truncate(tmp_path / "f2.tif", 1000)
    tifffile.imwrite(tmp_path / "f3.tif", np.zeros((8, 8, 3), np.uint8), photometric="rgb")
    tifffile.imwrite(tmp_path / "f4.tif", np.zeros((3, 8, 8), np.uint8), photometric="minisblack")
    found = list(Folder(tmp_path).frames(WELCOME))
    assert counters(found) == [0, 5]
    assert [one.counter for one in complaints(found)] == [1, 2, 3, 4]
    assert "send it as a stack" in complaints(found)[3].why


def test_a_folder_without_frames_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no file that ends in"):
        Folder(tmp_path)


# ---- folders being written into


class Camera:
    """A folder, a clock and a watcher that looks when told to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 10 * S
        self.folder = WatchedFolder(path, poll=True, clock=lambda: self.now)

    def write(self, n: int, value: int | None = None, mtime_s: float | None = None) -> Path:
        path = tiff(self.path / f"f{n}.tif", n if value is None else value)
        if mtime_s is not None:
            os.utime(path, ns=(round(mtime_s * S), round(mtime_s * S)))
        return path

    def look(self, after_s: float = 0.02) -> list[Shot | Unreadable | None]:
        self.now += round(after_s * S)
        return list(self.folder.look())


@pytest.fixture
def camera(tmp_path: Path) -> Camera:
    return Camera(tmp_path)


def test_a_file_counts_when_it_stood_still_for_two_looks(camera: Camera) -> None:
    camera.write(0)
    assert camera.look() == []
    assert counters(camera.look()) == [0]
    assert camera.look() == []


def test_a_file_that_was_closed_counts_at_once(camera: Camera) -> None:
    camera.write(0)
    camera.folder._event("f0.tif", closed=True)
    assert counters(camera.look()) == [0]


def test_a_file_written_in_pieces_counts_when_the_last_one_is_there(camera: Camera) -> None:
    whole = camera.write(0).read_bytes()
    for end in (0, 4, 8, 100, len(whole) // 2, len(whole) - 1):
        (camera.path / "f0.tif").write_bytes(whole[:end])
        camera.folder._event("f0.tif", closed=True)
        assert camera.look() == []
        assert camera.look() == []
    (camera.path / "f0.tif").write_bytes(whole)
    assert camera.look() == []
    assert counters(camera.look()) == [0]


def test_a_file_renamed_into_place_counts_and_its_temporary_name_does_not(camera: Camera) -> None:
    tiff(camera.path / "f0.tif.part", 3)
    assert camera.look() == camera.look() == []
    (camera.path / "f0.tif.part").rename(camera.path / "f0.tif")
    camera.folder._event("f0.tif", closed=True)
    assert counters(camera.look()) == [0]


def test_a_file_that_is_locked_is_tried_again(camera: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    camera.write(0)
    camera.look()
    with monkeypatch.context() as locked:

        def refuse(path: Path) -> None:
            raise PermissionError(13, "used by another process", str(path))

        locked.setattr("bridge.sources.watch.read_frame", refuse)
        assert camera.look() == []
        assert camera.look() == []
    assert counters(camera.look()) == [0]


def test_files_are_given_in_the_order_of_their_numbers(camera: Camera) -> None:
    for n in (10, 9, 8, 2, 1):
        camera.write(n)
    camera.look()
    assert counters(camera.look(0.3)) == [1, 2, 8, 9, 10]


def test_a_number_that_is_late_is_waited_for_a_moment(camera: Camera) -> None:
    camera.write(0)
    camera.look()
    assert counters(camera.look()) == [0]
    camera.write(2)
    assert camera.look() == camera.look() == []
    camera.write(1)
    camera.look()
    assert counters(camera.look()) == [1, 2]


def test_a_number_that_never_comes_was_skipped_and_its_file_is_too_late(camera: Camera) -> None:
    camera.write(0)
    camera.write(2)
    camera.look()
    assert counters([*camera.look(), *camera.look(0.3)]) == [0, 2]
    camera.write(1)
    camera.write(3)
    camera.look()
    found = [*camera.look(), *camera.look()]
    assert [(one.counter, one.what) for one in complaints(found)] == [(None, "f1.tif")]
    assert counters(found) == [3]


@pytest.mark.parametrize("content", [b"", b"no TIFF, whoever wrote it", b"II*\0\x08\0\0\0"])
def test_a_file_that_never_gets_complete_is_given_up_and_the_next_ones_come(camera: Camera, content: bytes) -> None:
    camera.write(0)
    (camera.path / "f1.tif").write_bytes(content)
    camera.write(2)
    camera.look()
    assert counters(camera.look()) == [0]
    assert camera.look(4.0) == []
    found = camera.look(1.5)
    assert [one.counter for one in complaints(found)] == [1]
    assert "unchanged for 5 s" in complaints(found)[0].why
    assert counters(found) == [2]


def test_save_pressed_again_starts_the_count_again(camera: Camera) -> None:
    for n in range(4):
        camera.write(n, mtime_s=100 + n)
    camera.look()
    assert counters(camera.look()) == [0, 1, 2, 3]
    for n in range(3):
        camera.write(n, value=50 + n, mtime_s=200 + n)
    camera.look(1.1)
    found = [*camera.look(1.1), *camera.look(1.1)]
    assert counters(found) == [0, 1, 2]
    assert [int(one.image[0, 0]) for one in found if isinstance(one, Shot)] == [50, 51, 52]


def test_files_deleted_after_they_were_sent_may_come_again(camera: Camera) -> None:
    camera.write(0, mtime_s=100).unlink()
    for round_ in range(2):
        path = camera.write(0, mtime_s=100 + round_)
        camera.look(1.1)
        assert counters(camera.look(1.1)) == [0]
        path.unlink()
        camera.look(1.1)


def test_a_file_whose_name_has_no_number_is_named_once_it_is_whole(camera: Camera) -> None:
    tiff(camera.path / "snap.tif")
    camera.write(0)
    assert camera.look() == []
    found = camera.look()
    assert counters(found) == [0]
    assert [(one.counter, one.what) for one in complaints(found)] == [(None, "snap.tif")]
    assert "no number" in complaints(found)[0].why
    assert camera.look(5) == []


def test_names_of_files_that_are_gone_are_forgotten_however_many_there_were(
    camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.sources.watch.MANY_FILES", 5)
    paths = [camera.write(n) for n in range(10)]
    camera.look()
    assert counters(camera.look()) == list(range(10))
    for path in paths[:9]:
        path.unlink()
    camera.look(1.1)
    assert set(camera.folder._handled) == {"f9.tif"}


def test_times_of_files_are_fitted_and_say_how_sure_they_are(camera: Camera) -> None:
    step = 15_600_000
    for n in range(400):
        truth = 1_790_000_000 * S + n * 10_000_000
        camera.write(n, mtime_s=(truth // step * step) / S)
    camera.look()
    shots = [one for one in camera.look() if isinstance(one, Shot)]
    steps = np.diff([shot.t_ns for shot in shots[300:]])  # type: ignore[misc]
    assert abs(steps - 10_000_000).max() < 2_000_000
    assert all(shot.time_source is TimeSource.FILE and shot.t_error_ns > 0 for shot in shots)


def test_after_a_restart_of_the_sender_it_goes_on_where_the_receiver_is(tmp_path: Path) -> None:
    for n in range(8):
        tiff(tmp_path / f"f{n}.tif", n)
    folder = WatchedFolder(tmp_path, poll=True, idle_s=0.05)
    assert counters(list(folder.frames(resume(5)))) == [5, 6, 7]


@pytest.mark.parametrize("poll", [False, True], ids=["events", "polling"])
def test_a_folder_is_watched_while_it_is_written(tmp_path: Path, poll: bool) -> None:
    folder = WatchedFolder(tmp_path, poll=poll, idle_s=0.3)
    frames: Iterator[Shot | Unreadable | None] = folder.frames(WELCOME)
    assert next(frames) is None
    given = []
    for n in range(20):
        tiff(tmp_path / f"f{n}.tif", n)
        given.append(next(one for one in frames if one is not None))
    assert counters(given) == list(range(20))
    assert set(frames) <= {None}
    folder.close()


# ---- the simulated camera


def test_what_is_not_said_is_what_the_run_expects() -> None:
    camera = SimulatedCamera.parse("simulated?beads=3&live=0&frames=5")
    welcome = Answer(verdict=Verdict.WELCOME, shape=(30, 40), dtype="uint8", fps=50.0)
    shots = [one for one in camera.frames(welcome) if isinstance(one, Shot)]
    assert [shot.counter for shot in shots] == list(range(5))
    assert {(shot.image.shape, shot.image.dtype.name) for shot in shots} == {((30, 40), "uint8")}
    assert not camera.live


def test_the_camera_can_skip_and_start_its_count_again() -> None:
    camera = SimulatedCamera.parse(
        "simulated?width=32&height=32&beads=1&live=0&frames=20&skip=3-5,7&restart=12&first=1"
    )
    assert counters(list(camera.frames(WELCOME))) == [1, 2, 3, 7, 9, 10, 11, 12, 1, 2, 3, 4, 5, 6, 7, 8]


def test_a_live_camera_gives_its_frames_at_its_rate() -> None:
    camera = SimulatedCamera.parse("simulated?width=32&height=32&beads=1&fps=200")
    shots = [one for one in islice(camera.frames(WELCOME), 21) if isinstance(one, Shot)]
    assert set(np.diff([shot.t_ns for shot in shots])) == {5_000_000}  # type: ignore[misc]
    assert shots[0].time_source is TimeSource.HARDWARE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("simulated?beds=3", "Did you mean beads?"),
        ("simulated?beads=many", "beads"),
        ("simulated?beads", "written as simulated"),
        ("simulated?skip=a-b", "skip"),
        ("simulated?width=0", "above 0"),
    ],
)
def test_bad_options_are_said_in_a_sentence(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message.replace("?", r"\?")):
        open_source(text)
