"""Camera frames in parts of a size or a time are read as one."""

from __future__ import annotations

from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  registers the filter, as a reader would
import numpy as np
import pytest

from engine.frames import FRAME_META
from recorders.image_check import check_images
from recorders.image_parts import ImageParts
from recorders.images import ImageFile
from recorders.parts import part_path, part_paths
from recorders.pictures import Pictures, linked_frames

SHAPE_HW = (24, 32)


def recorded(first: Path, count: int, times_s: list[float] | None = None, **limits: float) -> np.ndarray:
    """Frames of noise put through parts; what was in them. `times_s`: what the clock says at each call."""
    frames = np.random.default_rng(3).integers(0, 4000, (count, *SHAPE_HW)).astype(np.uint16)
    clock = iter(times_s or [0.0] * 1000)
    sink = ImageParts(
        lambda part: ImageFile(part_path(first, part), SHAPE_HW, "uint16"), 1, clock=lambda: next(clock), **limits
    )
    meta = np.zeros(1, FRAME_META)[0]
    for number, frame in enumerate(frames):
        meta["frame"] = number
        sink.write(meta, sink.encode(meta, frame))
    sink.close()
    return frames


def test_a_file_ends_before_it_is_larger_than_asked(tmp_path: Path) -> None:
    first = tmp_path / "images_run_001.h5"
    frames = recorded(first, 10, part_bytes=3.5 * SHAPE_HW[0] * SHAPE_HW[1] * 2 * 0.8)
    paths = part_paths(first)
    assert len(paths) >= 3
    assert [path.name for path in paths.values()][:2] == ["images_run_001.h5", "images_run_001.part002.h5"]
    pictures = Pictures(first)
    assert list(pictures.numbers) == list(range(10))
    assert all(np.array_equal(pictures[n], frame) for n, frame in enumerate(frames))
    assert linked_frames(first) == 10
    found = check_images(first)
    assert (found.frames, found.faults) == (10, [])


def test_a_file_ends_after_its_minutes(tmp_path: Path) -> None:
    first = tmp_path / "images_run_001.h5"
    # The clock: at the first file, frames 0 to 3, at the second file, frame 4.
    recorded(first, 5, [0, 0, 20, 40, 60, 60, 70], part_s=60)
    assert [len(Pictures(path)) for path in (first,)] == [5]
    assert len(part_paths(first)) == 2


def test_a_frame_larger_than_a_file_may_be_is_kept_all_the_same(tmp_path: Path) -> None:
    recorded(tmp_path / "images_run_001.h5", 3, part_bytes=10)
    assert len(Pictures(tmp_path / "images_run_001.h5")) == 3
    assert len(part_paths(tmp_path / "images_run_001.h5")) == 3


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_frames_are_decoded_as_hdf5_decodes_them(tmp_path: Path, dtype: str) -> None:
    first = tmp_path / "images_run_001.h5"
    sink = ImageFile(first, (23, 31), dtype)
    frames = np.random.default_rng(3).integers(0, 256, (3, 23, 31)).astype(dtype) * (1 if dtype == "uint8" else 250)
    meta = np.zeros(1, FRAME_META)[0]
    for number, frame in enumerate(frames):
        meta["frame"] = number
        sink.write(meta, sink.encode(meta, frame))
    sink.close()
    pictures = Pictures(first)
    np.testing.assert_array_equal(np.stack(list(pictures)), frames)
    assert pictures[0].dtype == dtype
    with h5py.File(first) as file:
        np.testing.assert_array_equal(file["images"][...], frames)
        place, size = file["images"].id.get_chunk_info(1)[2:]
    with first.open("r+b") as raw:
        raw.seek(place)
        raw.write(bytes(size))
    decode = pictures.fetch(1)
    with pytest.raises(OSError, match="a chunk cannot be decoded"):
        decode()
    np.testing.assert_array_equal(pictures[2], frames[2])


@pytest.mark.parametrize("row", [-1, 0], ids=["never written", "zeros, as older files have them"])
def test_rows_that_a_killed_recorder_did_not_write_are_of_no_frame(tmp_path: Path, row: int) -> None:
    first = tmp_path / "images_run_001.h5"
    frames = recorded(first, 3)
    with h5py.File(first, "r+") as file:
        file["images"].resize(5, axis=0)
        file["frames"].resize((5,))
        assert list(file["frames"]["frame"]) == [0, 1, 2, -1, -1]
        file["frames"][3:] = np.full(2, row, file["frames"].dtype["frame"]).astype(file["frames"].dtype)
    pictures = Pictures(first)
    assert list(pictures.numbers) == [0, 1, 2]
    assert np.array_equal(pictures[0], frames[0])
    assert linked_frames(first) == 3
