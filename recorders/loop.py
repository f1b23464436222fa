"""What every recorder of results does: read the ring without losing a place, hand on, flush, say that it is safe.

A recorder is five methods (`Recorder`). The loop gives it every frame once and in order of frame number, and before a
frame the numbers that were lost before it. The reader's cursor moves only after a flush: what a recorder had not
flushed when it died, its successor is given again.

States of a recorder: open -> frames and losses, flushed now and then -> closed at the closing place of the ring.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Protocol

import numpy as np

from engine.accounting import LOSS
from engine.frames import Kind
from engine.process import Job
from engine.shm.cursors import Gap, LosslessReader
from engine.shm.ledger import LedgerOverrunError
from engine.shm.ring import OverrunError, Ring
from recorders.losses import Losses, pieces
from recorders.parts import Position
from recorders.tables import PAUSED, Table
from recorders.takes import Result, Takes

COUNTERS = ("frames_recorded", "frames_paused", "frames_lost", "rows", "bytes", "flushes")
"""Of every recorder: frames that arrived while recording was on, and while it was off; numbers that did not arrive;
rows of particles; bytes of its file."""

BEAT_S = 0.1
AFTER_ALL = 2**63 - 1
LOST_AT_ONCE = 65_536
"""Lost numbers are handed on in pieces of so many: a row each, 27 MB in the HDF5 recorder."""
LAST_CALL_S = 2.0
"""Told to leave without a closing place, a recorder takes what is in the ring, for so long; it has 3 s in all."""
ORPHANS_CALL_S = 5.0
"""The same where the supervisor is dead. 1000 frames of 1000 particles took 0.7 s (HDF5); a ring keeps 10 s of them.
With what follows it has `engine.plan.RECORDER_GRACE_S` in all."""


class Recorder(Protocol):
    """Something that keeps results. Errors it raises end its process; its file stays as `flush` left it."""

    @property
    def bytes(self) -> int:
        """Size of its file."""

    def open(self) -> Callable[[int], Position]:
        """Make the file. Returns: given the first frame number that comes, how far earlier recorders had come."""

    def frame(self, meta: np.void, rows: Table) -> None:
        """Take a frame: its RESULT_META record and its rows, both the recorder's own."""

    def lost(self, losses: Table, ledger: int) -> None:
        """Take losses (LOSS records) before the next frame; `ledger`: records noticed in the run until then."""

    def flush(self) -> None:
        """Make all that was taken safe from the death of this process."""

    def idle(self) -> None:
        """No frame came for the time between two flushes: make safe what does not wait for frames (events)."""

    def close(self) -> None:
        """The run has ended: flush, finish the file, close it."""


Arrived = Callable[[int, np.void, Table], None]
"""Told of every result as it comes (place, record, rows), before it is known whether it is recorded."""


def record(
    job: Job,
    recorder: Recorder,
    clock: Callable[[], float] = time.monotonic,
    *,
    arrived: Arrived | None = None,
    most_places: int = 0,
) -> None:
    """Run a recorder to the end of the run. Raises what the recorder raises.

    `most_places`: it is flushed after so many at the latest (0: a quarter of the ring).
    """
    _Loop(job, recorder, clock, arrived, most_places).run()


