"""Pictures of single particles: cut while the frame is there, on the disk as they were, found by particle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  registers the filter, as a reader would
import numpy as np
import pytest

from engine.chosen import parse_chosen
from engine.live import Recording
from engine.rows import ROW
from recorders import crop_file
from recorders.crop_file import CropFile, corners, cut
from recorders.crop_parts import Crops, check_crops, last_frame_of, link_crops_into, linked_crops, parts_of_crops
from recorders.crops import CropRecorder, FramePlaces
from recorders.loop import record
from recorders.parts import RunError, part_path

SHAPE_HW = (40, 50)
SIZE = 8


def rows_at(frame: int, *at_xy: tuple[float, float]) -> np.ndarray:
    rows = np.zeros(len(at_xy), ROW)
    rows["frame"], rows["particle"] = frame, np.arange(len(at_xy))
    rows["x"], rows["y"] = zip(*at_xy) if at_xy else ((), ())
    return rows


def pixels_of(frame: int) -> np.ndarray:
    return np.random.default_rng(frame).integers(0, 65536, SHAPE_HW).astype(np.uint16)


class Frames(FramePlaces):
    """The frame ring: pixels by place, and how far it was given back."""

    def __init__(self, gone: tuple[int, ...] = ()) -> None:
        self.gone = gone
        self.given_back = -1

    def cut(self, place: int, make: Callable[[np.ndarray], Any]) -> Any:
        return None if place in self.gone or place <= self.given_back else make(pixels_of(place))

    def done(self, place: int) -> None:
        self.given_back = max(self.given_back, place)


def recorder(folder: Path, frames: Frames, chosen: str = "", **options: Any) -> CropRecorder:
    rule = parse_chosen(chosen)
    return CropRecorder(
        folder / "crops_run_001.h5", SIZE, SHAPE_HW, "uint16", frames,
        chosen=lambda version: rule, **options,
    )  # fmt: skip


def run_through(job: Any, ring: Any, frames: Frames, script: list[Any], made: CropRecorder) -> SimpleNamespace:
    run = job(script)
    record(run, made, arrived=made.arrived)
    return run


AT = ((20.4, 30.6), (3.0, 1.0), (49.4, 39.2))


def frame_of(ring: Any, number: int, *at: tuple[float, float], **fields: Any) -> tuple[Any, np.ndarray]:
    return ring.meta(number, len(at), **fields), rows_at(number, *at)


@pytest.mark.parametrize("size", [1, 5, 8, 40])
def test_a_crop_is_centred_on_its_particle_and_moved_into_the_frame_at_its_edges(size: int) -> None:
    pixels = pixels_of(3)
    rows = rows_at(3, *AT, (0.0, 39.5), (-0.4, 20.0))
    y0, x0 = corners(rows, size, SHAPE_HW)
    for crop, row, y, x in zip(cut(pixels, y0, x0, size), rows, y0, x0):
        np.testing.assert_array_equal(crop, pixels[y : y + size, x : x + size])
        assert crop.shape == (size, size)
        for first, at, length in ((y, row["y"], SHAPE_HW[0]), (x, row["x"], SHAPE_HW[1])):
            inside = size / 2 <= at <= length - 1 - size / 2
            assert abs(first + (size - 1) / 2 - at) <= 1.0 or not inside
            assert 0 <= first <= length - size
            assert first - 0.5 <= at <= first + size + 0.5


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", [0, 1, 2]),
        ("1", [1]),
        ("0, 2-7", [0, 2]),
        ("9", []),
        ("inside 0:20, 0:50", [1]),
        ("inside 25:40, 10:50", [0, 2]),
    ],
)
def test_particles_are_chosen_by_identity_or_by_place(text: str, kept: list[int]) -> None:
    assert np.flatnonzero(parse_chosen(text)(rows_at(0, *AT))).tolist() == kept


@pytest.mark.parametrize("text", ["x", "3-1", "-4", "inside", "inside 5:5, 0:9", "1;2", ","])
def test_a_choice_that_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_chosen(text)


def test_crops_are_read_plainly_and_by_particle(run_folder: Path, job: Any, ring: Any) -> None:
    frames, count = Frames(), 1100  # more than a chunk
    script = [frame_of(ring, n, *AT) for n in range(count)] + [ring.end()]
    run_through(job, ring, frames, script, recorder(run_folder, frames, "1-2", utc_offset_ns=7))
    with h5py.File(run_folder / "crops_run_001.h5") as file:  # h5py alone
        rows, crops = file["crop_rows"][...], file["crops"][...]
        assert file["crops"].chunks[0] < len(crops)
    assert rows["frame"].tolist() == np.repeat(np.arange(count), 2).tolist()
    assert rows["particle"].tolist() == [1, 2] * count
    for index in (0, 1, 2101, 2199):
        row = rows[index]
        y, x = int(row["y0"]), int(row["x0"])
        np.testing.assert_array_equal(crops[index], pixels_of(row["frame"])[y : y + SIZE, x : x + SIZE])
        assert (row["x"], row["y"]) == AT[row["particle"]]
        assert row["t_utc_ns"] == ring.meta(int(row["frame"]))["t_camera_ns"] + 7
    opened = Crops(run_folder / "crops_run_001.h5")
    own, pixels = opened.of(particle=2, first=10, last=1050)
    assert own["frame"].tolist() == list(range(10, 1051))
    np.testing.assert_array_equal(
        pixels, crops[(rows["particle"] == 2) & (rows["frame"] >= 10) & (rows["frame"] <= 1050)]
    )
    np.testing.assert_array_equal(np.stack(list(opened)), crops)
    np.testing.assert_array_equal(opened[2101], crops[2101])
    assert check_crops(run_folder / "crops_run_001.h5") == (2200, [])
    assert frames.given_back == count - 1
    with pytest.raises(IndexError, match="crop 2200: there are 2200"):
        opened[2200]


def test_what_is_flushed_is_there_while_more_is_written(run_folder: Path, job: Any, ring: Any, fast: Any) -> None:
    frames, seen = Frames(), []
    first = run_folder / "crops_run_001.h5"

    def look() -> None:
        with h5py.File(first, "r", swmr=True) as file:
            seen.append((file["crop_rows"]["frame"].tolist(), file["crops"][...], frames.given_back))

    made = recorder(run_folder, frames)
    script = [frame_of(ring, 0, AT[0]), look, frame_of(ring, 1, AT[0]), look, frame_of(ring, 2, AT[0]), ring.end()]
    record(job(script, experiment=fast), made, arrived=made.arrived)
    assert [(numbers, back) for numbers, _, back in seen] == [([0], 0), ([0, 1], 2)]  # places: those of the looks count
    np.testing.assert_array_equal(seen[1][1], np.stack(list(Crops(first)))[:2])  # of a chunk that was written again
    assert len(Crops(first)) == 3


def test_a_flush_right_after_a_full_chunk_is_none_too_many(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crop_file, "CHUNK_BYTES", 3 * SIZE * SIZE * 2)
    file = CropFile(run_folder / "crops_run_001.h5", SIZE, "uint16")
    rows = rows_at(0, *AT)
    y0, x0 = corners(rows, SIZE, SHAPE_HW)
    for number in range(4):
        rows["frame"] = number
        file.add(ringless_meta(), rows, cut(pixels_of(0), y0, x0, SIZE), (y0, x0), 0)
        file.flush()
    file.close()
    assert len(Crops(run_folder / "crops_run_001.h5")) == 12


def ringless_meta() -> Any:
    return np.zeros(1, [("counter", "i8")])[0]


def test_a_frame_that_was_overwritten_is_counted_and_the_others_are_kept(run_folder: Path, job: Any, ring: Any) -> None:
    told: list[tuple[int, int]] = []
    frames = Frames(gone=(1,))
    made = recorder(run_folder, frames, lost=lambda frame, count: told.append((frame, count)))
    run_through(job, ring, frames, [frame_of(ring, n, *AT) for n in range(3)] + [ring.end()], made)
    assert told == [(1, 3)]
    assert Crops(run_folder / "crops_run_001.h5").rows["frame"].tolist() == [0, 0, 0, 2, 2, 2]


def test_a_pause_keeps_nothing_holds_nothing_and_a_take_reaches_back(run_folder: Path, job: Any, ring: Any) -> None:
    off = Recording(on=False, take=0)
    takes = {1: off, 2: Recording(on=True, take=1, before_s=0.035)}  # 10 ms from frame to frame
    script = [frame_of(ring, n, AT[0], settings=1 + (n >= 8)) for n in range(10)] + [ring.end()]
    held: list[int] = []
    frames = Frames()
    script.insert(5, lambda: held.append(frames.given_back))
    made = recorder(run_folder, frames, is_on=lambda version: takes[version].on)
    record(job(script, recordings=takes), made, arrived=made.arrived)
    assert held == [4]
    assert Crops(run_folder / "crops_run_001.h5").rows["frame"].tolist() == [5, 6, 7, 8, 9]


def test_who_comes_after_one_that_died_goes_on_in_a_part(run_folder: Path, job: Any, ring: Any) -> None:
    first = run_folder / "crops_run_001.h5"
    frames = Frames()
    run_through(
        job, ring, frames, [frame_of(ring, n, *AT) for n in range(5)] + [ring.end()], recorder(run_folder, frames)
    )
    assert last_frame_of(first) == 4
    script = [frame_of(ring, n, *AT) for n in range(8)] + [ring.end()]  # all of them are given again
    run_through(job, ring, Frames(), script, recorder(run_folder, Frames()))
    assert [len(rows) for _, rows in parts_of_crops(first)] == [15, 9]
    whole = Crops(first)
    assert whole.rows["frame"].tolist() == np.repeat(np.arange(8), 3).tolist()
    own, pixels = whole.of(particle=0)
    for row, crop in zip(own, pixels):
        y, x = int(row["y0"]), int(row["x0"])
        np.testing.assert_array_equal(crop, pixels_of(row["frame"])[y : y + SIZE, x : x + SIZE])
    with h5py.File(run_folder / "tracking_run_001.h5", "w", libver=("v110", "v110")) as file:
        link_crops_into(file, first)
    with h5py.File(run_folder / "tracking_run_001.h5") as file:
        assert linked_crops(first) == len(file["crops"]) == 24
        np.testing.assert_array_equal(file["crops"][...], np.stack(list(whole)))
        assert file["crop_rows"]["frame"].tolist() == whole.rows["frame"].tolist()


def test_a_file_of_a_size_is_followed_by_another(run_folder: Path, job: Any, ring: Any, fast: Any) -> None:
    frames = Frames()
    made = recorder(run_folder, frames, part_bytes=12_000)
    script = [frame_of(ring, n, *AT) for n in range(40)] + [ring.end()]
    record(job(script, experiment=fast), made, arrived=made.arrived)
    first = run_folder / "crops_run_001.h5"
    assert part_path(first, 3).exists()
    assert Crops(first).rows["frame"].tolist() == np.repeat(np.arange(40), 3).tolist()


def test_rows_that_were_not_written_whole_do_not_count(run_folder: Path) -> None:
    path = run_folder / "crops_run_001.h5"
    file = CropFile(path, SIZE, "uint16")
    rows = rows_at(0, *AT)
    y0, x0 = corners(rows, SIZE, SHAPE_HW)
    file.add(ringless_meta(), rows, cut(pixels_of(0), y0, x0, SIZE), (y0, x0), 0)
    file.close()
    with h5py.File(path, "r+") as torn:
        torn["crop_rows"].resize((7,))
    assert len(Crops(path)) == 3


def test_a_crop_that_is_not_what_was_cut_is_found(run_folder: Path, job: Any, ring: Any) -> None:
    path, frames = run_folder / "crops_run_001.h5", Frames()
    run_through(
        job, ring, frames, [frame_of(ring, n, *AT) for n in range(9)] + [ring.end()], recorder(run_folder, frames)
    )
    with h5py.File(path, "r+") as file:
        crops = file["crops"][...]
        crops[4, 2, 2] ^= 1
        file["crops"][...] = crops
    count, faults = check_crops(path)
    assert count == 27
    assert faults == [
        "crops_run_001.h5: the crop of particle 1 in frame 1 is not what was cut: its checksum is another"
    ]
    with h5py.File(path) as file:
        place, size = file["crops"].id.get_chunk_info(0)[2:]
    with path.open("r+b") as raw:
        raw.seek(place)
        raw.write(bytes(size))
    assert "cannot be read" in check_crops(path)[1][0]


def test_a_run_without_crops_says_so(run_folder: Path) -> None:
    with pytest.raises(RunError, match=r"this run kept no crops \(record.crop_size\)"):
        Crops(run_folder / "crops_run_001.h5")
