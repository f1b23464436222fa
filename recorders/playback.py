"""A recorded run as a reel: its frames in order, with the counters and times that the camera gave them.

It has what `bridge.sources.replay.Reel` asks for, but knows nothing of it: who joins the two is above both.

Counters are the camera's own where the recording has one sequence. Where the camera counted anew in between, the next
sequence goes on after a hole that is large enough to be one again, so that no two frames share a counter.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from engine.frames import TimeSource
from recorders.parts import RunError
from recorders.run import Run
from recorders.tables import LOST, TIME_SOURCE_WORDS, Table
from recorders.tiff_pictures import Kept

BETWEEN_SEQUENCES = 20_001
"""Counters left out between two sequences: more than the 10 000 that a gap within one may have."""
THREADS = max(1, min(4, (os.cpu_count() or 1) // 2))
"""That decode ahead; the trackers have the rest."""
_WORDS = {word.encode(): source for source, word in TIME_SOURCE_WORDS.items()}


class DamagedError(Exception):
    """A frame of the recording cannot be read, or is not what was recorded."""


@dataclass(frozen=True)
class Playable:
    """One frame, and what its header said."""

    image: NDArray[Any]
    file_name: str
    time_source: TimeSource
    t_error_ns: int
    extra: dict[str, Any] | None
    header: dict[str, Any]


def is_recording(path: Path) -> bool:
    """Whether a path is the folder of a run, or one of its HDF5 files."""
    if path.is_dir():
        return any(next(path.glob(f"{kind}_*.h5"), None) is not None for kind in ("tracking_run", "images_run"))
    return path.is_file() and path.suffix == ".h5"


class Recording:
    """See the module. `read` may be called by several threads; opening reads the table of frames, no pixels."""

    def __init__(self, path: Path) -> None:
        """Raises RunError if there is no recording, or it holds no frames."""
        self.run = Run.open(path)
        self.folder = self.run.path.parent
        self._pictures: Kept = self.run.frames
        self.numbers = self._pictures.numbers
        if not len(self.numbers):
            raise RunError(f"{self.folder} holds no camera frames: none was recorded before it ended")
        self._rows = _rows_of(self.run, self.numbers)
        self.numbers = self._rows["frame"].astype(np.int64)
        self._lock = threading.Lock()
        self.name = f"replay of {self.folder.resolve()}"
        self.threads = THREADS
        self.counters = self._counters()
        self.times_ns = self._rows["t_source_ns"].astype(np.int64)
        self._whole = self._checks_hold()
        y0, _, x0, _ = self.run.kept_part
        self._corner_yx = (y0, x0)

    @property
    def utc_ns(self) -> int:
        """When its first frame was taken."""
        offset = int(self.run.metadata["system_info"].get("utc_offset_ns", 0))
        return int(self._rows["t_camera_ns"][0]) + offset

    def read(self, index: int) -> Playable:
        """Decode one frame, and compare it with its checksum where it was kept whole. Raises DamagedError."""
        row, number = self._rows[index], int(self.numbers[index])
        try:
            with self._lock:
                decode = self._pictures.fetch(number)
            image = decode()
        except (OSError, RunError) as error:
            raise DamagedError(f"frame {number} of {self.folder.name}: {error}") from None
        said = bytes(row["checksum"]).decode()
        if said and self._whole and said != f"{xxhash.xxh3_64_intdigest(np.ascontiguousarray(image).data):016x}":
            raise DamagedError(f"frame {number} of {self.folder.name}: its pixels are not those that were recorded")
        return Playable(
            image=image,
            file_name=bytes(row["file_name"]).decode(errors="replace"),
            time_source=_WORDS.get(bytes(row["time_source"]), TimeSource.HEADER),
            t_error_ns=max(0, int(row["t_camera_error_ns"])),
            extra=self._extra(number),
            header=_header(row, self._corner_yx),
        )

    def close(self) -> None:
        """Nothing is held."""

    def _counters(self) -> NDArray[np.int64]:
        """Growing with the frame numbers, with a hole between sequences; see the module."""
        first = max(0, int(self._rows["counter"][0]))
        sequences = self._rows["sequence"].astype(np.int64)
        every = self.run.settings.record.image_every
        numbers = self.numbers // every if every > 1 else self.numbers  # every n-th was kept: those are all there are
        counters: NDArray[np.int64] = first + (numbers - numbers[0]) + (sequences - sequences[0]) * BETWEEN_SEQUENCES
        return counters

    def _checks_hold(self) -> bool:
        """Whether checksums are of what was kept: not where only a region of each frame was."""
        camera = self.run.settings.camera
        return bool(self._pictures[int(self.numbers[0])].shape == (camera.height, camera.width))

    def _extra(self, number: int) -> dict[str, Any] | None:
        text = self.run.extra.get(number)
        if not text:
            return None
        try:
            found = msgspec.json.decode(text)
        except msgspec.DecodeError:
            return None
        return found if isinstance(found, dict) else None


def _rows_of(run: Run, numbers: NDArray[np.int64]) -> Table:
    """The rows of the table of frames for these numbers, but for those that a torn table knows nothing of.

    Raises RunError if it knows of none.
    """
    table: Table = run.frames_array
    table = table[(table["state_code"] != LOST) & np.isin(table["frame"], numbers)]
    if not len(table):
        raise RunError(f"{run.path.name} says nothing of the {len(numbers)} frames that were kept, nor of their times")
    return table


def _header(row: np.void, corner_yx: tuple[int, int]) -> dict[str, Any]:
    """What the frame's header said beside its time: `bridge.wire.FrameHeader`'s names.

    A part of a frame is what a camera would have sent that reads out no more than this part: its region begins
    `corner_yx` further on the sensor, where a pixel of the frame is `binning` pixels wide.
    """
    binning = max(1, int(row["binning"]))
    y, x = (max(0, int(row[name])) + binning * at for name, at in zip(("region_y", "region_x"), corner_yx))
    out: dict[str, Any] = {
        "bits": int(row["bits"]) or None,
        "high_aligned": bool(row["high_aligned"]),
        "region": (y, x),
        "binning": max(0, int(row["binning"])),
        "trigger": int(row["trigger"]),
    }
    for name in ("exposure_us", "gain"):
        value = float(row[name])
        out[name] = None if np.isnan(value) else value
    return out
