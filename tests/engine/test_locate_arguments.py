"""`engine.locate`: what it says, what it refuses, and what it never does."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import engine
from tests.made_frames import spots


def frame(dtype: str = "uint16") -> Any:
    return spots((64, 80), 4, 1, peak=150 if dtype == "uint8" else 900, background=20, dtype=dtype)


REFUSED = [
    ("an even diameter", dict(diameter=10), "odd integer"),
    ("a diameter of one", dict(diameter=1), "at least 3"),
    ("three diameters", dict(diameter=(7, 7, 7)), "same length"),
    ("an even smoothing", dict(diameter=7, smoothing_size=8), "odd integer"),
    ("a fractional smoothing", dict(diameter=7, smoothing_size=7.5), "odd integer"),
    ("less smoothing than noise", dict(diameter=7, noise_size=7), "larger than"),
    ("a percentile of 101", dict(diameter=7, percentile=101), "Percentiles"),
    ("filter_before", dict(diameter=7, filter_before=True), "no longer supported"),
    ("an unknown engine", dict(diameter=7, engine="fortran"), "Available engines"),
    ("maxsize of ellipses", dict(diameter=(7, 9), maxsize=3), "anisotropic"),
]


@pytest.mark.parametrize("options, words", [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_it_refuses(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        engine.locate(frame(), **options)


@pytest.mark.parametrize("image", [np.zeros((4, 30, 30), np.uint8), np.zeros(30, np.uint8)], ids=["3-D", "1-D"])
def test_only_two_dimensions_are_offered(image: Any) -> None:
    with pytest.raises(ValueError, match="two-dimensional"):
        engine.locate(image, 7)


@pytest.mark.parametrize("dtype", ["int16", "uint32", "bool", "float16", "complex128"])
def test_other_types_are_refused_by_name(dtype: str) -> None:
    with pytest.raises(ValueError, match=dtype):
        engine.locate(frame().astype(dtype), 7)


WARNED = [
    (dict(invert=True), PendingDeprecationWarning, "invert argument"),
    (dict(filter_after=True), DeprecationWarning, "filter_after"),
    (dict(max_iterations=0), UserWarning, "setting it to 1"),
    (dict(minmass=1e12), UserWarning, "No maxima survived"),
]


@pytest.mark.parametrize("options, kind, words", WARNED, ids=[case[2] for case in WARNED])
def test_what_it_warns_of(options: dict[str, Any], kind: type[Warning], words: str) -> None:
    with pytest.warns(kind, match=words):
        engine.locate(frame(), 7, **options)


def test_a_colour_image_is_suspected() -> None:
    with pytest.warns(UserWarning, match="color image"):
        engine.locate(np.zeros((3, 40), np.uint8), 7)


def test_the_image_is_left_as_it_was() -> None:
    image = frame()
    before = image.copy()
    engine.locate(image, 7)
    np.testing.assert_array_equal(image, before)


def test_views_and_read_only_images_are_taken() -> None:
    image = frame()
    image.flags.writeable = False
    whole = engine.locate(image, 7)
    turned = engine.locate(np.asfortranarray(image), 7)
    assert whole.equals(turned)
    assert len(engine.locate(image[::2, ::2], 5)) >= 0


def test_frame_numbers_of_pims_are_kept() -> None:
    class Frame(np.ndarray[Any, Any]):
        frame_no = 7

    assert set(engine.locate(frame().view(Frame), 7)["frame"]) == {7}


def test_importing_the_engine_imports_nothing_heavy() -> None:
    """Nor does tracking load pandas, matplotlib or trackpy."""
    script = """
import sys, engine
assert not {"numpy", "numba", "pandas"} & set(sys.modules), sorted(sys.modules)
import engine.workers.centroids, engine.workers.link_state
heavy = {"pandas", "matplotlib", "trackpy", "tornado", "click", "rich"} & set(sys.modules)
assert not heavy, heavy
assert engine.locate.__module__ == "engine.locating"
"""
    subprocess.run([sys.executable, "-c", script], check=True)
