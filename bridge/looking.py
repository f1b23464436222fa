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


LARGEST_BY_SLICES = 16
"""Slices are many beyond it: for one pixel out of 1000 x 1000 they take seconds."""


@dataclass(frozen=True)
class Look:
    """One frame as it was tracked. `pixels` are every `step`-th of both directions, averaged; None: not asked for.

    `corner_yx`: where the first of them lies in the camera's frame. `saturated`: which of them (flat indices) hold a
    camera pixel at the sensor's limit.
    """

    place: int
    meta: dict[str, int]
    rows: NDArray[Any]
    pixels: NDArray[Any] | None
    step: int
    corner_yx: tuple[int, int] = (0, 0)
    saturated: NDArray[np.uint32] | None = None


def step_for(shape_hw: tuple[int, int], most_px: int) -> int:
    """By how much a frame is reduced so that neither side is longer than `most_px` (0: not at all)."""
    return 1 if most_px <= 0 else max(1, -(-max(shape_hw) // most_px))


def reduced(pixels: NDArray[Any], step: int) -> NDArray[Any]:
    """A copy, each pixel the mean of `step` x `step`; rows and columns that fill no square are left out."""
    if step == 1:
        return pixels.copy()
    height, width = pixels.shape[0] // step, pixels.shape[1] // step
    if step > LARGEST_BY_SLICES:
        total = _squares(pixels, step).sum(axis=(1, 3), dtype=np.uint64)
    else:
        # Sums of slices: three times faster than reshape and mean, and no frame of floats in between.
        total = np.zeros((height, width), np.uint32)
        for y in range(step):
            for x in range(step):
                total += pixels[y : height * step : step, x : width * step : step]
    mean: NDArray[Any] = (total // (step * step)).astype(pixels.dtype)
    return mean


def over_limit(pixels: NDArray[Any], limit: int, step: int) -> NDArray[np.uint32]:
    """Flat indices of the reduced picture's pixels that hold one of at least `limit`."""
    if step > LARGEST_BY_SLICES:
        return np.flatnonzero(_squares(pixels, step).max(axis=(1, 3)) >= limit).astype(np.uint32)
    height, width = pixels.shape[0] // step, pixels.shape[1] // step
    there = np.zeros((height, width), bool)
    for y in range(step):
        for x in range(step):
            there |= pixels[y : height * step : step, x : width * step : step] >= limit
    return np.flatnonzero(there).astype(np.uint32)


def _squares(pixels: NDArray[Any], step: int) -> NDArray[Any]:
    """A view of the pixels as `(rows of squares, step, columns of squares, step)`."""
    height, width = pixels.shape[0] // step, pixels.shape[1] // step
    return pixels[: height * step, : width * step].reshape(height, step, width, step)


def clipped(region: tuple[int, int, int, int] | None, shape_hw: tuple[int, int]) -> tuple[slice, slice]:
    """The part of a frame that a region y0, y1, x0, x1 names, at least one pixel; None: all of it."""
    if region is None:
        return slice(0, shape_hw[0]), slice(0, shape_hw[1])
    parts = []
    for first, last, size in ((*region[:2], shape_hw[0]), (*region[2:], shape_hw[1])):
        first = min(max(0, first), size - 1)
        parts.append(slice(first, min(max(first + 1, last), size)))
    return parts[0], parts[1]


class Looker:
    """Takes copies out of the rings of a run."""

    def __init__(self, rings: Rings) -> None:
        self._frames, self._results = rings.frames, rings.results
        self._limit = rings.plan.experiment.camera.saturation

    @property
    def newest(self) -> int:
        """The newest published place, -1 before the first."""
        return self._results.newest

    def latest(
        self,
        most_px: int = 0,
        image: bool = True,
        region: tuple[int, int, int, int] | None = None,
        saturated: bool = False,
    ) -> Look | None:
        """The newest frame that is linked; None before the first one."""
        for _ in range(5):
            place = self._results.newest
            try:
                meta, rows = self._result(place)
                if meta["kind"] == Kind.CLOSING:
                    place -= 1
                    meta, rows = self._result(place)
                pixels, step, corner, over = None, 1, (0, 0), None
                if image:
                    with self._frames.view(place) as entry:
                        y, x = clipped(region, entry.data.shape)
                        part, corner = entry.data[y, x], (y.start, x.start)
                        step = min(step_for(part.shape, most_px), *part.shape)
                        pixels = reduced(part, step)
                        if saturated and meta["saturated"]:
                            over = over_limit(part, self._limit, step)
                return Look(place, plain(meta), rows, pixels, step, corner, over)
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
        # As bytes: numpy copies records field by field, which takes twenty times as long.
        dtype = self._results.layout.record
        raw = np.empty((newest + 1 - first, dtype.itemsize), np.uint8)
        for i, place in enumerate(range(first, newest + 1)):
            raw[i] = self._results.record(place).view(np.uint8)
        found = raw.reshape(-1).view(dtype)
        is_frame = found["kind"] == Kind.FRAME
        frames: NDArray[Any] = found if is_frame.all() else found[is_frame]
        return frames

    def _result(self, place: int) -> tuple[np.void, NDArray[Any]]:
        if place < 0:
            raise IndexError(place)
        with self._results.view(place) as entry:
            return entry.meta.copy(), entry.data[: int(entry.meta["rows"])].copy()


def plain(meta: np.void) -> dict[str, int]:
    """The figures of a record that go over wires."""
    return {name: int(meta[name]) for name in _PLAIN}
