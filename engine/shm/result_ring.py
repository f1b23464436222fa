"""The result ring's two acts: a place is written by the last unit of a frame's tracking, published by the linker.

The last unit (whichever worker has it) does steps 2 and 3 of `ring` for its own part of record and rows, as often as
it is attempted, always the same bytes. The linker takes finished places in order and

1. waits until place p = newest + 1 is finished
2. marks its older copy of the state as being written
3. computes the state after p from the copy of p - 1, and its columns of p's rows, in place
4. stores the number p, 5. stores newest = p: the commit, of the entry and of the state; 6. rings

What is seen if it dies: before 5, the entry as the tracker left it with some of the linker's columns filled in, which
nobody looks at, and a state copy of p that is not the one of newest: the next linker takes p again and writes the same
bytes. After 5, all of p.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engine.shm.atomics import LINE, Words, load, store
from engine.shm.segment import Memory, aligned
from engine.shm.steps import Steps

_BEING_WRITTEN = -2  # -1 is the place before the first


class TwoCopies:
    """A state in shared memory that is either the one after place p - 1 or the one after place p, never between.

    Each copy has a word: the place it is the state after. The copy in force is the one whose place is the newest of
    the ring that its writer publishes.
    """

    def __init__(self, segment: Memory, offset: int, state_bytes: int) -> None:
        self._size = aligned(state_bytes, 64)
        self._words: Words = segment.words(offset, 2 * LINE)
        self._copies = [segment.array(offset + 16 * LINE + i * self._size, (self._size,), np.uint8) for i in range(2)]
        if segment.owner:
            self._words[0], self._words[LINE] = -1, _BEING_WRITTEN

    @staticmethod
    def bytes(state_bytes: int) -> int:
        return 16 * LINE + 2 * aligned(state_bytes, 64)

    def in_force(self, newest: int) -> npt.NDArray[np.uint8]:
        """The state after place `newest` (-1: the zeroed state before the first)."""
        return self._copies[self._index_of(newest)]

    def begin(self, place: int) -> Steps[npt.NDArray[np.uint8]]:
        """Step 2: the copy to write the state after `place` into."""
        index = 1 - self._index_of(place - 1)
        yield "link.2"
        store(self._words, index * LINE, _BEING_WRITTEN)
        yield "link.3"
        return self._copies[index]

    def end(self, place: int) -> None:
        """The copy is complete; it comes into force when `place` is published."""
        store(self._words, (1 - self._index_of(place - 1)) * LINE, place)

    def _index_of(self, place: int) -> int:
        for index in range(2):
            if load(self._words, index * LINE) == place:
                return index
        raise RuntimeError(f"no copy of the state after place {place}: the segment was damaged")


def row_count(meta: Any) -> int:
    """Rows of a result's record, for whoever reads `data[:row_count(meta)]`."""
    return int(meta["rows"])
