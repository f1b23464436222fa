"""The recorder of TIFF files: `frames/000000000/run_001_frame_000000042.tiff`, one for each frame, or one stack.

16 or 8 bit as they came, with `ImageDescription` (JSON), `DateTime`, `Software` and the scale of the calibration. LZW
takes 80 ms of a core for 2048 x 2048 pixels and noise: `ringtrack check` says what this machine sustains, and what it
cannot keep up with is counted and listed.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from engine.clocks import measure_utc_offset
from engine.cores import existing_cores
from engine.errors import MachineError
from engine.experiment import Experiment
from engine.frames import FRAME_META
from engine.process import Job
from engine.regions import part_of_frame
from recorders.frame_loop import COUNTERS, record_frames, threads_for
from recorders.pace import Pace, announce, measured
from recorders.room import LOOK_EVERY, refuse_if_full
from recorders.runfolder import RunFolder
from recorders.tiff_ome import finish
from recorders.tiff_stack import Stack

__all__ = ["COUNTERS", "TiffFiles", "TiffStack", "main", "pace"]

_COMPRESSION = {"lzw": "lzw", "zstd": "zstd", "deflate": "zlib", "none": None}


class TiffFiles:
    """A `recorders.frame_loop.FrameSink`. A file has its name when it is whole; none is ever written again."""

    def __init__(self, folder: RunFolder, experiment: Experiment, run_id: str, utc_offset_ns: int) -> None:
        self._folder = folder
        self._run_id = run_id
        self._utc_offset_ns = utc_offset_ns
        self._compression = _COMPRESSION[experiment.record.tiff_compression]
        camera = experiment.camera
        y0, y1, x0, x1 = part_of_frame(experiment.record.image_region, camera.shape_hw)
        self._part = np.s_[y0:y1, x0:x1]
        self._pixel_um = camera.pixel_um
        self._big = experiment.record.tiff_stack
        self._written = 0

    def encode(self, meta: np.void, pixels: NDArray[Any]) -> bytes:
        """The whole file, as bytes (a thread; the codecs hold no lock)."""
        t_utc_ns = int(meta["t_camera_ns"]) + self._utc_offset_ns
        taken = datetime.fromtimestamp(t_utc_ns / 1e9, UTC)
        about = {
            "frame": int(meta["frame"]),
            "counter": int(meta["counter"]),
            "sequence": int(meta["sequence"]),
            "time_utc": taken.isoformat(timespec="microseconds"),
            "time_utc_ns": t_utc_ns,
            "settings_version": int(meta["settings"]),
            "run_id": self._run_id,
            "pixel_um": self._pixel_um or None,
            "file_name": bytes(meta["file_name"]).decode(errors="replace"),
        }
        scale: dict[str, Any] = {}
        if self._pixel_um:
            per_cm = 1e4 / self._pixel_um
            scale = {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"}
        out = io.BytesIO()
        tifffile.imwrite(
            out, pixels[self._part], photometric="minisblack", compression=self._compression, metadata=None,
            description=json.dumps(about), datetime=taken, software="ringtrack",
            bigtiff=self._big, byteorder="<", rowsperstrip=pixels[self._part].shape[0], **scale,
        )  # fmt: skip
        return out.getvalue()

    def write(self, meta: np.void, encoded: bytes) -> int:
        path = self._folder.tiff(int(meta["frame"]))
        if self._written % LOOK_EVERY == 0:
            refuse_if_full(self._folder.path, "tiff", LOOK_EVERY * len(encoded))
        self._written += 1
        if path.exists():  # of the recorder before this one
            return 0
        beside = path.with_suffix(".part")
        with self._writing(path):
            if not path.parent.is_dir():  # never the folder of the run: where a drive is gone, another disk is
                self._folder.tiff(0).parent.parent.mkdir(exist_ok=True)
                path.parent.mkdir(exist_ok=True)
            beside.write_bytes(encoded)
            beside.rename(path)
        return len(encoded)

    def flush(self) -> None:
        """Every file is whole when it has its name."""

    def close(self) -> None:
        """Nothing is held."""

    @contextmanager
    def _writing(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise MachineError(
                f'recorder "tiff" stopped: {path} could not be written: {os.strerror(error.errno or 5)}. Particles are '
                "still being recorded."
            ) from None


class TiffStack(TiffFiles):
    """The same pages in one file."""

    def __init__(self, folder: RunFolder, experiment: Experiment, run_id: str, utc_offset_ns: int) -> None:
        """Make the stack, or go on in that of a recorder that died. Raises MachineError."""
        super().__init__(folder, experiment, run_id, utc_offset_ns)
        self._path = folder.tiff_stack
        with self._writing(self._path):
            self._stack = Stack(self._path)

    def write(self, meta: np.void, encoded: bytes) -> int:
        if self._written % LOOK_EVERY == 0:
            refuse_if_full(self._folder.path, "tiff", LOOK_EVERY * len(encoded))
        self._written += 1
        if int(meta["frame"]) <= self._stack.last_frame:  # of the recorder before this one
            return 0
        with self._writing(self._path):
            return self._stack.append(encoded)

    def close(self) -> None:
        with self._writing(self._path):
            self._stack.close()
            finish(self._path, self._folder.name, self._pixel_um)


def pace(experiment: Experiment) -> Pace:
    """How fast the recorder is here."""
    files = TiffFiles(RunFolder(Path("run_001")), experiment, "0" * 16, 0)
    meta: np.void = np.zeros(1, FRAME_META)[0]
    threads = threads_for(experiment.record.image_threads, len(existing_cores()))
    return measured("tiff", lambda pixels: files.encode(meta, pixels), experiment, threads)


def main(job: Job) -> int:
    """Write the frames of a run until the ring says that it has ended; the exit status."""
    settings, folder = job.experiment.record, RunFolder(job.run_folder)
    offset_ns = measure_utc_offset().offset_ns
    first_time = not (folder.tiff_stack.exists() or folder.tiff(0).parent.parent.exists())
    make = TiffStack if settings.tiff_stack else TiffFiles
    sink = make(folder, job.experiment, job.run_id, offset_ns)
    announce(job, pace, first_time=first_time)
    record_frames(job, sink, threads_for(settings.image_threads, len(existing_cores())), settings.image_every)
    return 0
