"""How the kernels of this package are compiled: one rule for all.

Every pixel must be rounded alike wherever it falls, in the vector body of a loop or in its tail, in any tile: so no
fast-math, which would let the compiler reorder sums or fuse a multiplication with an addition. Divisions follow
IEEE 754 (no exceptions). The interpreter's lock is released. Compiled code is cached on disk, next to the sources or
in the folder that NUMBA_CACHE_DIR names.

Numba's cache looks at the file of the kernel alone. Runs and tests have a folder of their own for each version of the
sources; who changes a helper that a kernel calls from another module (`lanes`, `box_means`, `overview`) and tries it
without either empties the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "error_model": "numpy",
    "fastmath": False,
    "boundscheck": False,
}


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function of arrays and numbers, at its first call with given types."""
    return njit(function, **_OPTIONS)


def inlined(function: Callable[..., Any]) -> Any:
    """The same for a helper of few instructions, which becomes a part of every kernel that calls it."""
    return njit(function, forceinline=True, **_OPTIONS)
