"""What recorders of camera frames share, over a ring that is a list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.experiment import Camera, Experiment, Record
from engine.frames import FRAME_META
from engine.live import Recording
from engine.shm.cursors import Gap
from recorders.frame_loop import LAST_CALL_S, record_frames
from recorders.missed import pictures_of


class Frames:
    """A ring of frames that have all come; nobody writes a closing place."""

    slots = 100

    def __init__(self, count: int) -> None:
        self.newest = count - 1
        self.done_with = -1

    @contextmanager
    def view(self, place: int) -> Iterator[SimpleNamespace]:
        meta = np.zeros(1, FRAME_META)[0]
        meta["frame"] = place
        meta["settings"] = 1
        yield SimpleNamespace(meta=meta, data=np.zeros((4, 8), np.uint16))


class Reader:
    """Every place in order."""

    def __init__(self, frames: Frames, _: int) -> None:
        self._frames, self._next = frames, 0

    def next(self, timeout_s: float) -> int | None:
        if self._next > self._frames.newest:
            return None
        self._next += 1
        return self._next - 1

    @property
    def last(self) -> int:
        return self._next - 1

    def done(self, place: int) -> None:
        self._frames.done_with = place


class SlowReader(Reader):
    """One that is too slow for places 3 to 6 and 7."""

    def next(self, timeout_s: float) -> Any:
        for first, last in ((3, 6), (7, 7)):
            if self._next == first:
                self._next = last + 1
                return Gap(first, last)
        return super().next(timeout_s)


class Sink:
    def __init__(self) -> None:
        self.written: list[int] = []

    def encode(self, meta: np.void, pixels: Any) -> bytes:
        return b"abc"

    def write(self, meta: np.void, encoded: bytes) -> int:
        self.written.append(int(meta["frame"]))
        return len(encoded)

    def flush(self) -> None: ...

    def close(self) -> None: ...


def told_to_leave(
    folder: Path, monkeypatch: pytest.MonkeyPatch, came: int, step_s: float, reader: type[Reader] = Reader
) -> tuple[Sink, Frames, list[str], Counter[str]]:
    """A recorder whose supervisor is dead; its clock goes on by `step_s` at every look."""
    monkeypatch.setattr("recorders.frame_loop.LosslessReader", reader)
    logged: list[str] = []
    counts: Counter[str] = Counter()
    frames = Frames(came)
    job: Any = SimpleNamespace(
        name="images", frames=frames, run_folder=folder, stopping=True, process=SimpleNamespace(frame_reader=0),
        experiment=Experiment(camera=Camera(width=8, height=4), record=Record(image_region="1:3, 2:6")),
        status=SimpleNamespace(ready=lambda: None, beat=lambda: None, count=lambda name, n: counts.update({name: n})),
        recording_of=lambda version: Recording(), log=lambda level, message, **fields: logged.append(message),
    )  # fmt: skip
    now = [0.0]

    def clock() -> float:
        now[0] += step_s
        return now[0]

    sink = Sink()
    record_frames(job, sink, 1, clock=clock)
    return sink, frames, logged, counts


def test_what_a_recorder_had_no_time_for_is_said_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink, frames, logged, _ = told_to_leave(tmp_path, monkeypatch, 90, LAST_CALL_S / 20)
    taken = len(sink.written)
    assert 0 < taken < 90
    assert sink.written == list(range(taken))
    assert frames.done_with == taken - 1
    assert logged == [
        f"images had to leave: {90 - taken} frames after number {taken - 1} had come and are not in its files"
    ]


def test_one_that_has_taken_all_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink, _, logged, counts = told_to_leave(tmp_path, monkeypatch, 5, 1e-6)
    assert sink.written == list(range(5))
    assert logged == []
    assert counts["bytes"] == 15
    assert counts["raw_bytes"] == 5 * 2 * 2 * 4  # of the region that is kept


def test_pictures_that_a_recorder_was_too_slow_for_are_counted_once_and_a_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink, _, logged, counts = told_to_leave(tmp_path, monkeypatch, 10, 1e-6, SlowReader)
    assert sink.written == [0, 1, 2, 8, 9]
    assert len(logged) == 2
    assert all("are not in its files; try a faster disk, record.image_every" in message for message in logged)
    in_file = (tmp_path / "events.jsonl").read_text().splitlines()
    kept = {"images": counts["frames_recorded"], "tiff": 10}
    found = pictures_of(kept, tmp_path, 1, in_file)  # the file of the tables has the same events
    assert [(p.recorder, p.kept, p.lost) for p in found] == [("images", 5, 5), ("tiff", 10, 0)]
    assert pictures_of({}, tmp_path / "no inbox", 2, in_file[:1])[0].words() == (
        "0 of about 2 pictures, about 2 lost (too slow)"
    )
    overlapping = [line.replace("[3, 6]", "[5, 8]") for line in in_file]  # a recorder that was started again
    assert pictures_of({}, tmp_path, 1, [*overlapping, "{torn", "{}"])[0].lost == 6
