"""What the log says of frames that are dropped because the ring is full: when it begins, and how many when it is over.

Each frame is in the ledger by number; at hundreds a second the log is for the stretches.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.clocks import NS

QUIET_NS = NS
"""A stretch is over when nothing was dropped for so long: so there is at most one line of each kind a second."""


class Drops:
    """Told of each frame that is dropped; to be looked after now and then, and closed."""

    def __init__(self, log: Callable[[str, str], None], clock: Callable[[], int]) -> None:
        """`clock`: nanoseconds."""
        self._log = log
        self._clock = clock
        self._count = 0
        self._first = self._last = -1  # frame numbers
        self._last_ns = 0

    def dropped(self, frame: int) -> None:
        """The frame of this number found no room."""
        self.look()
        if self._count == 0:
            self._first = frame
            self._log("warning", f"the ring is full, tracking is behind: frames are lost from number {frame} on")
        self._count += 1
        self._last, self._last_ns = frame, self._clock()

    def look(self) -> None:
        """Say that a stretch is over, if it is."""
        if self._count and self._clock() - self._last_ns >= QUIET_NS:
            self.close()

    def close(self) -> None:
        """Say how many the last stretch cost, if that was not said."""
        if self._count:
            among = f"of numbers {self._first} to {self._last}"
            self._log("warning", f"the ring was full: frames lost: {self._count}, {among}")
        self._count = 0
