"""The archive's own decoder of what effort 1 packs: it says what libjxl says, or it leaves the picture to libjxl."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from recorders.archive import jxl
from recorders.archive.quick import Decoder, OtherKindError, decoded


def noise(shape_hw: tuple[int, int], mean: float = 100.0, seed: int = 0) -> NDArray[Any]:
    return np.random.default_rng(seed).poisson(mean, shape_hw).astype(np.uint16)


def steps(shape_hw: tuple[int, int]) -> NDArray[Any]:
    """Long runs, and the largest differences there are."""
    image = np.zeros(shape_hw, np.uint16)
    image[:, shape_hw[1] // 2 :] = 65535
    image[shape_hw[0] // 3 :: 50] = 7
    return image


PICTURES = {
    "noise": noise((300, 700)),
    "all groups are whole": noise((512, 256)),
    "one pixel more than groups": noise((257, 513)),
    "one column": noise((1500, 1)),
    "one row": noise((1, 1500)),
    "more than 2048 rows": noise((2100, 40)),
    "black": np.zeros((300, 300), np.uint16),
    "white": np.full((300, 300), 65535, np.uint16),
    "steps": steps((400, 600)),
    "a ramp": np.add.outer(np.arange(600), 50 * np.arange(600)).astype(np.uint16),
    "bright noise": noise((300, 300), 40_000),
    "spots on nothing": (noise((600, 600), 0.002) * 1000).astype(np.uint16),
}


@pytest.mark.parametrize("name", PICTURES)
def test_it_finds_the_pixels_that_libjxl_finds(name: str) -> None:
    image = PICTURES[name]
    data = jxl.packed(image, {"a": 1}, 1)
    decoder = Decoder()
    assert (decoder.unpacked(data) == image).all()
    assert decoder.quick == 0  # libjxl is the first to decode a kind of picture
    again = decoder.unpacked(data)
    assert (again == image).all()
    assert (again.shape, again.dtype) == (image.shape, image.dtype)
    assert decoder.quick == 1
    assert (decoder.unpacked(jxl.packed(image[::-1], {}, 1)) == image[::-1]).all()
    assert decoder.quick == 2


@pytest.mark.parametrize(
    ("image", "effort"),
    [(noise((200, 200)), 1), (noise((300, 300)).astype(np.uint8), 1), (noise((300, 300)), 3)],
    ids=["one group", "uint8", "a higher effort"],
)
def test_what_it_does_not_know_is_left_to_libjxl(image: NDArray[Any], effort: int) -> None:
    data = jxl.packed(image, {}, effort)
    decoder = Decoder()
    for _ in range(3):
        assert (decoder.unpacked(data) == image).all()


def test_pictures_of_another_size_are_not_taken_for_those_it_knows() -> None:
    decoder = Decoder()
    for shape_hw in ((300, 400), (400, 300), (300, 401), (300, 400)):
        image = noise(shape_hw)
        assert (decoder.unpacked(jxl.packed(image, {}, 1)) == image).all()
    assert decoder.quick == 1


def test_every_64th_is_decoded_by_libjxl_all_the_same() -> None:
    decoder, image = Decoder(), noise((20, 300))
    data = jxl.packed(image, {}, 1)
    for _ in range(130):
        assert (decoder.unpacked(data) == image).all()
    assert decoder.quick == 130 - 1 - 2


def test_a_flipped_bit_is_never_taken_for_the_picture() -> None:
    image = noise((260, 300))
    data = jxl.packed(image, {}, 1)
    decoder = Decoder()
    decoder.unpacked(data)
    start = data.index(jxl.codestream(data))
    everywhere = np.random.default_rng(3).integers(8 * start, 8 * len(data), 150)
    beginning = np.arange(8 * start, 8 * (start + 120))  # headers, sizes, prefix codes
    for bit in [*everywhere.tolist(), *beginning.tolist()]:
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        before = decoder.quick
        with contextlib.suppress(jxl.NoFrameError):
            pixels = decoder.unpacked(bytes(broken))
            if decoder.quick > before and np.array_equal(pixels, image):  # a bit that means nothing
                assert np.array_equal(jxl.unpacked(bytes(broken)), image), f"bit {bit - 8 * start} of the picture"
    assert decoder.quick > 20  # its pixels were others


def test_what_is_cut_or_longer_is_never_taken_for_the_picture() -> None:
    image = noise((260, 300))
    stream = jxl.codestream(jxl.packed(image, {}, 1))
    decoder = Decoder()
    decoder.unpacked(jxl.packed(image, {}, 1))
    kind = next(iter(decoder._kinds.values()))
    for other in (stream[:-1], stream + b"\0", stream[: len(stream) // 2], stream[:60], b""):
        with pytest.raises(OtherKindError):
            decoded(other, kind)


def test_a_container_that_is_cut_has_no_picture() -> None:
    data = jxl.packed(noise((260, 300)), {}, 1)
    assert jxl.codestream(data[:-1]) == b""
    assert jxl.codestream(data + b"\0\0\0\0") == b""
    assert jxl.codestream(b"") == b""
