"""A run's camera frames for pims and whatever takes its sequences (trackpy.batch, for one).

    import pims, recorders.pims_reader
    frames = recorders.pims_reader.RunFrames("data/2026-11-21/run_003")     # or pims.open("…/tracking_run_003.h5")

`frame_no` of each is its frame number in the run, so features found in it belong to rows of `/frames`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pims

from recorders.playback import is_recording
from recorders.run import Run


class RunFrames(pims.FramesSequence):  # type: ignore[misc]  # pims has no types
    """See the module."""

    class_priority = 20  # before readers of any HDF5 file

    @classmethod
    def class_exts(cls) -> set[str]:
        return {"h5"}

    def __init__(self, filename: Any, **_: Any) -> None:
        """`filename`: the run's folder, or one of its files. Raises RunError."""
        from pathlib import Path

        from recorders.parts import RunError

        if not is_recording(Path(filename)):
            raise RunError(f"{filename} is no recording of ringtrack")
        self.run = Run.open(filename)
        self._pictures = self.run.frames
        self._numbers = self._pictures.numbers
        self._first = self._pictures[int(self._numbers[0])] if len(self._numbers) else np.zeros((0, 0), np.uint16)

    def __len__(self) -> int:
        return len(self._numbers)

    def get_frame(self, i: int) -> Any:
        number = int(self._numbers[i])
        return pims.Frame(self._pictures[number], frame_no=number)

    @property
    def frame_shape(self) -> tuple[int, int]:
        return self._first.shape

    @property
    def pixel_type(self) -> Any:
        return self._first.dtype.type

    @property
    def frame_rate(self) -> float:
        return self.run.settings.camera.fps
