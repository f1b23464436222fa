"""How many frames a second recorders of frames compress on this machine, said before the first one comes.

Measured with camera noise in the recorder's own threads, a fraction of a second, with nothing written: a disk is fast
for its first seconds and tells nothing of the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.experiment import Experiment
from engine.process import Job

NOISE_PIXELS = 1 << 20
"""Noise is repeated after so many pixels, which none of the codecs looks back over."""
TURNS = 2


@dataclass(frozen=True)
class Pace:
    """What a recorder sustains, and what is wanted of it."""

    recorder: str
    frames_s: float
    wanted_s: float  # of camera.fps, every n-th
    threads: int
    shape_hw: tuple[int, int]

    @property
    def enough(self) -> bool:
        """It keeps up with the camera, with nothing beside it."""
        return self.frames_s >= self.wanted_s

    def line(self) -> str:
        """For people."""
        height, width = self.shape_hw
        threads = "1 thread compresses" if self.threads == 1 else f"{self.threads} threads compress"
        said = f"{threads} {self.frames_s:.3g} frames/s of {width} x {height} here, {self.wanted_s:g} wanted"
        if self.enough:
            return said
        return (
            f"{said}: too slow for a camera; what it cannot keep will be counted and listed. More "
            "record.image_threads, a larger record.image_every, a record.image_region, or "
            'tiff_compression = "none" help'
        )


def noise(shape_hw: tuple[int, int], dtype: str) -> NDArray[Any]:
    """A frame of camera noise."""
    pixels = shape_hw[0] * shape_hw[1]
    drawn = np.random.default_rng(0).poisson(100, min(pixels, NOISE_PIXELS)).astype(dtype)
    return np.resize(drawn, shape_hw)


def measured(recorder: str, encode: Callable[[NDArray[Any]], Any], experiment: Experiment, threads: int) -> Pace:
    """Measure `encode`, which makes of a whole frame what is written."""
    camera = experiment.camera
    frame = noise(camera.shape_hw, camera.dtype)
    with ThreadPoolExecutor(threads, "pace") as pool:
        encode(frame)  # codecs are loaded
        count = TURNS * threads
        began = time.perf_counter()
        list(pool.map(encode, [frame] * count))
        seconds = time.perf_counter() - began
    return Pace(recorder, count / seconds, camera.fps / experiment.record.image_every, threads, camera.shape_hw)


def announce(job: Job, pace: Callable[[Experiment], Pace], *, first_time: bool) -> None:
    """Say it in the log of the run; a recorder that follows one that died has no time for it."""
    if first_time:
        found = pace(job.experiment)
        job.log("info", f"{job.name}: {found.line()}", frames_s=round(found.frames_s, 2), wanted_s=found.wanted_s)
