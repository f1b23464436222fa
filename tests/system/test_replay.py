"""A recorded run, played again: byte for byte the same tracks, whatever the speed and the files its frames are in."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  registers the filter: the link to the images is followed
import msgspec
import numpy as np
import pytest
import tifffile

from bridge.sources import Shot
from bridge.wire import Answer, Verdict
from engine.frames import FRAME_META
from engine.supervisor.replay import open_replay
from recorders import Run
from recorders.blocks import count_rows, track_blocks
from recorders.compare import compare
from recorders.copying import copy
from recorders.export import run as export
from recorders.export.selection import Selection
from recorders.inspect import inspect
from recorders.playback import Recording, is_recording
from recorders.repair import repair
from recorders.runfolder import RunFolder
from recorders.tiff import TiffStack
from tests.system.running import Ended, Laboratory, diffusing

FRAMES = 60
SETTINGS: dict[str, dict[str, Any]] = {
    "camera": {"width": 128, "height": 96, "fps": 200, "bits": 12},
    "tracking": {"diameter": 9, "minmass": 500, "max_ecc": 1e9},
    "record": {"images": True, "tiff": True, "part_gb": 1.5e-4, "crop_size": 16},
}
NOTHING = {"images": False, "tiff": False, "crop_size": 0}


@pytest.fixture(scope="module")
def recorded(shared_lab: Laboratory) -> Ended:
    ended = shared_lab.run(
        shared_lab.settings(SETTINGS), "--source", shared_lab.stack(diffusing(8, FRAMES, (96, 128), 4))
    )
    assert ended.counts == (FRAMES, FRAMES, FRAMES, 0), ended.stderr
    assert len(ended.record.tracks_array) > 3 * FRAMES
    assert len(list(ended.folder.glob("images_*.h5"))) > 3
    pictures = [(p["recorder"], p["kept"], p["lost"]) for p in ended.summary["pictures"]]
    assert pictures == [("images", FRAMES, 0), ("tiff", FRAMES, 0)]
    return ended


@pytest.fixture(scope="module")
def kept_as_tiff(shared_lab: Laboratory, recorded: Ended) -> Path:
    """The same run without its frames in HDF5 files."""
    return copied(recorded, shared_lab.folder / "tiff", "images_*", "crops_*")


@pytest.fixture(scope="module")
def kept_as_stack(shared_lab: Laboratory, recorded: Ended) -> Path:
    """The same run with its frames in one stack."""
    folder = copied(recorded, shared_lab.folder / "stack", "images_*", "crops_*", "frames")
    settings = recorded.record.settings
    record = msgspec.structs.replace(settings.record, tiff_stack=True)
    sink = TiffStack(RunFolder(folder), msgspec.structs.replace(settings, record=record), "0" * 16, 0)
    for row, image in zip(recorded.record.frames_array, recorded.record.frames):
        meta = np.zeros(1, FRAME_META)[0]
        for name in ("frame", "counter", "sequence", "settings", "t_camera_ns"):
            meta[name] = row[name]
        sink.write(meta, sink.encode(meta, image))
    sink.close()
    return folder


def copied(recorded: Ended, to: Path, *without: str) -> Path:
    folder = to / recorded.folder.parent.name / recorded.folder.name
    shutil.copytree(recorded.folder, folder, ignore=shutil.ignore_patterns(*without))
    with h5py.File(next(folder.glob("tracking_*.h5")), "r+") as file:
        for name in ("images", "image_frames", "crops", "crop_rows"):
            del file[name]
    return folder


def replayed(lab: Laboratory, folder: Path, *options: str) -> Ended:
    with lab.started(lab.settings(SETTINGS, record=NOTHING)) as run:
        sent = lab.command("replay", folder, "--to", run.address, "--wait", "10", "--json", *options)
        assert sent.status == 0, sent.stderr
        return run.stop()


def test_a_replay_at_ten_times_the_speed_gives_the_same_bytes(shared_lab: Laboratory, recorded: Ended) -> None:
    again = replayed(shared_lab, recorded.folder, "--speed", "10")
    assert again.counts == (FRAMES, FRAMES, FRAMES, 0), again.stderr
    assert again.tracks_bytes == recorded.tracks_bytes
    compared = compare(recorded.folder, again.folder)
    assert compared.same
    assert compared.lines()[0].endswith(f"{FRAMES} frames (ringtrack 0.1.0; recorded by 0.1.0).")


def test_a_replay_of_tiff_files_at_its_own_speed_gives_the_same_bytes(
    shared_lab: Laboratory, recorded: Ended, kept_as_tiff: Path
) -> None:
    again = replayed(shared_lab, kept_as_tiff)
    assert again.counts == (FRAMES, FRAMES, FRAMES, 0), again.stderr
    assert again.tracks_bytes == recorded.tracks_bytes


@pytest.mark.long
def test_a_replay_in_hdf5_parts_at_its_own_speed_gives_the_same_bytes(shared_lab: Laboratory, recorded: Ended) -> None:
    assert replayed(shared_lab, recorded.folder).tracks_bytes == recorded.tracks_bytes


@pytest.mark.long
@pytest.mark.parametrize("speed", ["1", "10"])
def test_a_replay_of_a_stack_gives_the_same_bytes(
    shared_lab: Laboratory, recorded: Ended, kept_as_stack: Path, speed: str
) -> None:
    assert replayed(shared_lab, kept_as_stack, "--speed", speed).tracks_bytes == recorded.tracks_bytes


def test_frames_are_the_same_in_parts_in_files_and_in_a_stack(
    recorded: Ended, kept_as_tiff: Path, kept_as_stack: Path
) -> None:
    frames = diffusing(8, FRAMES, (96, 128), 4)
    for folder in (recorded.folder, kept_as_tiff, kept_as_stack):
        recording = Recording(folder)
        assert recording.times_ns.tolist() == recorded.record.frames_array["t_source_ns"].tolist()
        np.testing.assert_array_equal(np.stack([recording.read(n).image for n in range(FRAMES)]), frames)
    taken = recorded.record.frames_array["t_camera_ns"]
    stack = next(kept_as_stack.glob("*_frames.tiff"))
    after_s = (taken - taken[0]) / 1e9
    begin, end = ((after_s[n - 1] + after_s[n]) / 2 for n in (20, 40))
    for source in (kept_as_tiff / "frames", stack):  # without the run beside them
        replay = open_replay(str(source), speed=0.0, from_s=float(begin), to_s=float(end))
        shots = [shot for shot in replay.frames(Answer(verdict=Verdict.WELCOME)) if isinstance(shot, Shot)]
        assert [shot.counter for shot in shots] == list(range(20, 40))
        times = [shot.t_ns for shot in shots if shot.t_ns is not None]
        np.testing.assert_allclose(np.diff(times), np.diff(taken)[20:39], atol=1)
        np.testing.assert_array_equal(np.stack([shot.image for shot in shots]), frames[20:40])
        del shots  # of a stack's pages in memory
        replay.close()


def test_every_frame_is_checked_in_whatever_files_it_is(
    recorded: Ended, kept_as_tiff: Path, kept_as_stack: Path
) -> None:
    found = inspect(recorded.folder)
    assert (found.images, found.images_compared, found.tiffs, found.tiffs_compared) == (FRAMES,) * 4
    assert found.crops == found.rows
    assert found.faults == []
    assert "60, all decoded, 60 compared" in found.text()
    tiff = next((kept_as_tiff / "frames").glob("*/*_000000017.tiff"))
    whole = tiff.read_bytes()
    try:
        tifffile.imwrite(tiff, np.zeros((96, 128), np.uint16))
        assert inspect(kept_as_tiff).faults == ["frames: frame 17 is not what the sender sent: its checksum is another"]
        tiff.write_bytes(whole[:3000])
        assert "frames: frame 17 cannot be read" in inspect(kept_as_tiff).faults[0]
    finally:
        tiff.write_bytes(whole)
    assert (inspect(kept_as_stack).tiffs_compared, inspect(kept_as_stack).faults) == (FRAMES, [])


def test_parts_are_copied_exported_and_repaired_as_one(shared_lab: Laboratory, recorded: Ended, tmp_path: Path) -> None:
    done = copy(recorded.folder, tmp_path)
    there = Path(done.folder)
    assert done.verified
    assert inspect(there).faults == []
    frames = diffusing(8, FRAMES, (96, 128), 4)
    stack = export(Run.open(there), "ome-tiff", selection=Selection(first=10, last=49))
    np.testing.assert_array_equal(tifffile.imread(stack), frames[10:50])
    with h5py.File(there / f"tracking_{there.name}.h5", "r+") as file:
        del file["images"]
    assert repair(there / f"tracking_{there.name}.h5").done == ["the link to the images was made anew"]
    with h5py.File(there / f"tracking_{there.name}.h5") as file:
        np.testing.assert_array_equal(file["images"][...], frames)
    lost = sorted(there.glob("images_*.h5"))[-1]
    lost.write_bytes(lost.read_bytes()[:4000])
    said = shared_lab.command("inspect", there)
    assert said.status != 0
    assert lost.name in said.stdout + said.stderr


def test_a_run_tracked_again_says_that_nothing_changed_or_what_did(shared_lab: Laboratory, recorded: Ended) -> None:
    other = shared_lab.settings(SETTINGS, record=NOTHING, tracking={"minmass": 6000})
    again = shared_lab.run(other, "--source", recorded.folder)
    assert again.counts == (FRAMES, FRAMES, FRAMES, 0), again.stderr
    said = again.summary["comparison"]
    assert said["frames"] == FRAMES
    assert said["settings"] == ["tracking.minmass: 500.0, now 6000.0"]
    assert said["frames_same"] < FRAMES
    assert said["rows_again"] == len(again.record.tracks_array) < said["rows"]
    # camera times are those at which the frames were taken, not those at which they were tracked again
    offsets = [run.record.metadata["system_info"]["utc_offset_ns"] for run in (recorded, again)]
    taken = [run.record.frames_array["t_camera_ns"] + offset for run, offset in zip((recorded, again), offsets)]
    assert abs(int(taken[0][0] - taken[1][0])) < 5_000_000


def test_a_recording_knows_its_frames_their_times_and_what_their_headers_said(recorded: Ended) -> None:
    assert is_recording(recorded.folder)
    assert not is_recording(recorded.folder.parent)
    recording = Recording(recorded.folder)
    table = recorded.record.frames_array
    assert recording.numbers.tolist() == recording.counters.tolist() == list(range(FRAMES))
    assert recording.times_ns.tolist() == table["t_source_ns"].tolist()
    frame = recording.read(7)
    assert (frame.image == diffusing(8, FRAMES, (96, 128), 4)[7]).all()
    assert frame.header["bits"] == 12


def test_tracks_come_in_blocks_for_a_range_of_frames(recorded: Ended) -> None:
    run = recorded.record
    whole = run.tracks_array
    wanted = whole[(whole["frame"] >= 10) & (whole["frame"] <= 20)]
    blocks = list(track_blocks(run, 10, 20, rows=7))
    assert max(map(len, blocks)) == 7
    assert b"".join(block.tobytes() for block in blocks) == wanted.tobytes()
    assert count_rows(run, 10, 20) == len(wanted)
    assert count_rows(run) == len(whole)
