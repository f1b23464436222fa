"""Looking at a run: copies of the newest frame, reduced to what a screen shows, and of results by place.

A looker is a live reader: it owns no word in the rings, holds nothing up, and takes another frame when the one that it
was copying went away under it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.frames import Kind
from engine.rings import Rings
from engine.shm.ring import OverrunError

_PLAIN = (
    "frame", "counter", "sequence", "settings", "t_source_ns", "t_camera_ns", "t_camera_error_ns", "t_sent_ns",
    "t_received_ns", "t_tracked_ns", "t_linked_ns", "t_published_ns", "found", "rows", "overflow", "saturated", "state",
    "bits", "live",
)  # fmt: skip


@dataclass(frozen=True)
class Look:
    """One frame as it was tracked. `pixels` are every `step`-th of both directions, averaged; None: not asked for."""

    place: int
    meta: dict[str, int]
    rows: NDArray[Any]
    pixels: NDArray[Any] | None
    step: int


def step_for(shape_hw: tuple[int, int], most_px: int) -> int:
    """By how much a frame is reduced so that neither side is longer than `most_px` (0: not at all)."""
    return 1 if most_px <= 0 else max(1, -(-max(shape_hw) // most_px))


def reduced(pixels: NDArray[Any], step: int) -> NDArray[Any]:
    """A copy, each pixel the mean of `step` x `step`; rows and columns that fill no square are left out."""
    if step == 1:
        return pixels.copy()
    height, width = pixels.shape[0] // step, pixels.shape[1] // step
    # Sums of slices: three times faster than reshape and mean, and no frame of floats in between.
    total = np.zeros((height, width), np.uint32)
    for y in range(step):
        for x in range(step):
            total += pixels[y : height * step : step, x : width * step : step]
    mean: NDArray[Any] = (total // (step * step)).astype(pixels.dtype)
    return mean


class Looker:
    """Takes copies out of the rings of a run."""

    def __init__(self, rings: Rings) -> None:
        self._frames, self._results = rings.frames, rings.results

    @property
    def newest(self) -> int:
        """The newest published place, -1 before the first."""
        return self._results.newest

    def latest(self, most_px: int = 0, image: bool = True) -> Look | None:
        """The newest frame that is linked; None before the first one."""
        for _ in range(5):
            place = self._results.newest
            try:
                meta, rows = self._result(place)
                if meta["kind"] == Kind.CLOSING:
                    place -= 1
                    meta, rows = self._result(place)
                pixels, step = None, 1
                if image:
                    with self._frames.view(place) as entry:
                        step = step_for(entry.data.shape, most_px)
                        pixels = reduced(entry.data, step)
                return Look(place, plain(meta), rows, pixels, step)
            except (OverrunError, IndexError):
                if place < 0:
                    return None
        return None

    def result(self, place: int) -> Look | None:
        """One result without its pixels; None for the closing place. Raises OverrunError if it is gone."""
        meta, rows = self._result(place)
        return None if meta["kind"] == Kind.CLOSING else Look(place, plain(meta), rows, None, 1)

    def first_kept(self) -> int:
        """The oldest place that can be read, with some room before it is overwritten."""
        return max(0, self._results.newest + 1 - (self._results.slots * 7) // 8)

    def place_of(self, frame: int) -> int:
        """The first kept place whose frame number is not below `frame`; the next to come if there is none."""
        low, high = self.first_kept(), self._results.newest + 1
        while low < high:
            middle = (low + high) // 2
            number = int(self._results.record(middle)["frame"][0])
            if number != -1 and number < frame:
                low = middle + 1
            else:
                high = middle
        return low

    def metas(self, count: int) -> NDArray[Any]:
        """Records of the newest `count` places, for statistics: one that is just overwritten may be among them."""
        newest = self._results.newest
        first = max(self.first_kept(), newest + 1 - count)
        records = [self._results.record(place) for place in range(first, newest + 1)]
        found = np.concatenate(records) if records else self._results.record(0)[:0].copy()
        frames: NDArray[Any] = found[found["kind"] == Kind.FRAME]
        return frames

    def _result(self, place: int) -> tuple[np.void, NDArray[Any]]:
        if place < 0:
            raise IndexError(place)
        with self._results.view(place) as entry:
            return entry.meta.copy(), entry.data[: int(entry.meta["rows"])].copy()


def plain(meta: np.void) -> dict[str, int]:
    """The figures of a record that go over wires."""
    return {name: int(meta[name]) for name in _PLAIN}
