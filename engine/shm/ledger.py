"""A ledger: records appended by one process, read by any, kept until the ring of them comes round.

What is seen if the writer dies just before the step:

1. write the record at count mod size      nothing: count says that it is not there
2. store count + 1 (release): the commit   the same
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engine.shm.atomics import LINE, acquire_fence, full_fence, load, store
from engine.shm.segment import Memory
from engine.shm.steps import Steps, run


class LedgerOverrunError(Exception):
    """Records were overwritten before they were read."""


class Ledger:
    """Fixed records of a dtype; `append` by the owner of the ledger alone."""

    def __init__(self, segment: Memory, offset: int, size: int, record: np.dtype[Any]) -> None:
        self._words = segment.words(offset, LINE)
        self._records = segment.array(offset + 8 * LINE, (size,), record)
        self._size = size

    @staticmethod
    def bytes(size: int, record: np.dtype[Any]) -> int:
        return 8 * LINE + size * record.itemsize

    @property
    def count(self) -> int:
        """Records appended since the run began."""
        return load(self._words, 0)

    def append(self, *values: Any) -> None:
        """Append one record, its fields in order."""
        run(self._append(values))

    def _append(self, values: tuple[Any, ...]) -> Steps[None]:
        count = self.count
        yield "ledger.1"
        full_fence()  # a reader who meets the new record also meets the count that says so
        self._records[count % self._size] = values
        yield "ledger.2"
        store(self._words, 0, count + 1)

    def read(self, first: int, end: int) -> npt.NDArray[Any]:
        """Copies of the records `first` to `end - 1`. Raises `LedgerOverrunError` if some are gone."""
        if first >= end:
            return np.empty(0, self._records.dtype)
        copies = self._records[np.arange(first, end) % self._size]
        acquire_fence()
        if self.count - first >= self._size:
            raise LedgerOverrunError(f"records {first} to {self.count - self._size} are gone")
        return copies

    def last(self) -> npt.NDArray[Any] | None:
        """The newest record as an array of one (a copy), or None."""
        count = self.count
        return self.read(count - 1, count) if count else None
