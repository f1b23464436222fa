"""Camera frames into the HDF5 file and into TIFF files while they are tracked, to be read by whatever reads those."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  registers the filter, as a reader would
import numpy as np
import pandas as pd
import pytest
import tifffile
import xxhash
from numpy.typing import NDArray

from engine.regions import are_inside
from tests.system.running import Ended, Laboratory, diffusing, wait_until

SHAPE_HW = (128, 160)
FRAMES = 120
SETTINGS: dict[str, dict[str, Any]] = {
    "camera": {"width": SHAPE_HW[1], "height": SHAPE_HW[0], "dtype": "uint16", "fps": 200, "pixel_um": 0.25},
    "tracking": {"diameter": 11, "separation": 12, "minmass": 400},
    "linking": {"search_range": 5},
    "record": {"images": True, "tiff": True, "flush_s": 0.1},
}


@pytest.fixture(scope="module")
def frames() -> NDArray[Any]:
    return diffusing(20, FRAMES, SHAPE_HW, seed=4)


def assert_all_are_there(ended: Ended, frames: NDArray[Any]) -> None:
    folder = ended.folder
    with h5py.File(folder / f"tracking_{folder.name}.h5") as file:
        np.testing.assert_array_equal(file["images"][...], frames)
        rows = file["image_frames"][...]
    assert list(rows["frame"]) == list(range(len(frames)))
    assert [int(c) for c in rows["checksum"]] == [xxhash.xxh3_64_intdigest(frame.tobytes()) for frame in frames]
    np.testing.assert_array_equal(ended.record.frames[17], frames[17])
    assert len(ended.record.frames) == len(frames)
    tiffs = sorted((folder / "frames" / "000000000").iterdir())
    assert [path.name for path in tiffs] == [f"{folder.name}_frame_{n:09d}.tiff" for n in range(len(frames))]
    np.testing.assert_array_equal(np.stack([tifffile.imread(path) for path in tiffs]), frames)
    assert len(pd.read_hdf(folder / f"tracking_{folder.name}.h5", "tracks"))  # with its link to the images in it


def test_every_frame_is_kept_as_it_came(lab: Laboratory, frames: NDArray[Any]) -> None:
    ended = lab.run(lab.settings(SETTINGS), "--source", lab.stack(frames))
    assert ended.counts == (FRAMES, FRAMES, FRAMES, 0), ended.stderr
    assert_all_are_there(ended, frames)
    with tifffile.TiffFile(ended.folder / "frames" / "000000000" / f"{ended.folder.name}_frame_000000007.tiff") as tif:
        page = tif.pages[0]
        assert page.compression.name == "LZW"
        about = json.loads(page.description)
        assert (about["frame"], about["counter"], about["run_id"]) == (7, 7, ended.summary["run_id"])
        row = ended.record.frames_table.iloc[7]
        offset_ns = ended.record.metadata["system_info"]["utc_offset_ns"]
        taken = datetime.fromisoformat(about["time_utc"])
        assert (about["settings_version"], about["pixel_um"]) == (1, 0.25)
        assert abs(about["time_utc_ns"] - int(row["t_camera_ns"]) - offset_ns) < 5_000_000  # measured by each recorder
        assert taken.utcoffset() == timedelta(0)
        assert abs(taken.timestamp() - about["time_utc_ns"] / 1e9) < 1e-5
        assert page.tags["DateTime"].value == taken.strftime("%Y:%m:%d %H:%M:%S")
        assert page.tags["Software"].value == "ringtrack"
        assert page.resolution == (40000.0, 40000.0)  # pixels a centimetre


def test_recorders_of_frames_that_are_killed_lose_none(lab: Laboratory, frames: NDArray[Any]) -> None:
    settings = lab.settings(SETTINGS, record={"crop_size": 16})
    with lab.started(settings, "--source", lab.stack(frames), "--fps", "100") as run:
        for name, place, parts in (("images", 30, 1), ("tiff", 45, 1), ("images", 60, 2), ("crops", 75, 2)):
            wait_until(lambda place=place: run.published > place, "frames")
            wait_until(lambda parts=parts: len(list(run.folder.glob("images_*.h5"))) >= parts, "a part of its own")
            before = run.kill(name)
            wait_until(lambda name=name, before=before: run.pid(name) not in (0, before), "its successor")
        ended = run.wait()
    assert (ended.status, ended.counts) == (0, (FRAMES, FRAMES, FRAMES, 0)), ended.stderr
    assert ended.summary["restarts"] == {"images": 2, "tiff": 1, "crops": 1}
    crops = ended.record.crops
    assert len(crops) == len(ended.record.tracks)
    assert all(
        np.array_equal(crop, frames[row["frame"], row["y0"] : row["y0"] + 16, row["x0"] : row["x0"] + 16])
        for row, crop in zip(crops.rows, crops)
    )
    assert len(list(ended.folder.glob("images_*.h5"))) >= 2  # 3, but for one that had nothing left to keep
    assert_all_are_there(ended, frames)


def test_some_frames_and_a_part_of_them(lab: Laboratory, frames: NDArray[Any]) -> None:
    """Into files of 15 kB, and as pages of one TIFF; and of every frame what is around its particles."""
    record = {"image_every": 10, "image_region": "30:80, 20:84", "tiff_stack": True, "part_gb": 1.5e-5}
    record |= {"crop_size": 24, "crop_particles": "inside 0:100, 0:160"}
    ended = lab.run(lab.settings(SETTINGS, record=record), "--source", lab.stack(frames))
    assert ended.status == 0, ended.stderr
    with h5py.File(ended.folder / f"tracking_{ended.folder.name}.h5") as file:
        np.testing.assert_array_equal(file["images"][...], frames[::10, 30:80, 20:84])
    assert list(ended.record.frames.numbers) == list(range(0, FRAMES, 10))
    assert len(list(ended.folder.glob("images_*.h5"))) > 1
    stack = tifffile.imread(ended.folder / f"{ended.folder.name}_frames.tiff")
    np.testing.assert_array_equal(stack, frames[::10, 30:80, 20:84])
    said = (ended.folder / "log.jsonl").read_text()
    assert "images: 1 thread compresses" in said
    assert "tiff: 1 thread compresses" in said
    crops, tracks = ended.record.crops, ended.record.tracks
    assert len(list(ended.folder.glob("crops_*.h5"))) >= 1
    wanted = tracks[tracks["y"] < 100]
    assert len(wanted) > 5 * FRAMES
    for name in ("frame", "particle", "x", "y"):
        assert crops.table[name].tolist() == wanted[name].tolist()
    for row, crop in zip(crops.rows, crops):
        y, x = int(row["y0"]), int(row["x0"])
        np.testing.assert_array_equal(crop, frames[row["frame"], y : y + 24, x : x + 24])
    with h5py.File(ended.folder / f"tracking_{ended.folder.name}.h5") as file:
        np.testing.assert_array_equal(file["crops"][5], crops[5])
        assert len(file["crop_rows"]) == len(crops)
    checked = lab.command("inspect", ended.folder, "--json")
    assert checked.status == 0, checked.stdout
    assert (checked.summary["crops"], checked.summary["images"]) == (len(crops), FRAMES // 10)
    particle = int(crops.table["particle"].mode()[0])
    stack = lab.command("export", ended.folder, "--to", "ome-tiff", "--particles", str(particle), "--frames", "10-99")
    assert stack.status == 0, stack.stderr
    rows, pixels = crops.of(particle, 10, 99)
    assert len(rows) > 50
    with tifffile.TiffFile(next(ended.folder.glob("*.ome.tif"))) as tif:
        assert tif.is_ome
        np.testing.assert_array_equal(tif.asarray(), pixels)
    with pytest.raises(IndexError, match="frame 5 was not kept; those that are: 12, from 0 to 110"):
        ended.record.frames[5]
    assert_tracked_again_they_are_where_they_were(lab, ended)


def assert_tracked_again_they_are_where_they_were(lab: Laboratory, ended: Ended) -> None:
    """The part of 50 x 64 is the frame; /frames says where on the sensor it lies."""
    camera = SETTINGS["camera"] | {"height": 50, "width": 64}
    nothing = {"images": False, "tiff": False}
    again = lab.run(lab.settings(SETTINGS, camera=camera, record=nothing), "--source", ended.folder)
    assert again.counts == (12, 12, 12, 0), again.stderr
    table, tracks, before = again.record.frames_array, again.record.tracks_array, ended.record.tracks_array
    assert set(zip(table["region_y"].tolist(), table["region_x"].tolist())) == {(30, 20)}
    found = 0
    for number in range(12):
        one, was = tracks[tracks["frame"] == number], before[before["frame"] == 10 * number]
        one = one[(one["y"] > 11) & (one["y"] < 39) & (one["x"] > 11) & (one["x"] < 53)]  # not at the part's edges
        for y, x in zip(one["y"] + 30, one["x"] + 20):
            found += 1
            assert np.hypot(was["y"] - y, was["x"] - x).min() < 0.3
    assert found > 10
    compared = again.summary["comparison"]
    assert compared["frames"] == 12
    assert compared["rows"] == sum((before["frame"] % 10 == 0) & are_inside(before, 30, 80, 20, 84))
    assert compared["rows_again"] == len(tracks)
    assert compared["largest_shift_px"] < 3
