"""Sources that are there as a whole: stacks, finished folders, the simulated camera."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import tifffile
from helpers_reception import image
from helpers_sources import WELCOME, complaints, counters, resume, tiff, times

from bridge.sources import Shot, open_source
from bridge.sources.folder import Folder
from bridge.sources.simulated import SimulatedCamera
from bridge.sources.stack import Stack
from bridge.sources.tiff import natural, number_of
from bridge.wire import Answer, Verdict
from engine.errors import SettingsError
from engine.frames import TimeSource

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


def test_names_that_cannot_give_a_folders_frames_their_numbers_are_a_doubt(tmp_path: Path) -> None:
    for n in (1, 2, 5):
        tiff(tmp_path / f"f{n}.tif", n)
    assert not Folder(tmp_path).doubt
    tiff(tmp_path / "g5.tif", 6)
    folder = Folder(tmp_path)
    assert "number 5 is there twice" in folder.doubt
    tiff(tmp_path / "x.tif", 7)
    folder = Folder(tmp_path)
    assert "x.tif has no number, so frames are counted in the order of the names" in folder.doubt
    assert counters(list(folder.frames(WELCOME))) == [0, 1, 2, 3, 4]
    tiff(tmp_path / "y.tif", 8)
    assert "x.tif and 1 more have no number" in Folder(tmp_path).doubt
    assert not Folder(tmp_path, "index").doubt
    for path in tmp_path.glob("[fg]*"):
        path.unlink()
    assert not Folder(tmp_path).doubt


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
    assert set(np.diff(times(shots))) == {5_000_000}
    assert shots[0].time_source is TimeSource.HARDWARE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("simulated?beds=3", "Did you mean beads?"),
        ("simulated?beads=many", "beads"),
        ("simulated?beads", "written as simulated"),
        ("simulated?skip=a-b", "skip"),
        ("simulated?width=0", "width=0 is not allowed; it must be a whole number, at least 1"),
        ("simulated?beads=twenty", "beads=twenty is not allowed; it must be a whole number, at least 0"),
        ("simulated?beads=-3", "beads=-3 is not allowed"),
        ("simulated?sigma_px=0", "sigma_px=0 is not allowed; it must be a number, above 0"),
        ("simulated?signal=nan", "signal=nan is not allowed; it must be a number, at least 0"),
        ("simulated?background=-1", "background=-1 is not allowed"),
        ("simulated?temperature_K=0", "temperature_K=0 is not allowed"),
        ("simulated?dtype=float32", "uint8 or uint16"),
        ("simulated?light=tcp://127.0.0.1:1&reach_um=-1", "reach_um=-1 is not allowed; it must be a number, above 0"),
    ],
)
def test_bad_options_are_said_in_a_sentence(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message.replace("?", r"\?")):
        open_source(text)


def test_the_simulated_camera_says_what_its_options_say_of_its_frames_and_nothing_else() -> None:
    assert SimulatedCamera.parse("simulated?width=256&height=128&dtype=uint8").kind() == ((128, 256), "uint8")
    assert SimulatedCamera.parse("simulated?width=256").kind() == ((0, 256), "")