class _Loop:
    def __init__(
        self, job: Job, recorder: Recorder, clock: Callable[[], float], arrived: Arrived | None, most_places: int
    ) -> None:
        self._job = job
        self._recorder = recorder
        self._clock = clock
        self._arrived = arrived
        # A reader that does not move for hold_s is let go: three flushes fit in.
        settings = job.experiment
        self._flush_s = min(settings.record.flush_s, settings.ring.hold_s / 3)
        self._most_places = most_places or max(1, job.results.slots // 4)
        self._takes = Takes(job.recording_of, settings.record.before_s, job.results.slots // 2)
        self._losses: Losses | None = None
        self._missed = 0  # places overrun since the last frame
        self._last = -1  # the newest place that was handed on
        self._told_at: float | None = None  # to leave
        self._counts = dict.fromkeys(COUNTERS, 0)  # since the last flush
        self._bytes = 0

    def run(self) -> None:
        job = self._job
        earlier = self._recorder.open()
        reader = job.result_reader()
        job.status.ready()
        next_flush = self._clock() + self._flush_s
        while True:
            job.status.beat()
            leaving = self._is_leaving()
            # Leaving, a whole beat: whoever tracks is told at the same time, and may be about to publish.
            place = reader.next(BEAT_S if leaving else max(0.0, min(BEAT_S, next_flush - self._clock())))
            ledger = self._take_in(reader, earlier, place)
            if ledger is not None:
                self._finish(reader, earlier, ledger)
                return
            if leaving and (place is None or self._is_late()):
                # Told to leave without a closing place: whoever would write it is dead.
                self._finish(reader, earlier, job.ledger.count)
                self._say_what_is_left(reader.last)
                return
            taken = self._counts["frames_recorded"] + self._counts["frames_paused"]
            if self._clock() >= next_flush or taken >= self._most_places:
                if taken:
                    self._recorder.flush()
                    self._flushed()
                    reader.done(self._last)
                else:
                    self._recorder.idle()
                next_flush = self._clock() + self._flush_s

    def _take_in(
        self, reader: LosslessReader, earlier: Callable[[int], Position], place: int | Gap | None
    ) -> int | None:
        """Take what the reader gave. The closing place is not taken: how much of the ledger belongs to the run."""
        copied = None
        if isinstance(place, int):
            copied = self._copy(place)
            place = reader.overrun(place) if copied is None else place
        if isinstance(place, Gap):
            self._take(earlier, self._takes.rest())
            self._overrun(place)
        elif place is not None and copied is not None:
            meta, rows = copied
            if meta["kind"] == Kind.CLOSING:
                return int(meta["ledger"])
            if self._arrived is not None:
                self._arrived(place, meta, rows)
            self._take(earlier, self._takes.push(Result(place, meta, rows)))
        return None

    def _finish(self, reader: LosslessReader, earlier: Callable[[int], Position], ledger: int) -> None:
        """Finish the file. The cursor stays before the closing place: killed now, the next one meets it again."""
        self._take(earlier, self._takes.rest())
        self._end(earlier, ledger)
        reader.done(self._last)

    def _is_leaving(self) -> bool:
        if self._told_at is None and self._job.stopping:
            self._told_at = self._clock()
        return self._told_at is not None

    def _is_late(self) -> bool:
        assert self._told_at is not None
        return self._clock() - self._told_at > (ORPHANS_CALL_S if self._job.orphaned else LAST_CALL_S)

    def _say_what_is_left(self, read: int) -> None:
        """Frames that came and are not in the file, though nobody lost them."""
        job = self._job
        tracked, came = _last_frame_of(job.results), _last_frame_of(job.frames)
        said = [
            f"{count} {what}"
            for count, what in (
                (tracked - read, "results that time was too short for"),
                (came - max(tracked, read), "frames that were not tracked any more"),
            )
            if count > 0
        ]
        if said:
            message = f"{job.name} was told to leave before the run had ended; not in its file are {' and '.join(said)}"
            job.log("warning", message, first=read + 1, last=max(tracked, came))

    def _copy(self, place: int) -> tuple[np.void, Table] | None:
        """Record and rows of a place, our own; None if it was overwritten meanwhile."""
        try:
            with self._job.results.view(place) as entry:
                return entry.meta.copy(), entry.data[: int(entry.meta["rows"])].copy()
        except OverrunError:
            return None

    def _take(self, earlier: Callable[[int], Position], results: Iterator[Result]) -> None:
        for place, meta, rows in results:
            self._frame(earlier, meta, rows)
            if meta["state"] != PAUSED:
                self._job.status.observe_ns(time.monotonic_ns() - int(meta["t_published_ns"]))
            self._last = place

    def _frame(self, earlier: Callable[[int], Position], meta: np.void, rows: Table) -> None:
        frame, sequence, ledger = int(meta["frame"]), int(meta["sequence"]), int(meta["ledger"])
        if self._losses is None:
            self._losses = Losses(earlier(frame))
        if frame != self._losses.next_frame or self._missed:
            records = self._ledger_up_to(ledger)
            lost, unexplained = self._losses.before(frame, sequence, records, self._missed, time.monotonic_ns())
            self._hand_on(lost, ledger)
            for hole in unexplained:
                self._job.log(
                    "error",
                    f"{self._job.name}: frames {hole.first} to {hole.last} are missing and nobody said why",
                    first=hole.first,
                    last=hole.last,
                )
        else:
            self._losses.next_frame = frame + 1
        self._losses.ledger, self._missed = ledger, 0
        self._recorder.frame(meta, rows)
        self._counts["frames_paused" if meta["state"] == PAUSED else "frames_recorded"] += 1
        self._counts["rows"] += len(rows)

    def _end(self, earlier: Callable[[int], Position], ledger: int) -> None:
        if self._losses is None:
            self._losses = Losses(earlier(AFTER_ALL))
        records = self._ledger_up_to(ledger)
        self._hand_on(self._losses.at_end(records, self._missed, time.monotonic_ns()), ledger)
        self._recorder.close()
        self._flushed()

    def _hand_on(self, losses: Table, ledger: int) -> None:
        for piece in pieces(losses, LOST_AT_ONCE):
            self._recorder.lost(piece, ledger)
            self._counts["frames_lost"] += int((piece["last"] - piece["first"] + 1).sum())
            self._job.status.beat()

    def _overrun(self, gap: Gap) -> None:
        self._missed += gap.count
        self._job.log(
            "warning",
            f"{self._job.name} was too slow: {gap.count} places of the ring were overrun; they are listed as lost",
            first=gap.first,
            last=gap.last,
        )

    def _ledger_up_to(self, ledger: int) -> Table:
        assert self._losses is not None
        try:
            return self._job.ledger.read(self._losses.ledger, ledger)
        except LedgerOverrunError as error:
            self._job.log("error", f"{self._job.name}: the list of losses came round before it was read: {error}")
            return np.zeros(0, LOSS)

    def _flushed(self) -> None:
        """What was counted since the last flush is safe now: only then is it counted for all to see."""
        size = self._recorder.bytes
        self._counts["bytes"], self._bytes = size - self._bytes, size
        self._counts["flushes"] = 1
        for name, count in self._counts.items():
            self._job.status.count(name, count)
            self._counts[name] = 0


def _last_frame_of(ring: Ring) -> int:
    """The newest place of a ring that is a frame's; -1 if there is none."""
    newest = ring.newest
    if newest >= 0:
        with suppress(OverrunError), ring.view(newest) as entry:
            newest -= int(entry.meta["kind"] == Kind.CLOSING)
    return newest
