"""One BigTIFF a run: whole after every page, whatever was written behind it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tifffile

from engine.experiment import Experiment
from engine.frames import FRAME_META
from recorders import tiff_stack
from recorders.csv import EXCEL_ROWS, CsvRecorder
from recorders.pace import Pace
from recorders.runfolder import RunFolder
from recorders.tiff import TiffStack, pace


def experiment(compression: str, dtype: str = "uint16") -> Experiment:
    plain = Experiment()
    record = msgspec.structs.replace(plain.record, tiff_compression=compression, tiff_stack=True)
    camera = msgspec.structs.replace(plain.camera, height=40, width=56, dtype=dtype, pixel_um=0.25)
    return msgspec.structs.replace(plain, record=record, camera=camera)


def write(folder: Path, frames: np.ndarray, numbers: range, compression: str = "lzw") -> TiffStack:
    sink = TiffStack(RunFolder(folder), experiment(compression, frames.dtype.name), "0" * 16, 0)
    for number in numbers:
        meta = np.zeros(1, FRAME_META)[0]
        meta["frame"] = number
        sink.write(meta, sink.encode(meta, frames[number]))
    return sink


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 4096, (7, 40, 56)).astype(np.uint16)


@pytest.mark.parametrize("compression", ["none", "lzw", "zstd", "deflate"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_stack_holds_every_frame_and_what_is_known_of_it(
    run_folder: Path, frames: np.ndarray, compression: str, dtype: str
) -> None:
    frames = frames.astype(dtype)
    write(run_folder, frames, range(7), compression).close()
    path = run_folder / "run_001_frames.tiff"
    np.testing.assert_array_equal(tifffile.imread(path), frames)
    with tifffile.TiffFile(path) as tif:
        assert tif.is_bigtiff
        assert [json.loads(page.description)["frame"] for page in tif.pages] == list(range(7))
        assert tif.pages[3].resolution == (40000.0, 40000.0)
        assert tif.pages[3].tags["Software"].value == "ringtrack"


@pytest.mark.parametrize("before", ["the page", "its half", "its place"])
def test_a_stack_goes_on_after_its_last_whole_page(
    run_folder: Path, frames: np.ndarray, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = write(run_folder, frames, range(4))
    path = run_folder / "run_001_frames.tiff"
    put = tiff_stack.Stack._put

    def killed(self: tiff_stack.Stack, place: int, data: bytes) -> None:
        if before == "its half" and len(data) > 8:
            put(self, place, data[: len(data) // 2])
        elif before == "its place" and len(data) > 8:
            put(self, place, data)
            return
        raise KeyboardInterrupt

    monkeypatch.setattr(tiff_stack.Stack, "_put", killed)
    with pytest.raises(KeyboardInterrupt):
        write_one(sink, frames, 4)
    monkeypatch.undo()
    np.testing.assert_array_equal(tifffile.imread(path), frames[:4])
    sink.close()
    write(run_folder, frames, range(2, 7)).close()  # the next recorder is given some frames again
    np.testing.assert_array_equal(tifffile.imread(path), frames)


def write_one(sink: TiffStack, frames: np.ndarray, number: int) -> None:
    meta = np.zeros(1, FRAME_META)[0]
    meta["frame"] = number
    sink.write(meta, sink.encode(meta, frames[number]))


def test_a_stack_without_a_page_is_begun_again(run_folder: Path, frames: np.ndarray) -> None:
    write(run_folder, frames, range(0)).close()
    write(run_folder, frames, range(7)).close()
    np.testing.assert_array_equal(tifffile.imread(run_folder / "run_001_frames.tiff"), frames)


def test_the_pace_of_a_recorder_is_said_beforehand() -> None:
    found = pace(experiment("lzw"))
    assert (found.recorder, found.threads >= 1, found.frames_s > 0) == ("tiff", True, True)
    slow = Pace("tiff", 8.6, 100.0, 1, (2048, 2048))
    assert slow.line().startswith("1 thread compresses 8.6 frames/s of 2048 x 2048 here, 100 wanted: too slow")
    assert "too slow" not in Pace("tiff", 120.0, 100.0, 2, (2048, 2048)).line()


def test_csv_says_once_that_rows_are_too_many(run_folder: Path, ring: Any) -> None:
    said: list[str] = []
    csv = CsvRecorder(run_folder / "tracks_run_001.csv", 0, 400.0, said.append)
    csv.open()
    for number in range(900):  # 100 frames a second of 5 rows
        csv.frame(ring.meta(number), ring.rows(number))
    assert len(said) == 1
    assert "500 rows a second, more than record.csv_rows_s = 400" in said[0]
    csv._rows = EXCEL_ROWS
    for number in range(900, 902):
        csv.frame(ring.meta(number), ring.rows(number))
    csv.close()
    assert len(said) == 2
    assert "Excel" in said[1]
