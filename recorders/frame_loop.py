"""What every recorder of camera frames does: read the frame ring, encode in threads, write in order, say what is safe.

    ring ─► threads: encode(meta, pixels) ─► in order of place: write(encoded) ─► flush ─► the ring may reuse the slots

A slot is held from the moment a frame is published until its frame is safe on the disk, so that a recorder that was
killed is given again what it had not flushed. Encoding reads the pixels where they lie. What a recorder was too slow
for (`ring.hold_s`) is not written; it is an event of the run, by number.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.clocks import monotonic_ns
from engine.frames import Kind
from engine.process import Job, Log
from engine.regions import part_of_frame
from engine.shm.cursors import Gap, LosslessReader
from engine.shm.ring import OverrunError
from recorders.inbox import NAME as INBOX
from recorders.missed import EVENT

COUNTERS = ("frames_recorded", "frames_lost", "bytes", "raw_bytes", "flushes")
"""Of every recorder of frames: those it wrote, places it did not get, bytes on the disk, bytes of the pixels kept."""

BEAT_S = 0.1
AHEAD = 2
"""Frames for each thread that are encoded or wait to be written."""
LAST_CALL_S = 0.8
"""Told to leave, a recorder takes what is in the ring for so long; a process without supervisor has 1.5 s in all."""


_REMEDY = "try a faster disk, record.image_every, record.image_region, record.image_threads, {}"
REMEDY = {
    "images": _REMEDY.format("a lower record.image_level"),
    "tiff": _REMEDY.format("another record.tiff_compression"),
}
"""What the recorder that is too slow for its frames may be helped by."""


class FrameSink(Protocol):
    """Where frames go. Errors that it raises end its process; what `flush` returned from is safe."""

    def encode(self, meta: np.void, pixels: NDArray[Any]) -> Any:
        """Make of a frame what is written (in a thread; `pixels` are good until it returns)."""

    def write(self, meta: np.void, encoded: Any) -> int:
        """Write what `encode` made, in the order of the frames; bytes."""

    def flush(self) -> None:
        """Make all that was written safe from the death of this process."""

    def close(self) -> None:
        """The run has ended."""


def threads_for(wanted: int, cores: int) -> int:
    """How many threads encode: as asked, else a quarter of the cores, at least one and at most eight."""
    return wanted or max(1, min(8, cores // 4))


def record_frames(
    job: Job, sink: FrameSink, threads: int, every: int = 1, clock: Callable[[], float] = time.monotonic
) -> None:
    """Run a recorder of frames to the end of the run; every n-th frame number is written."""
    _FrameLoop(job, sink, threads, every, clock).run()


class _FrameLoop:
    def __init__(self, job: Job, sink: FrameSink, threads: int, every: int, clock: Callable[[], float]) -> None:
        self._job = job
        self._sink = sink
        self._every = every
        self._clock = clock
        self._threads = threads
        self._reader = LosslessReader(job.frames, job.process.frame_reader)
        settings = job.experiment
        ring_s = job.frames.slots / settings.camera.fps
        camera = settings.camera
        y0, y1, x0, x1 = part_of_frame(settings.record.image_region, camera.shape_hw)
        pixels = (y1 - y0) * (x1 - x0)
        self._raw_bytes = camera.frame_bytes * pixels // (camera.height * camera.width)  # of what is kept of a frame
        # Slots are held until they are flushed: that may take no more than a quarter of the ring.
        self._flush_s = min(settings.record.flush_s, settings.ring.hold_s / 3, ring_s / 4)
        self._most = max(1, job.frames.slots // 4)
        self._waiting: deque[tuple[int, Future[tuple[np.void, Any] | None]]] = deque()
        self._written = -1  # newest place
        self._given_back = -1  # the newest place that the ring may reuse
        self._last_frame = -1
        self._unflushed = 0
        self._count = dict.fromkeys(COUNTERS, 0)

    def run(self) -> None:
        job = self._job
        with ThreadPoolExecutor(self._threads, "encode") as pool:
            job.status.ready()
            next_flush, last_call = self._clock() + self._flush_s, float("inf")
            while True:
                job.status.beat()
                if job.stopping and last_call == float("inf"):
                    last_call = self._clock() + LAST_CALL_S
                room = len(self._waiting) < AHEAD * self._threads
                wait_s = 0.0 if self._waiting else max(0.0, min(BEAT_S, next_flush - self._clock()))
                place = self._reader.next(wait_s) if room else None
                if isinstance(place, Gap):
                    self._lost(place)
                elif place is not None:
                    meta = self._meta(place)
                    if meta is not None and int(meta["kind"]) == Kind.CLOSING:
                        break
                    for earlier in self._reached_back(place, meta):
                        self._waiting.append((earlier, pool.submit(self._encode, earlier, True)))
                    self._waiting.append((place, pool.submit(self._encode, place, self._is_on(meta))))
                self._write(wait=not room or (place is None and bool(self._waiting)))
                empty = room and place is None and not self._waiting
                if (job.stopping and empty) or self._clock() > last_call:
                    break
                if self._clock() >= next_flush or self._unflushed >= self._most:
                    self._flush()
                    next_flush = self._clock() + self._flush_s
            while self._waiting:
                job.status.beat()
                self._write(wait=True)
            self._flush()
            self._sink.close()
            self._say_what_is_left()

    def _meta(self, place: int) -> np.void | None:
        """The record of a place; None if it was overwritten meanwhile."""
        try:
            with self._job.frames.view(place) as entry:
                meta: np.void = entry.meta.copy()
                return meta
        except (OverrunError, IndexError):
            return None

    def _is_on(self, meta: np.void | None) -> bool:
        return meta is None or self._job.recording_of(int(meta["settings"])).on

    def _reached_back(self, place: int, meta: np.void | None) -> list[int]:
        """Places before this one, the first of a take, that are of the take too and still in the ring."""
        if meta is None or not self._is_on(meta):
            return []
        before_s = self._job.recording_of(int(meta["settings"])).before_s
        begin_ns = int(meta["t_received_ns"]) - round(1e9 * before_s)
        found: list[int] = []
        while before_s and place > 0:
            place -= 1
            earlier = self._meta(place)
            if earlier is None or self._is_on(earlier) or int(earlier["t_received_ns"]) < begin_ns:
                break
            found.append(place)
        return found[::-1]

    def _encode(self, place: int, on: bool) -> tuple[np.void, Any] | None:
        """In a thread: the frame's record and what is to be written of it; None if it was overwritten meanwhile."""
        try:
            with self._job.frames.view(place) as entry:
                meta = entry.meta.copy()
                if not on or int(meta["frame"]) % self._every:
                    return meta, None
                return meta, self._sink.encode(meta, entry.data)
        except OverrunError:
            return None

    def _write(self, wait: bool) -> None:
        """Write what is encoded, in order; wait for the first if asked to, a tenth of a second at most."""
        while self._waiting:
            place, future = self._waiting[0]
            if not future.done():
                if not wait:
                    return
                try:
                    future.exception(BEAT_S)
                except TimeoutError:
                    return
            wait = False
            self._waiting.popleft()
            done = future.result()
            if done is None:
                if place > self._given_back:  # else it was no longer kept for us
                    self._lost(self._reader.overrun(place))
                continue
            meta, encoded = done
            if encoded is not None:
                self._count["bytes"] += self._sink.write(meta, encoded)
                self._count["raw_bytes"] += self._raw_bytes
                self._count["frames_recorded"] += 1
            self._unflushed += 1
            self._written, self._last_frame = place, int(meta["frame"])

    def _flush(self) -> None:
        if self._unflushed:
            self._sink.flush()
            self._given_back = max(self._given_back, self._written)
            self._reader.done(self._given_back)
            self._unflushed = 0
            self._count["flushes"] += 1
        for name, count in self._count.items():
            if count:
                self._job.status.count(name, count)
                self._count[name] = 0

    def _say_what_is_left(self) -> None:
        """Frames that came and were not taken: whoever would have closed the ring is dead, and time was short."""
        read = self._reader.last
        left = self._job.frames.newest - read
        if left > 0:
            self._job.log(
                "warning",
                f"{self._job.name} had to leave: {left} frames after number {self._last_frame} had come and are not in "
                "its files",
                first=read + 1,
                last=read + left,
            )

    def _lost(self, gap: Gap) -> None:
        self._count["frames_lost"] += gap.count
        name = self._job.name
        message = f"{name} was too slow: {gap.count} frames after number {self._last_frame} are not in its files"
        message += f"; {REMEDY[name]}"
        self._job.log("warning", message, first=gap.first, last=gap.last)
        note = Log(self._job.run_folder / INBOX, name)
        note("warning", message, event=EVENT, t_ns=monotonic_ns(), places=json.dumps([gap.first, gap.last]))
