"""Areas of a shared scratch memory, laid out once.

Each has a name, a type and a shape, and begins on a cache line of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

LINE = 64
PAGE = 4096


class Layout:
    """Where each area lies in a flat buffer of `size` bytes."""

    def __init__(self) -> None:
        self.size = 0
        self._areas: dict[str, tuple[int, np.dtype[Any], tuple[int, ...]]] = {}

    def add(self, name: str, dtype: DTypeLike, *shape: int) -> None:
        kind = np.dtype(dtype)
        self._areas[name] = (self.size, kind, shape)
        needed = kind.itemsize * int(np.prod(shape))
        self.size += -(-needed // LINE) * LINE

    def views(self, buffer: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """The areas as arrays on a buffer of at least `size` bytes."""
        if buffer.nbytes < self.size:
            raise ValueError(f"scratch memory has {buffer.nbytes} bytes; {self.size} are needed")
        return {
            name: np.ndarray(shape, dtype=kind, buffer=buffer, offset=offset)
            for name, (offset, kind, shape) in self._areas.items()
        }


def aligned_zeros(shape: tuple[int, ...], dtype: DTypeLike, flow: int = 1) -> NDArray[Any]:
    """Zeros whose rows all begin on a cache line: a vector that straddles two lines costs twice.

    Rows are lengthened so that each begins one line before a multiple of a page after the last (flow 1), or one line
    after it (flow -1). A load waits for an older store to the same place of any page; so the results of a row belong
    into later rows with flow 1, into earlier ones with flow -1.
    """
    kind = np.dtype(dtype)
    *rest, columns = shape
    row = -(-columns * kind.itemsize // LINE) * LINE
    if len(shape) > 1:
        row += (-flow * LINE - row) % PAGE
    full = (*rest, row // kind.itemsize)
    buffer = np.zeros(int(np.prod(full)) * kind.itemsize + LINE, np.uint8)
    start = -buffer.ctypes.data % LINE
    return np.ndarray(full, kind, buffer=buffer, offset=start)


def zeros_on_a_line(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Zeros without gaps, of which the first begins on a cache line."""
    kind = np.dtype(dtype)
    size = kind.itemsize * int(np.prod(shape))
    buffer = np.zeros(size + LINE, np.uint8)
    start = -buffer.ctypes.data % LINE
    return buffer[start : start + size].view(kind).reshape(shape)
