"""Frames out of the ring into one BigTIFF: those that are there now, or the next ones; by the control server.

It is a live reader: frames that the ring gives up before they are written are left out, and the file's description says
which numbers it holds. Nothing waits for it.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from engine.errors import MachineError
from engine.rings import Rings
from engine.shm.ring import OverrunError

PATIENCE_S = 10.0
LOOK_EVERY = 16  # frames between two looks at the disk


class StackWriter:
    """Writes one stack; `start` returns at once."""

    def __init__(self, rings: Rings, path: Path, count: int) -> None:
        """`count` frames from now on; 0: those that are in the ring. Raises MachineError if there is no room for them.

        What recording keeps free (record.min_free_gb) is not touched.
        """
        self._frames = rings.frames
        self._min_free = rings.plan.experiment.record.min_free_gb * 1e9
        self._pixel_um = rings.plan.experiment.camera.pixel_um
        self.path = path
        newest = rings.frames.newest
        if count:
            self._places = range(newest + 1, newest + 1 + count)
        else:
            self._places = range(max(0, newest + 1 - rings.frames.slots), newest + 1)
        self.written: list[int] = []
        self.error = ""
        camera = rings.plan.experiment.camera
        wanted = len(self._places) * camera.height * camera.width * np.dtype(camera.dtype).itemsize
        if (free := shutil.disk_usage(path.parent).free) - wanted < self._min_free:
            raise MachineError(
                f"no room for {len(self._places)} frames: {free / 1e9:.1f} GB are free, they take {wanted / 1e9:.1f}, "
                f"record.min_free_gb keeps {self._min_free / 1e9:g}. Ask for fewer, or make room"
            )
        self._stop, self._done = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="stack-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def done(self) -> bool:
        return self._done.is_set() or not self._thread.is_alive()

    @property
    def said(self) -> str:
        """What became of it, for the log."""
        wanted = len(self._places)
        gone = f" of {wanted}: the others were gone from the ring, or never came" if len(self.written) < wanted else ""
        return f"{self.path.name} has {len(self.written)} frames{gone}"

    def stop(self) -> None:
        """Close the file with what it has."""
        self._stop.set()
        self._thread.join(PATIENCE_S)

    def _run(self) -> None:
        part = self.path.with_suffix(".part")
        try:
            with tifffile.TiffWriter(part, bigtiff=True) as file:
                for place in self._places:
                    found = self._copy(place)
                    if found is None:
                        continue
                    pixels, meta = found
                    said = {"frame": int(meta["frame"]), "t_camera_ns": int(meta["t_camera_ns"])}
                    resolution = (1e4 / self._pixel_um,) * 2 if self._pixel_um else None
                    file.write(
                        pixels, photometric="minisblack", contiguous=False, description=json.dumps(said),
                        resolution=resolution, resolutionunit="CENTIMETER" if resolution else None, metadata=None,
                    )  # fmt: skip
                    self.written.append(int(meta["frame"]))
                    if len(self.written) % LOOK_EVERY == 0 and self._full():
                        self.error = f"ended after {len(self.written)} frames: the disk is nearly full"
                        break
                    if self._stop.is_set():
                        break
            self._done.set()  # before the name is seen: who sees it may ask for another
            if self.written:
                part.rename(self.path)
            else:
                part.unlink()
        except Exception as error:  # a disk that is full, a frame that cannot be written: said in the run's log
            known = error.strerror if isinstance(error, OSError) else None
            self.error = f"could not be written: {known or f'{type(error).__name__}: {error}'}"
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def _full(self) -> bool:
        return shutil.disk_usage(self.path.parent).free < self._min_free

    def _copy(self, place: int) -> tuple[Any, np.void] | None:
        """A frame's pixels and record; None if the ring gave it up, or the run came to its end first."""
        last, end = self._frames.newest, time.monotonic() + PATIENCE_S
        while (newest := self._frames.newest) < place:
            if newest > last:
                last, end = newest, time.monotonic() + PATIENCE_S
            if self._stop.wait(0.005) or time.monotonic() > end:
                return None
        try:
            with self._frames.view(place) as entry:
                pixels, meta = entry.data.copy(), entry.meta.copy()
            return None if meta["frame"] < 0 else (pixels, meta)
        except OverrunError:
            return None
