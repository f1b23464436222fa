"""The recorder of camera frames: `images_run_001.h5`, each frame one chunk, shuffled and compressed by Zstandard.

    /images   (frames, height, width)     raw pixels
    /frames   (frames,)                   number, camera counter, camera time in UTC nanoseconds, checksum of each

The tables of the run have a process of their own, which does not wait for pictures. At its end their file
gets a link: `tracking_run_001.h5:/images`. A recorder that died goes on in another part, as with the tables.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.clocks import measure_utc_offset
from engine.cores import existing_cores
from engine.errors import MachineError
from engine.experiment import Experiment
from engine.process import Job
from engine.regions import part_of_frame
from recorders.frame_loop import COUNTERS, record_frames, threads_for
from recorders.hdf5new import create, leave, open_to_readers, stopped_writing
from recorders.metadata import FORMAT
from recorders.pace import Pace, announce, measured
from recorders.packed import chunk, filters
from recorders.parts import part_path, part_paths
from recorders.room import LOOK_EVERY, refuse_if_full
from recorders.runfolder import RunFolder
from recorders.tables import unwritten

__all__ = ["COUNTERS", "FRAMES", "ImageFile", "main"]

FRAMES = np.dtype(
    [
        ("frame", "<i8"),
        ("counter", "<i8"),  # the camera's own
        ("t_utc_ns", "<i8"),  # camera time
        ("checksum", "<u8"),  # xxh3-64 of the pixels as they were sent, of the whole frame; 0: none was sent
    ]
)


class ImageFile:
    """A `recorders.frame_loop.FrameSink`."""

    def __init__(
        self,
        path: Path,
        shape_hw: tuple[int, int],
        dtype: str,
        *,
        level: int = 1,
        region: str = "",
        utc_offset_ns: int = 0,
    ) -> None:
        """Make the file; it must not exist. `region`: what is kept of each frame, as in `record.image_region`.

        Raises FileExistsError, MachineError.
        """
        self.path = path
        y0, y1, x0, x1 = part_of_frame(region, shape_hw)
        height, width = y1 - y0, x1 - x0
        self._part = np.s_[y0:y1, x0:x1]
        self._level = level
        self._utc_offset_ns = utc_offset_ns
        self._rows: list[tuple[int, int, int, int]] = []
        self.count = 0
        refuse_if_full(path.parent, "images", LOOK_EVERY * width * height * np.dtype(dtype).itemsize)
        self._file, making = create(path)
        self._file.attrs["ringtrack_format"] = FORMAT
        self._images = self._file.create_dataset(
            "images", (0, height, width), dtype, maxshape=(None, height, width), chunks=(1, height, width),
            **filters(level),
        )  # fmt: skip
        self._images.attrs["whole"] = int((height, width) == shape_hw)  # else the checksums are of more than is here
        self._images.attrs["region_x"], self._images.attrs["region_y"] = x0, y0
        self._frames = self._file.create_dataset(
            "frames", (0,), FRAMES, maxshape=(None,), chunks=(4096,), fillvalue=unwritten(FRAMES)
        )
        self._held = open_to_readers(self._file, making, path)
        chunk(np.zeros((2, 2), dtype), level)  # compiled, or loaded, before the first frame

    def encode(self, meta: np.void, pixels: NDArray[Any]) -> bytes:
        """The frame's chunk: bytes of equal weight side by side, then Zstandard (a thread; holds no lock meanwhile)."""
        return chunk(pixels[self._part], self._level)

    def write(self, meta: np.void, encoded: bytes) -> int:
        if self.count % LOOK_EVERY == 0:
            refuse_if_full(self.path.parent, "images", LOOK_EVERY * len(encoded))
        self._images.resize(self.count + 1, axis=0)
        self._images.id.write_direct_chunk((self.count, 0, 0), encoded)
        t_utc_ns = int(meta["t_camera_ns"]) + self._utc_offset_ns
        self._rows.append((int(meta["frame"]), int(meta["counter"]), t_utc_ns, int(meta["checksum"])))
        self.count += 1
        return len(encoded)

    def flush(self) -> None:
        """Images first: a row of /frames says that its image is there."""
        self._file.flush()
        if self._rows:
            before = self._frames.shape[0]
            self._frames.resize((before + len(self._rows),))
            self._frames[before:] = np.array(self._rows, FRAMES)
            self._rows = []
            self._file.flush()

    def close(self) -> None:
        if not self._file:
            return
        self.flush()
        self._file.close()
        os.close(self._held)


def pace(experiment: Experiment) -> Pace:
    """How fast the recorder is here."""
    settings = experiment.record
    y0, y1, x0, x1 = part_of_frame(settings.image_region, experiment.camera.shape_hw)
    part = np.s_[y0:y1, x0:x1]
    threads = threads_for(settings.image_threads, len(existing_cores()))
    return measured("images", lambda pixels: chunk(pixels[part], settings.image_level), experiment, threads)


def main(job: Job) -> int:
    """Record the frames of a run until the ring says that it has ended; the exit status."""
    from recorders.image_parts import ImageParts  # which imports this module

    camera, settings = job.experiment.camera, job.experiment.record
    first = RunFolder(job.run_folder).images
    offset_ns = measure_utc_offset().offset_ns

    def make(part: int) -> ImageFile:
        return ImageFile(
            part_path(first, part), camera.shape_hw, camera.dtype, level=settings.image_level,
            region=settings.image_region, utc_offset_ns=offset_ns,
        )  # fmt: skip

    part = max(part_paths(first), default=0) + 1
    sink = ImageParts(make, part, part_bytes=settings.part_gb * 1e9, part_s=settings.part_min * 60)
    try:
        announce(job, pace, first_time=part == 1)
        record_frames(job, sink, threads_for(settings.image_threads, len(existing_cores())), settings.image_every)
    except MachineError as error:
        try:
            sink.close()
        except OSError:  # the disk has been filled meanwhile
            job.log("error", str(error))
            leave(str(error))
        raise
    except OSError as error:
        stopped_writing(job, error)
    return 0
