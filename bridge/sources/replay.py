"""Replay: recorded frames again, as if the camera were running, at their own times or at another speed.

A *reel* is what is played: frames with counters and, where they are known, times. A *pass* is one way through the
selected part of it; with `loop` there is another one after it, as the next sequence (linking starts afresh). Frames are
read and decoded ahead, in threads. Counters of all passes differ, so a sender that starts again goes on where the last
one was.

Whatever the speed, frames say the times at which they were taken, so velocities are those of the recording. A replay
is a finite source: it is held back where tracking is behind, and nothing of it is ever dropped.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from bridge.intake import HOLE
from bridge.pictures import Pixels
from bridge.sources.base import Shot, Unreadable
from bridge.wire import Answer
from engine.clocks import NS, monotonic_ns
from engine.errors import SettingsError
from engine.frames import TimeSource

AHEAD_FRAMES = 16
AHEAD_BYTES = 256 << 20
TICK_S = 0.1


class Still(msgspec.Struct, frozen=True, kw_only=True):
    """One frame of a reel."""

    image: Pixels
    file_name: str = ""
    time_source: TimeSource = TimeSource.HEADER
    t_error_ns: int = 0
    extra: dict[str, Any] | None = None
    header: dict[str, Any] = {}


class Reel(Protocol):
    """What is played."""

    name: str
    counters: NDArray[np.int64]  # of each frame, growing
    times_ns: NDArray[np.int64] | None  # camera times on any clock; None: frame n was taken at n / fps
    threads: int  # that may call `read` at the same time

    def read(self, index: int) -> Still:
        """Decode one frame. Raises `UnreadableError` if that cannot be done."""
        ...

    def close(self) -> None:
        """Let go of files."""
        ...


class UnreadableError(Exception):
    """A frame of a reel cannot be read: what, and why."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")
        self.what, self.why = what, why


class Replay:
    """See the module: a `bridge.sources.Source`. Clock and sleep are injected by tests."""

    live = False
    waits = True

    def __init__(
        self,
        reel: Reel,
        *,
        speed: float = 1.0,
        from_s: float = 0.0,
        to_s: float | None = None,
        loop: bool = False,
        fps: float = 0.0,
        start_ns: int | None = None,
        clock: Callable[[], int] = monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`speed`: 0.5 is half as fast as it was, 0 as fast as it is taken. `from_s`, `to_s`: the part that is played,
        in seconds after the first frame. `fps`: of a reel without times (0: what the run says). `start_ns`: the first
        frame's time, on our clock (None: when it is played).

        Raises SettingsError if `reel` is empty.
        """
        if not len(reel.counters):
            raise SettingsError(f"source: {reel.name} holds no frames")
        part = f", {from_s:g} s to {'its end' if to_s is None else f'{to_s:g} s'}" if from_s or to_s is not None else ""
        self.name = f"{reel.name}{part}{', again and again' if loop else ''}"[-200:]
        self._reel = reel
        self._speed, self._from_s, self._to_s, self._loop, self._fps = speed, from_s, to_s, loop, fps
        self._start_ns = start_ns
        self._clock, self._sleep = clock, sleep
        self._pool: ThreadPoolExecutor | None = None

    def kind(self) -> tuple[tuple[int, int], str] | None:
        try:
            image = self._reel.read(0).image
        except UnreadableError:
            return None
        return image.shape, image.dtype.name

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
        self._reel.close()

    def frames(self, welcome: Answer) -> Iterator[Shot | Unreadable | None]:
        reel = self._reel
        times = self._times(self._fps or welcome.fps or 1.0)
        first, end = self._part(times)
        span = int(reel.counters[end - 1] - reel.counters[first]) + 1
        lasts_ns = int(times[end - 1] - times[first]) + _interval(times[first:end])
        began_at: tuple[int, int] | None = None  # our clock, and the time played at it
        start_ns = self._start_ns
        for turn, index, still in self._ahead(self._order(first, end, span, welcome.resume)):
            counter = int(reel.counters[index]) + turn * (span + HOLE)
            played_ns = int(times[index] - times[first]) + turn * lasts_ns
            if self._speed:
                if began_at is None:
                    began_at = (self._clock(), played_ns)
                due = began_at[0] + round((played_ns - began_at[1]) / self._speed)
                while (left := due - self._clock()) > 0:
                    yield None
                    self._sleep(min(TICK_S, left / NS))
            if isinstance(still, UnreadableError):
                yield Unreadable(counter=counter, what=still.what, why=still.why)
                continue
            if start_ns is None:
                start_ns = self._clock() - played_ns
            yield Shot(
                image=still.image, counter=counter, t_ns=None if reel.times_ns is None else start_ns + played_ns,
                t_error_ns=still.t_error_ns, time_source=still.time_source, file_name=still.file_name, copy=False,
                extra=still.extra, header=still.header,
            )  # fmt: skip

    def _times(self, fps: float) -> NDArray[np.int64]:
        if self._reel.times_ns is not None:
            return self._reel.times_ns
        steps = self._reel.counters - self._reel.counters[0]
        times: NDArray[np.int64] = np.rint(steps * (NS / fps)).astype(np.int64)
        return times

    def _part(self, times: NDArray[np.int64]) -> tuple[int, int]:
        """First index, and the one after the last. Raises SettingsError if nothing lies between."""
        after_s = (times - times[0]) / NS
        first = int(np.searchsorted(after_s, self._from_s - 1e-9))
        end = len(times) if self._to_s is None else int(np.searchsorted(after_s, self._to_s - 1e-9))
        if first >= end:
            raise SettingsError(
                f"source: {self._reel.name} has no frame from {self._from_s:g} s "
                f"to {'its end' if self._to_s is None else f'{self._to_s:g} s'}; it is {after_s[-1]:.3g} s long"
            )
        return first, end

    def _order(self, first: int, end: int, span: int, resume: int) -> Iterator[tuple[int, int]]:
        """(pass, index) of what is still to be played; `resume`: the counter that is wanted next."""
        counters = self._reel.counters
        turn, index = 0, first
        if resume > counters[first]:
            turn, rest = divmod(resume - int(counters[first]), span + HOLE)
            index = int(np.searchsorted(counters[:end], counters[first] + rest))
        while turn == 0 or self._loop:
            yield from ((turn, i) for i in range(index, end))
            turn, index = turn + 1, first

    def _ahead(self, order: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int, Still | UnreadableError]]:
        """Frames in order, read before they are asked for."""
        self._pool = ThreadPoolExecutor(self._reel.threads, "replay")
        waiting: deque[tuple[int, int, Future[Still]]] = deque()
        ahead = AHEAD_FRAMES
        while True:
            while len(waiting) < ahead and (following := next(order, None)) is not None:
                waiting.append((*following, self._pool.submit(self._reel.read, following[1])))
            if not waiting:
                return
            turn, index, coming = waiting.popleft()
            try:
                still = coming.result()
            except UnreadableError as error:
                yield turn, index, error
                continue
            ahead = max(1, min(AHEAD_FRAMES, AHEAD_BYTES // still.image.nbytes))
            yield turn, index, still


def _interval(times: NDArray[np.int64]) -> int:
    """The usual distance of two frames: so long after its last frame the next pass begins."""
    return int(np.median(np.diff(times))) if len(times) > 1 else NS
