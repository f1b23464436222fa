"""Numbered texts: one writer publishes version after version, anybody looks one up by its number.

The newest `KEPT` versions are there; a slot is number mod KEPT. Publishing version v, and what is seen if the writer
dies just before the step:

1. store the slot's number INVALID, full fence    version v - KEPT can still be read
2. write length and text                          version v - KEPT is gone; nobody asks for v yet
3. store the slot's number v                      the same
4. store newest = v: the commit                   v is complete, but not in force

A writer that starts again does all steps over for newest + 1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.shm.atomics import LINE, Words, acquire_fence, full_fence, load, store
from engine.shm.segment import Memory
from engine.shm.steps import Steps, run

KEPT = 256
TEXT_BYTES = 4096 - 16
_INVALID = -1
_SLOT_BYTES = 4096
_NEWEST = 0


class VersionGoneError(LookupError):
    """The version is older than those that are kept, or was never published."""


class Versions:
    """See the module. `words` of the segment from `offset` on; the owner publishes version 1 at once, empty."""

    def __init__(self, segment: Memory, offset: int) -> None:
        self._words: Words = segment.words(offset, LINE)
        first = offset + _SLOT_BYTES
        self._numbers: list[Words] = [segment.words(first + i * _SLOT_BYTES, 2) for i in range(KEPT)]
        self._texts: list[npt.NDArray[np.uint8]] = [
            segment.array(first + i * _SLOT_BYTES + 16, (TEXT_BYTES,), np.uint8) for i in range(KEPT)
        ]
        if segment.owner:
            for number in self._numbers:
                number[0] = _INVALID
            self.publish(b"")

    @staticmethod
    def size_bytes() -> int:
        """Size in the segment; `offset` is a multiple of 4096."""
        return (KEPT + 1) * _SLOT_BYTES

    @property
    def newest(self) -> int:
        """The version in force; 1 is the first."""
        return load(self._words, _NEWEST)

    def publish(self, text: bytes) -> int:
        """Put the next version into force (the one writer); its number. Raises ValueError for more than fits."""
        return run(self.publication(text))

    def publication(self, text: bytes) -> Steps[int]:
        """Steps 1 to 4."""
        if len(text) > TEXT_BYTES:
            raise ValueError(f"a version of {len(text)} bytes; there is room for {TEXT_BYTES}")
        version = self.newest + 1
        number, room = self._numbers[version % KEPT], self._texts[version % KEPT]
        yield "version.1"
        store(number, 0, _INVALID)
        full_fence()
        yield "version.2"
        number[1] = len(text)
        room[: len(text)] = np.frombuffer(text, np.uint8)
        yield "version.3"
        store(number, 0, version)
        yield "version.4"
        store(self._words, _NEWEST, version)
        return version

    def text(self, version: int) -> bytes:
        """The text of a version. Raises VersionGoneError."""
        number, room = self._numbers[version % KEPT], self._texts[version % KEPT]
        if load(number, 0) == version:
            text = room[: int(number[1])].tobytes()
            acquire_fence()
            if load(number, 0) == version:
                return text
        raise VersionGoneError(f"version {version} of the settings is not kept; the newest is {self.newest}")
