"""Atomic words: the only way in which two processes of a run talk about the same eight bytes.

A *word* is an aligned int64 in a segment. LLVM emits the instructions; `load` is an acquire, `store` a release, `add`
and `swap_if` are sequentially consistent. A plain array read in a wait loop is hoisted out of it by the compiler and
never read again, so nothing else may touch a word that another process writes.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import extending, njit, types
from numba.core import cgutils as _cgutils

Words = npt.NDArray[np.int64]
"""A contiguous one-dimensional int64 view of a segment."""

# numba's types describe neither of these.
_intrinsic: Any = extending.intrinsic
cgutils: Any = _cgutils

LINE = 8
"""Words in a cache line. Each hot word has a line of its own."""


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    view = context.make_array(array_type)(context, builder, array)
    return cgutils.get_item_pointer(context, builder, array_type, view, [index], wraparound=False)


@_intrinsic
def load_word(typingctx: Any, words: Any, index: Any) -> Any:
    """Load one word, acquire: what its writer wrote before storing it is visible afterwards (for kernels)."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_pointer(context, builder, signature.args[0], args[0], args[1]), "acquire", 8)

    return types.int64(words, types.intp), generate


@_intrinsic
def _store_word(typingctx: Any, words: Any, index: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store_atomic(args[2], _pointer(context, builder, signature.args[0], args[0], args[1]), "release", 8)
        return context.get_dummy_value()

    return types.void(words, types.intp, types.int64), generate


@_intrinsic
def _add_word(typingctx: Any, words: Any, index: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1])
        return builder.atomic_rmw("add", pointer, args[2], "seq_cst")

    return types.int64(words, types.intp, types.int64), generate


@_intrinsic
def _swap_word_if(typingctx: Any, words: Any, index: Any, seen: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1])
        pair = builder.cmpxchg(pointer, args[2], args[3], "seq_cst", "seq_cst")
        return builder.zext(builder.extract_value(pair, 1), ir.IntType(64))

    return types.int64(words, types.intp, types.int64, types.int64), generate


@_intrinsic
def _acquire_fence(typingctx: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.fence("acquire")
        return context.get_dummy_value()

    return types.void(), generate


@_intrinsic
def _full_fence(typingctx: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


WORDS_TYPE: Any = types.Array(types.int64, 1, "C")
"""`Words` as numba knows it: kernels that name their types are compiled when imported, not in the middle of a run."""


@njit(types.int64(WORDS_TYPE, types.intp), cache=True)
def _load(words: Any, index: Any) -> Any:
    return load_word(words, index)


@njit(types.void(WORDS_TYPE, types.intp, types.int64), cache=True)
def _store(words: Any, index: Any, value: Any) -> None:
    _store_word(words, index, value)


@njit(types.int64(WORDS_TYPE, types.intp, types.int64), cache=True)
def _add(words: Any, index: Any, value: Any) -> Any:
    return _add_word(words, index, value)


@njit(types.int64(WORDS_TYPE, types.intp, types.int64, types.int64), cache=True)
def _swap_if(words: Any, index: Any, seen: Any, value: Any) -> Any:
    return _swap_word_if(words, index, seen, value)


@njit(types.void(), cache=True)
def _fence() -> None:
    _acquire_fence()


@njit(types.void(), cache=True)
def _fence_fully() -> None:
    _full_fence()


def load(words: Words, index: int) -> int:
    """The word at `index`, acquire."""
    return cast(int, _load(words, index))


def store(words: Words, index: int, value: int) -> None:
    """Store the word at `index`, release: everything written before it is visible to who loads it."""
    _store(words, index, value)


def add(words: Words, index: int, value: int) -> int:
    """Add to the word at `index`; the value before."""
    return cast(int, _add(words, index, value))


def swap_if(words: Words, index: int, seen: int, value: int) -> bool:
    """Store `value` if the word still is `seen` (compare and swap); whether it was."""
    return bool(_swap_if(words, index, seen, value))


def acquire_fence() -> None:
    """No later load is done before an earlier one: stands between using a payload and checking its number again."""
    _fence()


def full_fence() -> None:
    """Nothing written after it is seen before what was written before it: stands between invalidating and writing.

    A release store alone does not hold back what follows it (on ARM; on x86 the streaming stores of a large copy).
    """
    _fence_fully()
