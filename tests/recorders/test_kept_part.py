"""A run that kept a part of each frame: whoever shows it shows particles where they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from engine.cli.monitor_replay import ReplayFeed
from engine.experiment import Experiment
from recorders import Run, napari_reader
from recorders.compare import compare
from recorders.export import run as export
from recorders.hdf5 import main as record_hdf5
from recorders.images import ImageFile
from recorders.playback import Recording
from recorders.runfolder import RunFolder

SHAPE_HW = (121, 64)
REGION = "91:, 2:62"
FRAMES = 12
BINNING = 2


def picture(n: int) -> NDArray[Any]:
    return np.random.default_rng(n).integers(0, 4096, SHAPE_HW, np.uint16)


@pytest.fixture
def run(job: Any, ring: Any) -> Run:
    """Particles are at y from 100 on, x from 0 on; the camera reads out a part of its sensor, binned."""
    whole = Experiment()
    experiment = msgspec.structs.replace(
        whole,
        camera=msgspec.structs.replace(whole.camera, height=SHAPE_HW[0], width=SHAPE_HW[1], pixel_um=0.5),
        record=msgspec.structs.replace(whole.record, images=True, image_region=REGION),
    )
    frames = [ring.frame(n, region_y=1000, region_x=200, binning=BINNING) for n in range(FRAMES)]
    made = job([*frames, ring.end()], experiment=experiment)
    record_hdf5(made)
    folder = RunFolder(made.run_folder)
    images = ImageFile(folder.images, SHAPE_HW, "uint16", region=REGION)
    for n in range(FRAMES):
        images.write(ring.meta(n), images.encode(ring.meta(n), picture(n)))
    images.close()
    return Run.open(folder.path)


def test_the_part_is_told_with_its_ends(run: Run) -> None:
    y0, y1, x0, x1 = run.kept_part
    assert (y0, y1, x0, x1) == (91, 121, 2, 62)
    np.testing.assert_array_equal(run.frames[3], picture(3)[y0:y1, x0:x1])


def test_played_again_the_region_begins_where_the_part_does(run: Run) -> None:
    """In pixels of the sensor: one of the frame is two of them wide."""
    frame = Recording(run.path).read(3)
    assert frame.header["region"] == (1000 + BINNING * 91, 200 + BINNING * 2)
    assert frame.header["binning"] == BINNING


def test_napari_has_the_part_at_its_place_under_the_tracks(run: Run) -> None:
    (images, about, _), (tracks, _, _) = napari_reader.read(str(run.path))
    assert images.shape == (FRAMES, 30, 60)
    assert about["translate"] == (0.0, 45.5, 1.0)  # µm
    assert tracks[0, 2] == 100


def test_rings_are_drawn_around_particles_in_the_part(run: Run, tmp_path: Path) -> None:
    import av

    with av.open(str(export(run, "mp4", tmp_path / "a.mp4", fps=10.0))) as film:
        image = next(film.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    assert image.shape == (30, 60, 3)
    coloured = np.argwhere(np.ptp(image, axis=2) > 60)
    assert len(coloured) > 10
    assert coloured[:, 1].max() < 20  # x is 0 to 0.5 in the camera's frame, a ring's radius 12.5


def test_the_monitor_shows_the_part_within_a_black_frame(run: Run) -> None:
    feed = ReplayFeed(run.path)
    feed.start()
    shown = feed.picture()
    assert shown is not None
    assert shown.step == 1
    expected = np.zeros(SHAPE_HW, np.uint16)
    expected[91:121, 2:62] = picture(0)[91:121, 2:62]
    np.testing.assert_array_equal(shown.pixels, expected)


def test_compared_with_itself_tracked_again_only_what_was_kept_counts(run: Run, job: Any, ring: Any) -> None:
    """Particles at x < 2 are not in the part; the rest is where the corner says."""
    other = Path(run.path.parent).with_name("run_002")
    other.mkdir()
    frames = []
    for n in range(FRAMES):
        meta, rows = ring.frame(n)
        rows = rows[rows["x"] >= 2]
        rows["x"] -= 2
        rows["y"] -= 91
        meta["rows"] = len(rows)
        frames.append((meta, rows))
    again = job([*frames, ring.end()])
    again.run_folder = other
    record_hdf5(again)
    found = compare(run.path.parent, other)
    assert (found.frames, found.frames_same) == (FRAMES, FRAMES)
    assert found.rows == found.rows_again == sum(len(rows) for _, rows in frames) < len(run.tracks_array)
