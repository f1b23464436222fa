"""A background that follows the experiment: again and again the median of frames of the run itself.

This process looks at frames as a live reader, keeps one every `background_s / background_frames` seconds, and when it
has them all writes their median into the run's folder (`background/background_000001.npy`, whole or not at all). The
control server, the one writer of the settings, puts it into force from a stated frame on: so every frame says by its
version which background was subtracted, whatever tracked it and when. Nothing waits for this process; if it dies, the
last background stays in force.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.clocks import NS
from engine.errors import SettingsError
from engine.frames import Kind
from engine.process import Job
from engine.shm.cursors import LiveReader
from engine.shm.ring import OverrunError
from engine.shm.wakeup import LONGEST_S
from engine.workers.median import median_of

COUNTERS = ("frames", "backgrounds")
FOLDER = "background"


def path_of(run_folder: Path, number: int) -> Path:
    """The file of a run's background, counted from 1."""
    return run_folder / FOLDER / f"background_{number:06d}.npy"


def number_of(path: str | Path) -> int:
    """Which of the run's backgrounds a file is."""
    return int(Path(path).stem.rpartition("_")[2])


def load_background(path: str | Path) -> NDArray[np.float32]:
    """A background of a run. Raises SettingsError."""
    try:
        return np.ascontiguousarray(np.load(path, allow_pickle=False), np.float32)
    except (OSError, ValueError) as error:
        raise SettingsError(f"correction.background: {path} cannot be read: {error}") from None


class Collector:
    """Frames for the next background: which ones, and when there are enough."""

    def __init__(self, frames: int, shape_hw: tuple[int, int], dtype: Any, every_s: float) -> None:
        self._stack: NDArray[Any] = np.zeros((frames, *shape_hw), dtype)
        self._every_s = every_s
        self._count = 0
        self._due_s = self._newest_s = 0.0

    def is_due(self, t_s: float) -> bool:
        """Whether a frame of this time is wanted. Where time goes back, a recording that begins anew, it is."""
        return t_s >= self._due_s or t_s < self._newest_s

    def copy(self, pixels: NDArray[Any]) -> None:
        """Copy a frame; without `keep` the next copy takes its place."""
        self._stack[self._count] = pixels

    def keep(self, t_s: float) -> None:
        """What was copied, of this time, is one of them."""
        self._count += 1
        planned = self._due_s + self._every_s  # not from this frame on: a late one must not push all others back
        self._due_s = planned if t_s < planned and t_s >= self._newest_s else t_s + self._every_s
        self._newest_s = t_s

    def median(self) -> NDArray[Any] | None:
        """The median once all are there; collecting begins anew. Of the frames' own type where that loses nothing."""
        if self._count < len(self._stack):
            return None
        self._count = 0
        found = median_of(self._stack)
        return found.astype(self._stack.dtype) if len(self._stack) % 2 else found


def write(background: NDArray[Any], run_folder: Path) -> Path:
    """Write the run's next background; its path. It appears complete, under a name that nobody had."""
    folder = run_folder / FOLDER
    folder.mkdir(exist_ok=True)
    number = 1 + max((number_of(found) for found in folder.glob("background_*.npy")), default=0)
    path = path_of(run_folder, number)
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as file:
        np.save(file, background)
    unfinished.replace(path)
    return path


def main(job: Job) -> None:
    """Collect, write, begin again. Time is that of the frames: a recording may be tracked again at any speed."""
    camera, correction = job.experiment.camera, job.experiment.correction
    count = correction.background_frames
    collector = Collector(count, camera.shape_hw, camera.dtype, correction.background_s / count)
    reader = LiveReader(job.frames)
    median_of(np.zeros((count, 1, 1), camera.dtype))  # compiled now
    job.status.ready()
    while not job.stopping:
        job.status.beat()
        place = reader.next(LONGEST_S, job.status.beat)
        if place is None:
            continue
        try:
            with job.frames.view(place) as entry:
                t_s = int(entry.meta["t_camera_ns"]) / NS
                if entry.meta["kind"] == Kind.CLOSING or not collector.is_due(t_s):
                    continue
                collector.copy(entry.data)
        except OverrunError:
            continue
        collector.keep(t_s)
        job.status.count("frames")
        background = collector.median()
        if background is None:
            continue
        try:
            write(background, job.run_folder)
        except OSError as error:
            job.log("error", f"background: {job.run_folder / FOLDER} cannot be written: {error}; the last one stays")
            continue
        job.status.count("backgrounds")
