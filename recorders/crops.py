"""The recorder of crops: around every chosen particle of every frame the pixels of the camera, and nothing else.

It reads two rings. A result says where the particles are, and lies in the place of its frame: the frame is still in the
frame ring, which waits for this reader as for any recorder of frames. Crops are cut when the result comes, so that a
take may reach back (`record start --before`) though the frames of that time are gone. Crops that could not be cut
because the frame was overwritten are counted, and are an event of the run.

A recorder that died is followed by one that begins after the last frame in the files before, in a part of its own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.chosen import Chosen, parse_chosen
from engine.clocks import measure_utc_offset, monotonic_ns
from engine.process import Job, Log
from engine.rows import State
from engine.shm.cursors import Gap, LosslessReader
from engine.shm.ring import OverrunError, Ring
from recorders.crop_file import CropFile, corners, cut
from recorders.crop_parts import last_frame_of
from recorders.hdf5new import stopped_writing
from recorders.inbox import NAME as INBOX
from recorders.loop import COUNTERS, record
from recorders.parts import Position, part_path, part_paths
from recorders.runfolder import RunFolder
from recorders.tables import PAUSED, Table

__all__ = ["COUNTERS", "CropRecorder", "main"]

Cut = tuple[Table, NDArray[Any], tuple[Any, Any]]
"""The rows of a frame's chosen particles, their crops, and where these begin (y, x)."""


class FramePlaces:
    """The places of the frame ring, held until they are said to be done with."""

    def __init__(self, ring: Ring, reader: LosslessReader) -> None:
        self._ring, self._reader = ring, reader
        self._at = -1

    def cut(self, place: int, make: Callable[[NDArray[Any]], Any]) -> Any:
        """What `make` makes of the pixels of a place; None if they were overwritten."""
        while self._at < place:
            found = self._reader.next(0.0)
            if found is None:  # it was read before this process began
                break
            self._at = found.last if isinstance(found, Gap) else found
        try:
            with self._ring.view(place) as entry:
                return make(entry.data)
        except (OverrunError, IndexError):
            return None

    def done(self, place: int) -> None:
        self._reader.done(place)


class CropRecorder:
    """A `recorders.loop.Recorder`, which `arrived` is told of every result beforehand."""

    def __init__(
        self,
        first: Path,
        size: int,
        shape_hw: tuple[int, int],
        dtype: str,
        frames: FramePlaces,
        *,
        chosen: Callable[[int], Chosen],
        is_on: Callable[[int], bool] = lambda version: True,
        lost: Callable[[int, int], None] = lambda frame, count: None,
        level: int = 1,
        utc_offset_ns: int = 0,
        part_bytes: float = 0.0,
        part_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`chosen` and `is_on` say by version of the settings which particles are kept, and whether any are.

        `lost(frame, count)` is told of crops that could not be cut.
        """
        self._first, self._size, self._shape_hw, self._dtype, self._level = first, size, shape_hw, dtype, level
        self._frames, self._chosen, self._is_on, self._lost = frames, chosen, is_on, lost
        self._utc_offset_ns = utc_offset_ns
        self._part_bytes, self._part_s, self._clock = part_bytes, part_s, clock
        self._cuts: dict[int, Cut] = {}  # by frame number, of results that are not handed on yet
        self._newest = -1  # place that has come
        self._unflushed = False
        self._closed_bytes = 0

    def open(self) -> Callable[[int], Position]:
        self._part = max(part_paths(self._first), default=0) + 1
        self._skip = last_frame_of(self._first)  # what a recorder before this one has kept
        self._begin()
        return lambda frame: Position(frame, 0)

    @property
    def bytes(self) -> int:
        return self._closed_bytes + self._file.bytes

    def arrived(self, place: int, meta: np.void, rows: Table) -> None:
        """Cut what may be kept of a frame while its pixels are there."""
        frame, version = int(meta["frame"]), int(meta["settings"])
        if meta["state"] == State.TRACKED and frame > self._skip and len(rows):
            wanted = rows[self._chosen(version)(rows)]
            if len(wanted):
                corner_yx = corners(wanted, self._size, self._shape_hw)
                crops = self._frames.cut(place, lambda pixels: cut(pixels, *corner_yx, self._size))
                if crops is None:
                    self._lost(frame, len(wanted))
                else:
                    self._cuts[frame] = wanted, crops, corner_yx
        self._newest = place
        if not self._is_on(version) and not self._unflushed:  # nothing of it is to be taken again
            self._frames.done(place)

    def frame(self, meta: np.void, rows: Table) -> None:
        self._unflushed = True
        found = self._cuts.pop(int(meta["frame"]), None)
        if found is None or meta["state"] == PAUSED:
            return
        self._file.add(meta, *found, int(meta["t_camera_ns"]) + self._utc_offset_ns)

    def lost(self, losses: Table, ledger: int) -> None:
        """Nothing: the file of the tables says what was lost, a lost frame is a hole in `frame`."""

    def flush(self) -> None:
        self._file.flush()
        self._unflushed = False
        self._frames.done(self._newest)
        over = self._part_bytes and self._file.bytes > self._part_bytes
        if self._file.count and (over or (self._part_s and self._clock() - self._since >= self._part_s)):
            self._closed_bytes = self.bytes
            self._file.close()
            self._part += 1
            self._begin()

    def idle(self) -> None:
        """Nothing: all that there is comes with frames."""

    def close(self) -> None:
        self._file.close()
        self._frames.done(self._newest)

    def _begin(self) -> None:
        self._file = CropFile(part_path(self._first, self._part), self._size, self._dtype, self._level)
        self._since = self._clock()


def main(job: Job) -> int:
    """Record crops until the ring says that the run has ended; the exit status."""
    camera, settings = job.experiment.camera, job.experiment.record

    @lru_cache(64)
    def chosen(version: int) -> Chosen:
        text = job.recording_of(version).crops
        return parse_chosen(settings.crop_particles if text is None else text)

    def lost(frame: int, count: int) -> None:
        job.status.count("frames_lost")
        message = f"{job.name} was too slow: {count} crops of frame {frame} are not in its file"
        job.log("warning", message, frame=frame)
        note = Log(job.run_folder / INBOX, job.name)
        note("warning", message, event="crops lost", t_ns=monotonic_ns(), frames=json.dumps([frame, frame]))

    recorder = CropRecorder(
        RunFolder(job.run_folder).crops, settings.crop_size, camera.shape_hw, camera.dtype,
        FramePlaces(job.frames, LosslessReader(job.frames, job.process.frame_reader)),
        chosen=chosen, is_on=lambda version: job.recording_of(version).on, lost=lost, level=settings.image_level,
        utc_offset_ns=measure_utc_offset().offset_ns, part_bytes=settings.part_gb * 1e9, part_s=settings.part_min * 60,
    )  # fmt: skip
    try:
        # Frames are held until they are flushed: that may take no more than a quarter of their ring.
        record(job, recorder, arrived=recorder.arrived, most_places=max(1, job.frames.slots // 4))
    except OSError as error:
        stopped_writing(job, error)
    return 0
