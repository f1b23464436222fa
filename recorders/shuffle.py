"""HDF5's shuffle filter: the first bytes of all pixels, then the second ones. Noise shrinks a third better after it."""

from __future__ import annotations

# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="misc, untyped-decorator"
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


def shuffled(image: NDArray[Any]) -> NDArray[np.uint8]:
    """The bytes of an image of uint8 or uint16 in the order of the filter; many threads may do it at once."""
    flat = np.ascontiguousarray(image).reshape(-1)
    if flat.itemsize == 1:
        return flat.view(np.uint8)
    out = np.empty(2 * len(flat), np.uint8)
    _split(flat, out[: len(flat)], out[len(flat) :])
    return out


@njit(nogil=True, cache=True)
def _split(pixels, low, high):
    for i in range(len(pixels)):
        low[i] = pixels[i] & 255
        high[i] = pixels[i] >> 8


def unshuffled(data: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """The image again; many threads may do it at once."""
    flat = np.frombuffer(data, np.uint8)
    if dtype.itemsize == 1:
        return flat.view(dtype).reshape(shape)
    out = np.empty(len(flat) // 2, np.uint16)
    _join(flat[: len(out)], flat[len(out) :], out)
    return out.view(dtype).reshape(shape)


@njit(nogil=True, cache=True)
def _join(low, high, out):
    for i in range(len(out)):
        out[i] = low[i] | high[i] << 8
