"""Replay: reels at their own times, faster, in part, again and again. The clock is the test's."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from bridge.sources import Shot, Unreadable
from bridge.sources.reels import FolderReel, StackReel, open_reel
from bridge.sources.replay import Replay, Still, UnreadableError
from bridge.wire import Answer, Verdict
from engine.errors import SettingsError

NS = 1_000_000_000


class Clock:
    """Moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 5 * NS

    def __call__(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(1, round(seconds * NS))


class Reel:
    """Frames at given seconds; a frame's pixels are its index."""

    name = "replay of a test"
    threads = 2

    def __init__(self, seconds: list[float], counters: list[int] | None = None, bad: tuple[int, ...] = ()) -> None:
        self.times_ns: NDArray[np.int64] | None = np.array([round(s * NS) for s in seconds], np.int64)
        self.counters = np.array(counters or range(100, 100 + len(seconds)), np.int64)
        self.bad = bad
        self.closed = False
        self.asked: list[int] = []

    def read(self, index: int) -> Still:
        self.asked.append(index)
        if index in self.bad:
            raise UnreadableError(f"frame {index}", "it is torn")
        return Still(image=np.full((4, 5), index, np.uint16))

    def close(self) -> None:
        self.closed = True


def welcome(resume: int = -1) -> Answer:
    return Answer(verdict=Verdict.WELCOME, resume=resume, fps=10.0)


def played(
    reel: Reel, *, resume: int = -1, limit: int = 1000, clock: Clock | None = None, **options: Any
) -> Generator[tuple[float, Shot | Unreadable], None, None]:
    """What a replay gives, each with the second at which it was given."""
    clock = clock or Clock()
    replay = Replay(reel, clock=clock, sleep=clock.sleep, **options)
    try:
        for found in replay.frames(welcome(resume)):
            if found is not None:
                yield (clock.now - 5 * NS) / NS, found
                limit -= 1
            if not limit:
                return
    finally:
        replay.close()


@pytest.mark.parametrize(("speed", "factor"), [(1.0, 1.0), (0.5, 2.0), (10.0, 0.1)])
def test_frames_come_at_their_times_whatever_the_distances(speed: float, factor: float) -> None:
    seconds = [3.0, 3.1, 3.15, 4.0, 4.001]
    given = list(played(Reel(seconds), speed=speed))
    assert [at for at, _ in given] == pytest.approx([(s - 3.0) * factor for s in seconds], abs=1e-6)


def test_as_fast_as_it_is_taken_nobody_waits() -> None:
    assert {at for at, _ in played(Reel([0.0, 10.0, 20.0]), speed=0.0)} == {0.0}


@pytest.mark.parametrize("speed", [0.0, 1.0, 7.0])
def test_frames_say_the_distances_of_the_recording_at_every_speed(speed: float) -> None:
    seconds = [0.0, 0.01, 0.020000001, 5.0]
    shots = [shot for _, shot in played(Reel(seconds), speed=speed)]
    times = [shot.t_ns for shot in shots if isinstance(shot, Shot) and shot.t_ns is not None]
    assert times == [5 * NS + round(s * NS) for s in seconds]  # from the moment at which it began


def test_a_given_start_is_the_time_of_the_first_frame() -> None:
    shots = [shot for _, shot in played(Reel([2.0, 3.0]), start_ns=-7, speed=0.0)]
    assert [shot.t_ns for shot in shots if isinstance(shot, Shot)] == [-7, NS - 7]


def test_a_part_is_found_without_reading_what_lies_before() -> None:
    reel = Reel([n / 10 for n in range(1000)])
    given = [shot for _, shot in played(reel, from_s=50.0, to_s=50.5, speed=0.0)]
    assert [int(shot.image[0, 0]) for shot in given if isinstance(shot, Shot)] == [500, 501, 502, 503, 504]
    assert set(reel.asked) == {500, 501, 502, 503, 504}


def test_a_part_without_frames_is_refused_in_a_sentence() -> None:
    with pytest.raises(SettingsError, match=r"no frame from 9 s to its end; it is 0\.2 s long"):
        list(played(Reel([0.0, 0.1, 0.2]), from_s=9.0))


def test_each_pass_of_a_loop_is_the_next_sequence_and_time_goes_on() -> None:
    given = list(played(Reel([0.0, 0.1, 0.2]), loop=True, limit=7))
    shots = [shot for _, shot in given if isinstance(shot, Shot)]
    counters = [shot.counter for shot in shots]
    assert counters[:3] == [100, 101, 102]
    assert np.diff(counters).tolist() == [1, 1, 10_001, 1, 1, 10_001]  # more than 10 000 left out: a new sequence
    assert [at for at, _ in given] == pytest.approx([n / 10 for n in range(7)], abs=1e-6)
    assert np.diff([shot.t_ns for shot in shots if shot.t_ns is not None]).tolist() == [NS // 10] * 6


def test_a_sender_that_starts_again_goes_on_in_the_same_pass() -> None:
    first = [shot for _, shot in played(Reel([0.0, 0.1, 0.2]), loop=True, limit=8, speed=0.0)]
    resume = first[4].counter
    assert resume is not None
    again = [shot for _, shot in played(Reel([0.0, 0.1, 0.2]), loop=True, limit=4, speed=0.0, resume=resume)]
    assert [shot.counter for shot in again] == [shot.counter for shot in first[4:]]
    assert list(played(Reel([0.0, 0.1, 0.2]), resume=103)) == []  # all of it was sent


def test_what_cannot_be_read_keeps_its_counter_and_the_others_come() -> None:
    given = [shot for _, shot in played(Reel([0.0, 0.1, 0.2], bad=(1,)), speed=0.0)]
    assert [shot.counter for shot in given] == [100, 101, 102]
    assert isinstance(given[1], Unreadable)
    assert given[1].why == "it is torn"


def test_counters_that_are_missing_stay_missing() -> None:
    given = [shot.counter for _, shot in played(Reel([0, 0.1, 0.5], [7, 8, 12]), speed=0.0)]
    assert given == [7, 8, 12]


def test_frames_are_decoded_ahead_and_the_reel_is_closed() -> None:
    reel = Reel([n / 10 for n in range(100)])
    frames = played(reel, speed=0.0)
    next(frames)
    frames.close()
    assert 1 < len(reel.asked) <= 17
    assert reel.closed


def test_a_stack_has_no_times_of_its_own(tmp_path: Path) -> None:
    images = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)
    tifffile.imwrite(tmp_path / "stack.tif", images, photometric="minisblack")
    replay = Replay(StackReel(tmp_path / "stack.tif"), speed=0.0)
    shots = [shot for shot in replay.frames(welcome()) if isinstance(shot, Shot)]
    assert [shot.t_ns for shot in shots] == [None] * 3  # the receiver knows the rate
    assert np.array_equal(np.stack([shot.image for shot in shots]), images)
    assert replay.kind() == ((4, 5), "uint16")
    del shots
    replay.close()


def test_files_that_we_wrote_know_their_times(tmp_path: Path) -> None:
    for n, t_ns in ((4, 40), (5, 55), (7, 90)):
        about = json.dumps({"time_utc_ns": t_ns})
        tifffile.imwrite(tmp_path / f"f_{n}.tiff", np.full((4, 5), n, np.uint8), description=about, metadata=None)
    reel = open_reel(tmp_path)
    assert isinstance(reel, FolderReel)
    assert reel.times_ns is not None
    assert (reel.counters.tolist(), reel.times_ns.tolist()) == ([4, 5, 7], [40, 55, 90])
    tifffile.imwrite(tmp_path / "f_8.tiff", np.zeros((4, 5), np.uint8))
    assert open_reel(tmp_path).times_ns is None
    (tmp_path / "f_5.tiff").write_bytes(b"II*\0")
    with pytest.raises(UnreadableError):
        open_reel(tmp_path).read(1)
