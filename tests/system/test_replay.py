"""A recorded run, played again: byte for byte the same tracks, whatever the speed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recorders.blocks import count_rows, track_blocks
from recorders.compare import compare
from recorders.playback import Recording, is_recording
from tests.system.running import Ended, Laboratory, diffusing

FRAMES = 60
SETTINGS: dict[str, dict[str, Any]] = {
    "camera": {"width": 128, "height": 96, "fps": 200, "bits": 12},
    "tracking": {"diameter": 9, "minmass": 500, "max_ecc": 1e9},
    "record": {"images": True},
}


@pytest.fixture(scope="module")
def recorded(shared_lab: Laboratory) -> Ended:
    ended = shared_lab.run(
        shared_lab.settings(SETTINGS), "--source", shared_lab.stack(diffusing(8, FRAMES, (96, 128), 4))
    )
    assert ended.counts == (FRAMES, FRAMES, FRAMES, 0), ended.stderr
    assert len(ended.record.tracks_array) > 3 * FRAMES
    return ended


def replayed(lab: Laboratory, folder: Path, *options: str) -> Ended:
    with lab.started(lab.settings(SETTINGS, record={"images": False})) as run:
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


@pytest.mark.long
def test_a_replay_at_its_own_speed_gives_the_same_bytes(shared_lab: Laboratory, recorded: Ended) -> None:
    again = replayed(shared_lab, recorded.folder)
    assert again.tracks_bytes == recorded.tracks_bytes


def test_a_run_tracked_again_says_that_nothing_changed_or_what_did(shared_lab: Laboratory, recorded: Ended) -> None:
    other = shared_lab.settings(SETTINGS, record={"images": False}, tracking={"minmass": 6000})
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
