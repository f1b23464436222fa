"""The pixels that a sender keeps until the receiver has them, and the memory they lie in.

ZeroMQ sends from our memory without a copy, in a thread of its own. A buffer may be written again only when the frame
has its answer *and* ZeroMQ has let go of every copy of it that was handed over.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt
import zmq

from bridge.wire import FrameHeader

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
MAX_SPARE_BYTES = 256 << 20


class Picture:
    """One frame as it is kept: header (without what changes at each sending), pixels, and who still reads them."""

    __slots__ = ("header", "mine", "pixels", "token", "trackers")

    def __init__(self, header: FrameHeader, pixels: Pixels, mine: bool, token: Any) -> None:
        self.header = header
        self.pixels = pixels
        self.mine = mine  # it lies in a buffer of the pool
        self.token = token  # the caller's, given back with the outcome
        self.trackers: list[zmq.MessageTracker] = []

    def free(self) -> bool:
        """Has ZeroMQ let go?"""
        self.trackers = [tracker for tracker in self.trackers if not tracker.done]
        return not self.trackers


class Pool:
    """Buffers that are used again: fresh pages cost more than the copy."""

    def __init__(self) -> None:
        self._spare: dict[int, list[npt.NDArray[np.uint8]]] = defaultdict(list)
        self._spare_bytes = 0
        self._parting: list[Picture] = []

    def copy(self, image: Pixels) -> Pixels:
        """Copy an image into a buffer of ours."""
        buffers = self._spare[image.nbytes]
        if buffers:
            buffer = buffers.pop()
            self._spare_bytes -= image.nbytes
        else:
            buffer = np.empty(image.nbytes, np.uint8)
        kept: Pixels = buffer.view(image.dtype).reshape(image.shape)
        kept[...] = image
        return kept

    def release(self, picture: Picture) -> None:
        """The frame is over; its buffer comes back when ZeroMQ lets go."""
        self._parting.append(picture)
        self.collect()

    def collect(self) -> None:
        """Take back what ZeroMQ has let go of."""
        still = []
        for picture in self._parting:
            if not picture.free():
                still.append(picture)
            elif picture.mine and self._spare_bytes < MAX_SPARE_BYTES:
                flat = picture.pixels.reshape(-1).view(np.uint8)
                self._spare[flat.nbytes].append(flat)
                self._spare_bytes += flat.nbytes
        self._parting = still
