"""What a world of the model (`shm_model`) is made of: bytes, what its frames and rows are, rings that are watched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engine.shm.cursors import CursorTable
from engine.shm.ring import Ring, RingLayout
from engine.shm.segment import Segment

if TYPE_CHECKING:
    from tests.engine.shm.shm_model import World

PIXELS, ROWS = 4, 3
FRAME = np.dtype([("counter", "<i8"), ("ledger", "<i8")])
RESULT = np.dtype([("counter", "<i8"), ("rows", "<i8"), ("failed", "<i8")])
ROW = np.dtype([("value", "<i8"), ("identity", "<i8")])
LOSS = np.dtype([("first", "<i8"), ("last", "<i8"), ("cause", "<i8")])


class Forbidden(AssertionError):
    """Something happened that the protocol rules out."""


class Memory:
    """A stand-in for a segment, over ordinary bytes."""

    def __init__(self, size: int, shared: npt.NDArray[np.int64] | None = None) -> None:
        self.name = "memory"
        self.owner = shared is None
        self._words = np.zeros(-(-size // 8), np.int64) if shared is None else shared

    def attached(self) -> Memory:
        """As a process that did not make it sees it."""
        return Memory(0, self._words)

    def words(self, offset: int, count: int) -> npt.NDArray[np.int64]:
        return np.frombuffer(self._words, np.int64, count, offset)

    def array(self, offset: int, shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
        return np.frombuffer(self._words, dtype, int(np.prod(shape)), offset).reshape(shape)


class SegmentMemory(Memory):
    """A real segment, used in the same way by processes that were forked from the one that made it."""

    def __init__(self, segment: Segment, owner: bool = True) -> None:
        self.name = segment.name
        self.owner = owner
        self._segment = segment

    def attached(self) -> SegmentMemory:
        return SegmentMemory(self._segment, owner=False)

    def words(self, offset: int, count: int) -> npt.NDArray[np.int64]:
        return self._segment.words(offset, count)

    def array(self, offset: int, shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
        return self._segment.array(offset, shape, dtype)


def pixel(counter: int, index: int) -> int:
    return 1000 * counter + 7 * index


def rows_of(counter: int) -> list[int]:
    total = sum(pixel(counter, i) for i in range(PIXELS))
    return [total + i for i in range(ROWS)]


def linked(state: int, counter: int) -> int:
    return (31 * state + counter + 1) % (1 << 40)


def at_camera(counter: int) -> bool:
    """Whether the camera itself skipped this counter."""
    return counter % 7 == 3


class WatchedRing(Ring):
    """A ring that does not let a slot be overwritten that somebody has a right to."""

    def __init__(self, world: World, memory: Memory, layout: RingLayout, is_frames: bool) -> None:
        super().__init__(memory, layout)
        self._world = world
        self._is_frames = is_frames

    def invalidate(self, place: int) -> None:
        gone = place - self.slots
        world, cursors = self._world, CursorTable(self)
        if not world.live and cursors.cursor(0) < gone:
            raise Forbidden(f"place {gone} is overwritten, its lossless reader is at {cursors.cursor(0)}")
        if gone > self.newest:
            raise Forbidden(f"place {gone} is overwritten, {self.newest} is the newest published")
        for held in world.in_hand.values():
            if self._is_frames and held.place <= gone:
                raise Forbidden(f"place {gone} is overwritten, a worker has {held}")
        super().invalidate(place)
