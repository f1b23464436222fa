"""A ring: numbered slots in a segment, filled in order by one writer, read by many.

A *place* is the ring's own count, without holes; its slot is place mod slots. A slot has a *number* word (the place
that lies in it, or INVALID), a *record* (a small struct) and a *payload* (an array). *Newest* is a word of the ring:
the newest place that is published. A reader is *overrun* when its slot is reused before it is done.

Writing place p, and what a reader sees if the writer dies just before the step:

1. wait until slot p mod slots is free      the ring as it was
2. store the number INVALID, full fence     the ring as it was; place p - slots can still be read
3. write record and payload                 place p - slots is gone, as it would be soon anyway
4. store the number p (release)             the same
5. store newest = p (release): the commit   the same: the place is complete but nobody looks beyond newest
6. ring the bell                            place p is there; sleepers notice within 0.1 s

A writer that starts again takes newest + 1 and does all steps over, whatever half-written slot it meets.

Reading place p:

1. load newest (acquire); p is not beyond it
2. load the number (acquire); not p: overrun
3. use record and payload, in place
4. acquire fence, load the number again; not p: overrun, and what was used is void
5. lossless readers: store the cursor (release)
6. ring the bell of the released

The frame ring is written by the receiver alone. A result place is written in two acts: the last unit of a frame's
tracking does steps 2 and 3, the linker adds its columns and does 4 to 6 (see `result_ring`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.shm.atomics import LINE, acquire_fence, full_fence, load, store
from engine.shm.segment import Memory, SegmentError, aligned
from engine.shm.steps import Steps, run
from engine.shm.wakeup import Bell, bell_at

INVALID = -1
READERS = 32
"""Lossless readers a ring has room for."""

# Words of a ring, each on a line of its own, and who writes it.
NEWEST = 0 * LINE  # the newest published place, -1 before the first: the writer
PUBLISHED_BELL = 1 * LINE  # rung after newest moved: anybody
RELEASED_BELL = 2 * LINE  # rung after a cursor moved: anybody
SLOTS = 3 * LINE  # slots, then bytes of a record, then bytes of a payload: the owner, once
CURSORS = 8 * LINE  # three lines for each lossless reader, see `cursors`: the reader, the writer, the owner
_RING_WORDS = CURSORS + 3 * LINE * READERS
_RING_BYTES = aligned(8 * _RING_WORDS, 4096)


class OverrunError(Exception):
    """The slot was reused before the reader was done: what was read of it is void."""

    def __init__(self, place: int) -> None:
        super().__init__(f"place {place} was overwritten before it was read")
        self.place = place


@dataclass(frozen=True)
class RingLayout:
    """What a ring's slots hold. All processes of a run compute it from the same settings."""

    slots: int
    record: np.dtype[Any]
    payload: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def payload_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.payload.itemsize

    @property
    def record_offset(self) -> int:
        return 64

    @property
    def payload_offset(self) -> int:
        """Payloads of a page or more begin on a page, smaller ones on a cache line."""
        return aligned(self.record_offset + self.record.itemsize, 4096 if self.payload_bytes >= 4096 else 64)

    @property
    def slot_bytes(self) -> int:
        return aligned(self.payload_offset + self.payload_bytes, 4096 if self.payload_bytes >= 4096 else 64)

    @property
    def bytes(self) -> int:
        return _RING_BYTES + self.slots * self.slot_bytes


class Entry(NamedTuple):
    """A place while it is looked at: `meta` is the record, `data` the payload; both read-only views."""

    place: int
    meta: Any
    data: npt.NDArray[Any]


class _View:
    """Steps 2 to 4 of reading: a class, because a generator costs three times as much."""

    __slots__ = ("_place", "_ring")

    def __init__(self, ring: Ring, place: int) -> None:
        self._ring = ring
        self._place = place

    def __enter__(self) -> Entry:
        ring, place = self._ring, self._place
        if not ring.is_there(place):
            raise OverrunError(place)
        record, payload = ring._read_only[place % ring.slots]
        return Entry(place, record[0], payload)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        acquire_fence()
        if not self._ring.is_there(self._place) and (error is None or isinstance(error, Exception)):
            raise OverrunError(self._place) from error


