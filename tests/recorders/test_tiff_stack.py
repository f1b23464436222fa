"""One BigTIFF a run: whole after every page, whatever was written behind it."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
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
from recorders.tiff_ome import ABOUT, finish, pages_of
from recorders.tiff_pictures import TiffPictures

TAKEN_NS = int(datetime(2026, 11, 21, 10, tzinfo=UTC).timestamp()) * 10**9


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
        meta["t_camera_ns"] = TAKEN_NS + number * 10_000_000
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
        assert tif.is_ome
        series = tif.series[0]
        assert (series.axes, series.shape) == ("TYX", (7, 40, 56))
        np.testing.assert_array_equal(series.asarray(), frames)
        ome = tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]
    with tifffile.TiffFile(path) as tif:
        assert [json.loads(page.description)["frame"] for page in tif.pages[1:]] == list(range(1, 7))
        assert json.loads(tif.pages[0].tags[ABOUT].value)["frame"] == 0
        for page in tif.pages:
            assert page.resolution == (40000.0, 40000.0)  # pixels a centimetre
            assert page.tags["ResolutionUnit"].value == 3
            assert page.tags["Software"].value == "ringtrack"
        assert tif.pages[3].tags["DateTime"].value == "2026:11:21 10:00:00"
    assert ome["Name"] == "run_001"
    assert ome["AcquisitionDate"].startswith("2026-11-21T10:00:00")
    pixels = ome["Pixels"]
    assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeXUnit"]) == (0.25, "µm")
    assert (pixels["PhysicalSizeY"], pixels["SizeT"], pixels["Type"]) == (0.25, 7, dtype)
    assert (pixels["TimeIncrement"], pixels["TimeIncrementUnit"]) == (0.01, "s")
    assert [plane["DeltaT"] for plane in pixels["Plane"]] == pytest.approx([n / 100 for n in range(7)])
    pictures = TiffPictures(RunFolder(run_folder))
    assert pictures.numbers.tolist() == list(range(7))
    np.testing.assert_array_equal(np.stack(list(pictures)), frames)


@pytest.mark.parametrize("killed_before", ["all", "its header", "nothing"])
def test_a_stack_is_an_ome_tiff_or_what_it_was(
    run_folder: Path, frames: np.ndarray, killed_before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run_folder / "run_001_frames.tiff"
    write(run_folder, frames, range(5))._stack.close()  # as it lies there after a kill
    put, calls = os.pwrite, [0]

    def killed(descriptor: int, data: Any, place: int) -> int:
        calls[0] += 1
        if killed_before == "all" or (killed_before == "its header" and place == 8):
            raise KeyboardInterrupt
        return put(descriptor, data, place)

    monkeypatch.setattr(os, "pwrite", killed)
    if killed_before == "nothing":
        assert finish(path, "run_001", 0.25)
        assert not finish(path, "run_001", 0.25)  # it is one
    else:
        with pytest.raises(KeyboardInterrupt):
            finish(path, "run_001", 0.25)
    monkeypatch.undo()
    assert calls[0] <= 2
    np.testing.assert_array_equal(tifffile.imread(path), frames[:5])
    with tifffile.TiffFile(path) as tif:
        assert tif.is_ome == (killed_before == "nothing")
    write(run_folder, frames, range(3, 7)).close()  # whoever goes on makes it one, of all pages
    with tifffile.TiffFile(path) as tif:
        assert tif.is_ome
        np.testing.assert_array_equal(tif.series[0].asarray(), frames)
    assert [page.about["frame"] for page in pages_of(path)] == list(range(7))


def test_other_files_have_no_pages_of_ours(run_folder: Path, frames: np.ndarray) -> None:
    for name, options in (
        ("small.tif", {}),
        ("big.tif", {"bigtiff": True}),
        ("ome.tif", {"ome": True, "bigtiff": True}),
    ):
        tifffile.imwrite(run_folder / name, frames, photometric="minisblack", **options)
        assert list(pages_of(run_folder / name)) == []
        assert not finish(run_folder / name, "x", 0.0)


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
