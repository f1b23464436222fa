"""The archive's pictures: pixels, tags and times come back, and what is no frame is not packed."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tifffile

from bridge import wire
from recorders.archive import jxl
from recorders.archive.worker import Request, do
from tests.recorders.archiving import camera_file, image


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
        assert data == pixels.astype(np.dtype(dtype).newbyteorder(">")).tobytes()


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
