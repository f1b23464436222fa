"""What an effort costs here, measured before it is begun: a frame is packed and verified, and the workers counted."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from recorders.archive import jxl

REPEATS = 3
FAST = 3
LARGEST_SIDE = 1024  # of the part that is packed by higher efforts: 7 takes 3.7 s for 2048 x 2048 pixels


class Speed(msgspec.Struct, frozen=True):
    """Of one frame on one core of this machine."""

    effort: int
    width: int
    height: int
    pack_s: float
    verify_s: float
    ratio: float
    stand_in: bool  # the folder was empty: it was noise

    def sustained(self, workers: int) -> float:
        """Frames a second that so many workers pack and verify, on the cores that there are."""
        return min(workers, cores()) / (self.pack_s + self.verify_s)

    def line(self, workers: int) -> str:
        """For people."""
        what = "noise of" if self.stand_in else "frames of"
        return (
            f"effort {self.effort}: {1e3 * self.pack_s:.0f} ms to pack, {1e3 * self.verify_s:.0f} ms to verify, ratio "
            f"{self.ratio:.2f}; {workers} workers on {cores()} cores sustain {self.sustained(workers):.3g} frames/s of "
            f"{what} {self.width} x {self.height}"
        )


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def measured(effort: int, sample: NDArray[Any] | None = None, shape_hw: tuple[int, int] = (2048, 2048)) -> Speed:
    """Measure with a frame of the camera, or with noise where there is none yet."""
    from recorders.archive.quick import Decoder

    image = np.random.default_rng(0).poisson(100, shape_hw).astype(np.uint16) if sample is None else sample
    side = LARGEST_SIDE if effort > FAST else max(image.shape)
    part = np.ascontiguousarray(image[:side, :side])
    whole = image.size / part.size
    pack_s = verify_s = float("inf")
    data = b""
    decoder = Decoder()
    for _ in range(REPEATS if effort <= FAST else 1):
        t0 = time.perf_counter()
        data = jxl.packed(part, {}, effort)
        t1 = time.perf_counter()
        jxl.checksum(decoder.unpacked(data))
        pack_s, verify_s = min(pack_s, t1 - t0), min(verify_s, time.perf_counter() - t1)
    ratio = part.nbytes / len(data)
    return Speed(effort, image.shape[1], image.shape[0], whole * pack_s, whole * verify_s, ratio, sample is None)


def sample_of(folder: Path) -> NDArray[Any] | None:
    """The first frame that a folder holds, None if there is none that is whole."""
    for path in sorted(folder.iterdir())[:50]:
        if path.suffix.lower() in (".tif", ".tiff"):
            try:
                return jxl.read_tiff(path)[0]
            except (jxl.NoFrameError, OSError):
                continue
    return None
