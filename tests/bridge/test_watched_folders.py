"""Folders that are being written into, with every bad habit of camera software."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers_sources import WELCOME, complaints, counters, resume, tiff, times

from bridge.sources import Shot, Unreadable
from bridge.sources.watch import WatchedFolder
from engine.frames import TimeSource

S = 1_000_000_000


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
    steps = np.diff(times(shots[300:]))
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
