"""`kill -9` of the recorders of camera frames at random moments, over a real ring: no frame is lost, none is torn.

RINGTRACK_KILLS says how often each of them is killed. After each kill its files are read, and compared.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import xxhash
from numpy.typing import NDArray

from engine.frames import FRAME_META, Kind
from engine.supervisor.template import Template
from recorders import h5clear
from recorders.image_check import check_images
from recorders.parts import part_paths
from recorders.pictures import Pictures
from recorders.tiff_ome import ABOUT
from tests.recorders.killable import Recording, kill_again_and_again

KILLS = int(os.environ.get("RINGTRACK_KILLS", "70"))
SIDE = 96
FORMS = {
    "images": ("images", {}),
    "tiff": ("tiff", {"tiff_compression": "lzw"}),
    "stack": ("tiff", {"tiff_compression": "zstd", "tiff_stack": True}),
}


class FrameRecording(Recording):
    """A run with one recorder of frames; the test publishes frames in the receiver's place."""

    def publish_frame(self, place: int, pixels: NDArray[Any] | None) -> None:
        """Wait for room as the receiver does; no pixels: the end of the run."""
        assert self.wait_for_room(place), self.complaint()
        frames = self.rings.frames
        frames.invalidate(place)
        frames.record(place)[0] = self._meta(place, pixels)
        if pixels is not None:
            frames.payload(place)[...] = pixels
        frames.publish(place, "test")

    def _meta(self, place: int, pixels: NDArray[Any] | None) -> np.void:
        meta = np.zeros(1, FRAME_META)[0]
        meta["frame"] = meta["counter"] = place
        meta["settings"] = 1
        meta["t_received_ns"] = meta["t_camera_ns"] = time.monotonic_ns()
        if pixels is None:
            meta["kind"], meta["frame"] = Kind.CLOSING, -1
        else:
            meta["checksum"] = xxhash.xxh3_64_intdigest(pixels.data)
        return meta


@pytest.fixture
def recording(run_folder: Path, template: Template, request: pytest.FixtureRequest) -> Iterator[FrameRecording]:
    kind, settings = FORMS[request.param]
    run = FrameRecording(run_folder, kind, template, side=SIDE, of_frames=True, **settings)
    yield run
    run.close()


def pixels_of(place: int) -> NDArray[Any]:
    """What can be told from all others."""
    return np.random.default_rng(place).poisson(100, (SIDE, SIDE)).astype(np.uint16)


def record_with_kills(recording: FrameRecording, kills: int, seed: int) -> int:
    """Publish frames while the recorder is killed again and again, and look at what it left each time; how many."""
    count = kill_again_and_again(
        recording, lambda place: recording.publish_frame(place, pixels_of(place)), kills=kills, places=200, seed=seed,
        apart_s=0.15, killed_at=lambda safe, dice: assert_all_are_there(recording, safe + 1, dice, at_least=True),
    )  # fmt: skip
    recording.publish_frame(count, None)
    assert recording.reap() == 0, recording.errors
    return count


def assert_all_are_there(recording: FrameRecording, count: int, dice: random.Random, *, at_least: bool = False) -> None:
    """The first frames are readable by who knows nothing of us, each once; some are compared by their pixels."""
    if count == 0:
        return
    found = read(recording)
    numbers = sorted(found)
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= count if at_least else len(numbers) == count, (len(numbers), count)
    for number in dice.sample(numbers, min(20, len(numbers))) if at_least else numbers:
        np.testing.assert_array_equal(found[number](), pixels_of(number))


def read(recording: FrameRecording) -> dict[int, Any]:
    """What the files hold: by number, a function that reads the pixels."""
    folder = recording.folder
    if recording.kind == "images":
        for part in part_paths(folder.images).values():
            h5clear.clear(part)  # as `inspect --repair` does; the recorder is dead
        pictures = Pictures(folder.images)
        assert len(set(pictures.numbers)) == len(pictures.numbers)
        return {int(number): lambda at=at: pictures[at] for at, number in enumerate(pictures.numbers)}
    if folder.tiff_stack.exists():
        with tifffile.TiffFile(folder.tiff_stack) as tif:
            pages = [(said_of(page)["frame"], page.asarray()) for page in tif.pages]
        assert len({number for number, _ in pages}) == len(pages)
        return {number: lambda image=image: image for number, image in pages}
    files = folder.path.glob("frames/*/*.tiff")
    return {int(path.stem.rsplit("_", 1)[1]): lambda path=path: tifffile.imread(path) for path in files}


def said_of(page: Any) -> dict[str, Any]:
    """A page's JSON: its description, but for the first one of a stack that was closed, which has the OME-XML there."""
    said: dict[str, Any] = json.loads(page.tags[ABOUT].value if ABOUT in page.tags else page.description)
    return said


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("recording", FORMS, indirect=True)
def test_a_recorder_of_frames_that_is_killed_again_and_again_loses_none(recording: FrameRecording) -> None:
    count = record_with_kills(recording, KILLS, seed=int.from_bytes(os.urandom(4), "big"))
    assert_all_are_there(recording, count, random.Random(1))
    if recording.kind == "images":
        check = check_images(recording.folder.images)
        assert (check.frames, check.compared, check.faults) == (count, count, [])