class Ring:
    """The slots of a segment and the reader's side of the protocol."""

    def __init__(self, segment: Memory, layout: RingLayout) -> None:
        self.segment = segment
        self.layout = layout
        self.words = segment.words(0, _RING_WORDS)
        if segment.owner:
            self.words[NEWEST] = INVALID
            self.words[CURSORS : CURSORS + 3 * LINE * READERS : 3 * LINE] = -1
            self.words[SLOTS : SLOTS + 3] = layout.slots, layout.record.itemsize, layout.payload_bytes
        elif tuple(self.words[SLOTS : SLOTS + 3]) != (layout.slots, layout.record.itemsize, layout.payload_bytes):
            raise SegmentError(  # another version's, or not laid out yet
                f"{segment.name}: {self.words[SLOTS]} slots of {self.words[SLOTS + 1]}+{self.words[SLOTS + 2]} "
                f"bytes, expected {layout.slots} of {layout.record.itemsize}+{layout.payload_bytes}"
            )
        self.published: Bell = bell_at(self.words, PUBLISHED_BELL)
        self.released: Bell = bell_at(self.words, RELEASED_BELL)
        # Made once: an array over a slot costs 2 us to make, and a frame passes here many times.
        self._numbers = [segment.words(self._offset(slot), 1) for slot in range(layout.slots)]
        self._records = [
            segment.array(self._offset(slot) + layout.record_offset, (1,), layout.record)
            for slot in range(layout.slots)
        ]
        self._payloads = [
            segment.array(self._offset(slot) + layout.payload_offset, layout.shape, layout.payload)
            for slot in range(layout.slots)
        ]
        self._read_only = [(_locked(r), _locked(p)) for r, p in zip(self._records, self._payloads)]
        if segment.owner:
            for number in self._numbers:
                number[0] = INVALID

    @property
    def slots(self) -> int:
        return self.layout.slots

    @property
    def newest(self) -> int:
        """The newest published place, -1 before the first."""
        return load(self.words, NEWEST)

    def is_there(self, place: int) -> bool:
        """Whether the slot of this place holds it now."""
        return load(self._numbers[place % self.slots], 0) == place

    def view(self, place: int) -> AbstractContextManager[Entry]:
        """Look at a published place without a copy.

        Raises `OverrunError` on entering if the place is gone, on leaving if it went meanwhile: then everything
        computed from it is to be thrown away, also an error that came of it.
        """
        return _View(self, place)

    def record(self, place: int) -> npt.NDArray[Any]:
        """The record of a place as an array of one, writable: for who owns the place at this moment."""
        return self._records[place % self.slots]

    def payload(self, place: int) -> npt.NDArray[Any]:
        """The payload of a place, writable: for who owns the place at this moment."""
        return self._payloads[place % self.slots]

    def open(self, place: int, name: str) -> Steps[None]:
        """Step 2 of writing, as "name.2"; step 3 is the caller's."""
        yield f"{name}.2"
        self.invalidate(place)
        yield f"{name}.3"

    def invalidate(self, place: int) -> None:
        """Step 2 of writing."""
        store(self._numbers[place % self.slots], 0, INVALID)
        full_fence()

    def commit(self, place: int, name: str) -> Steps[None]:
        """Steps 4 to 6 of writing, as "name.4" and so on."""
        yield f"{name}.4"
        store(self._numbers[place % self.slots], 0, place)
        yield f"{name}.5"
        store(self.words, NEWEST, place)
        yield f"{name}.6"
        self.published.ring()

    def publish(self, place: int, name: str) -> None:
        run(self.commit(place, name))

    def _offset(self, slot: int) -> int:
        return _RING_BYTES + slot * self.layout.slot_bytes


def _locked(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view
