"""napari opens runs: their frames as an image that is read frame by frame, and their tracks. napari is not needed here.

`napari.yaml` tells napari of it (entry point `napari.manifest`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recorders.parts import RunError
from recorders.playback import is_recording
from recorders.run import Run
from recorders.tiff_pictures import Kept

Layer = tuple[Any, dict[str, Any], str]


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[Layer]] | None:
    """The function that reads this path; None if it is no run of ours."""
    one = path[0] if isinstance(path, list) else path
    return read if is_recording(Path(one)) else None


def read(path: str | list[str]) -> list[Layer]:
    """Layers of a run: its frames, if it kept any, and its tracks (identity, frame, y, x)."""
    run = Run.open(path[0] if isinstance(path, list) else path)
    name, scale = run.path.parent.name, run.settings.camera.pixel_um or 1.0
    layers: list[Layer] = []
    with suppress(RunError):  # none were kept
        y0, _, x0, _ = run.kept_part
        place = {"scale": (1.0, scale, scale), "translate": (0.0, y0 * scale, x0 * scale)}
        layers.append((LazyFrames(run.frames), {"name": name, **place}, "image"))
    rows = run.tracks_array
    if len(rows):
        order = np.lexsort((rows["frame"], rows["particle"]))
        rows = rows[order]
        data = np.stack([rows[column].astype(np.float64) for column in ("particle", "frame", "y", "x")], axis=1)
        features = {column: np.asarray(rows[column]) for column in ("mass", "size", "ecc", "vx", "vy")}
        layers.append((data, {"name": f"{name} tracks", "scale": (1.0, scale, scale), "features": features}, "tracks"))
    return layers


class LazyFrames:
    """An array `(frame number, y, x)` that is read when it is looked at; numbers that were not kept are black."""

    ndim = 3

    def __init__(self, pictures: Kept) -> None:
        """Raises RunError if there are none."""
        numbers = pictures.numbers
        if not len(numbers):
            raise RunError("no camera frames were kept")
        first = pictures[int(numbers[0])]
        self._pictures, self._there = pictures, set(numbers.tolist())
        self.shape: tuple[int, ...] = (int(numbers[-1]) + 1, *first.shape)
        self.dtype: np.dtype[Any] = first.dtype

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, key: Any) -> NDArray[Any]:
        key = key if isinstance(key, tuple) else (key,)
        which, rest = key[0], key[1:]
        if isinstance(which, slice):
            found = [self._frame(number)[rest] for number in range(*which.indices(self.shape[0]))]
            return np.stack(found) if found else np.zeros((0, *self.shape[1:]), self.dtype)
        number = int(which)
        number += self.shape[0] if number < 0 else 0
        if not 0 <= number < self.shape[0]:
            raise IndexError(f"frame {which} of {self.shape[0]}")
        part: NDArray[Any] = self._frame(number)[rest]
        return part

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole: NDArray[Any] = self[:].astype(dtype or self.dtype)
        return whole

    def _frame(self, number: int) -> NDArray[Any]:
        return self._pictures[number] if number in self._there else np.zeros(self.shape[1:], self.dtype)
