"""Camera frames in files of a size or a time: `images_run_001.h5`, `images_run_001.part002.h5`, …

A part is an ordinary file of frames, closed when the next one begins: a day's recording can be copied, read and
deleted piece by piece. `Run.frames`, `inspect`, `replay` and `export` read all of them as one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recorders.images import ImageFile


class ImageParts:
    """A `recorders.frame_loop.FrameSink` over the files that `make(part)` makes, from number `part` on."""

    def __init__(
        self,
        make: Callable[[int], ImageFile],
        part: int,
        *,
        part_bytes: float = 0.0,
        part_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """A file takes at most `part_bytes` of frames (at least one frame) and `part_s` seconds; 0: no limit."""
        self._make = make
        self._part = part
        self._part_bytes, self._part_s = part_bytes or math.inf, part_s or math.inf
        self._clock = clock
        self._begin()
        self._encode = self._file.encode  # the same for all parts

    def encode(self, meta: np.void, pixels: NDArray[Any]) -> bytes:
        return self._encode(meta, pixels)

    def write(self, meta: np.void, encoded: bytes) -> int:
        over = self._written + len(encoded) > self._part_bytes or self._clock() - self._since >= self._part_s
        if over and self._file.count:
            self._file.close()
            self._part += 1
            self._begin()
        self._written += len(encoded)
        return self._file.write(meta, encoded)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _begin(self) -> None:
        self._file = self._make(self._part)
        self._written, self._since = 0, self._clock()
