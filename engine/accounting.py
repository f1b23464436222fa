"""Frame accounting: where every frame number ended.

For each step, `in = out + lost + in flight`. A loss is a record in a ledger: a range of frame numbers, the step at
which it was lost and the cause. There is no cause "unknown": code that loses a frame knows why.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

import msgspec
import numpy as np


class Step(IntEnum):
    """Where a frame can be lost, in the order in which it travels."""

    CAMERA = 0
    SENDER = 1
    RECEIVER = 2
    TRACKER = 3
    LINKER = 4
    RECORDER = 5


class Cause(IntEnum):
    """Why a frame was lost."""

    CAMERA_SKIPPED = 0  # the camera's own counter jumped
    SENDER_BUFFER_FULL = 1  # no answer in time, and no room to keep more
    SENDER_RESTARTED = 2  # between two starts of a sender
    SENDER_STOPPED = 3  # given up when the sender was told to stop
    FILE_UNREADABLE = 4  # no TIFF, or never finished
    RING_FULL = 5  # live source, trackers behind: dropped at the receiver
    REFUSED = 6  # wrong shape, type or byte count
    FAILED_TWICE = 7  # a unit of its tracking failed at two attempts
    OVERRUN = 8  # a consumer was let go and the ring went on without it
    PART_STAYED_DEAD = 9  # a process could not be brought back
    STOPPED_BY_FORCE = 10  # the run was told to end at once: what was on its way is not in the file


CAUSE_WORDS = {
    Cause.CAMERA_SKIPPED: "skipped by the camera",
    Cause.SENDER_BUFFER_FULL: "sender's buffer full",
    Cause.SENDER_RESTARTED: "sender restarted",
    Cause.SENDER_STOPPED: "sender stopped",
    Cause.FILE_UNREADABLE: "file unreadable",
    Cause.RING_FULL: "ring full",
    Cause.REFUSED: "refused",
    Cause.FAILED_TWICE: "tracking failed twice",
    Cause.OVERRUN: "overrun",
    Cause.PART_STAYED_DEAD: "part stayed dead",
    Cause.STOPPED_BY_FORCE: "stopped by force",
}

LOSS = np.dtype(
    [
        ("first", "<i8"),  # frame numbers, both ends included
        ("last", "<i8"),
        ("sequence", "<i8"),
        ("t_ns", "<i8"),  # when it was noticed, CLOCK_MONOTONIC
        ("step", "<i4"),  # Step
        ("cause", "<i4"),  # Cause
    ]
)


class LostRange(msgspec.Struct, frozen=True):
    """Frame numbers lost at one step for one reason, both ends included, in the words of reports."""

    first: int
    last: int
    step: str
    cause: str


class Pictures(msgspec.Struct, frozen=True):
    """Camera frames in the files of one recorder of frames, and those that it was too slow for."""

    recorder: str
    kept: int
    lost: int  # with `record.image_every` an estimate: of the frames it did not get, one in so many
    every: int

    def words(self) -> str:
        """Without the recorder's name, for reports."""
        if not self.lost:
            return f"{self.kept} pictures"
        about = "about " if self.every > 1 else ""
        return f"{self.kept} of {about}{self.kept + self.lost} pictures, {about}{self.lost} lost (too slow)"


def merged(ranges: Iterable[LostRange]) -> list[LostRange]:
    """Neighbours of one step and cause put together; `ranges` and the answer are in the order of frames."""
    found: list[LostRange] = []
    for loss in ranges:
        before = found[-1] if found else None
        if before and (before.step, before.cause, before.last + 1) == (loss.step, loss.cause, loss.first):
            found[-1] = LostRange(before.first, loss.last, loss.step, loss.cause)
        else:
            found.append(loss)
    return found
