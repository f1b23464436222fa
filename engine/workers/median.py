"""The median of a stack of frames, pixel by pixel: what stands still while particles move.

A few kilobytes of every frame lie in the cache together and are sorted there, neighbouring frames compared and swapped
in alternating pairs: as many rounds as there are frames, each of them whole vectors, no branch.
"""

from __future__ import annotations

# mypy: allow-untyped-defs, allow-untyped-calls
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.workers.compiled import kernel
from engine.workers.lanes import larger, load_like, select, store
from engine.workers.layout import aligned_zeros

_BLOCK = 512  # pixels sorted at a time


def median_of(stack: NDArray[Any]) -> NDArray[np.float32]:
    """The median of uint8 or uint16 frames, shape (frames, height, width); of an even number the mean of two.

    The interpreter's lock is not held. Raises ValueError for no frames, or another type.
    """
    if stack.ndim != 3 or stack.size == 0 or stack.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"the median of frames of uint8 or uint16 is made, not of {stack.dtype} {stack.shape}")
    flat = np.ascontiguousarray(stack).reshape(len(stack), -1)
    out = np.empty(flat.shape[1], np.float32)
    _medians(flat, aligned_zeros((len(stack), _BLOCK), stack.dtype), out)
    return out.reshape(stack.shape[1:])


@kernel
def _medians(stack, work, out):
    frames, pixels = stack.shape
    lanes = 64 // stack.itemsize
    for start in range(0, pixels, _BLOCK):
        count = min(_BLOCK, pixels - start)
        for n in range(frames):
            for x in range(count):
                work[n, x] = stack[n, start + x]
        for turn in range(frames):
            for n in range(turn & 1, frames - 1, 2):
                for x in range(0, count, lanes):
                    one, other = load_like(work, n, x, work), load_like(work, n + 1, x, work)
                    store(work, n, x, select(one < other, one, other))
                    store(work, n + 1, x, larger(one, other))
        middle, other_middle = (frames - 1) // 2, frames // 2
        for x in range(count):
            out[start + x] = np.float32(0.5) * (np.float32(work[middle, x]) + np.float32(work[other_middle, x]))
