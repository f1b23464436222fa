"""Even and odd columns apart: two neighbours lie in one word, and its halves are shifted out of it.

So a row is taken apart and joined again without a lane changing its place, and what is needed of a row's neighbours is
loaded once for both. For compiled kernels alone, as `engine.workers.lanes` is, and for little-endian machines: numba
knows no others.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import types

from engine.workers.lanes import Vector, in_all_lanes, intrinsic, llvm_of, loading

# mypy: allow-untyped-calls, allow-untyped-defs, ignore-errors

_WORDS = {8: types.uint16, 16: types.uint32}
_LEAST_DIGIT_ONE = 0x4B000000  # the bits of 2^23 in float32: what is put below them is added to it


@intrinsic
def load_halves(typingctx, array, y, x, like):
    """Words of two neighbours each, from array[y, x] on: as many as elements of another array fill 64 bytes."""
    words = Vector(_WORDS[array.dtype.bitwidth], 512 // like.dtype.bitwidth)
    return words(array, types.intp, types.intp, like), loading(array, words)


@intrinsic
def half_as_floats(typingctx, words, half, offset, like):
    """The lower (0) or upper (1) halves as floats of the type of an array; for float32, less an offset.

    Of float32: digits are put below those of 2^23, and 2^23 and the offset are taken off, which is exact.
    """
    lanes, bits = words.lanes, words.element.bitwidth // 2
    integers, floats = Vector(types.int32, lanes), Vector(like.dtype, lanes)

    def generate(context, builder, sig, args):
        whole = llvm_of(integers)

        def all_of(number):
            return ir.Constant(whole, [number] * lanes)

        value, half, offset = args[:3]
        if bits == 8:
            value = builder.zext(value, whole)
        places = builder.mul(context.cast(builder, half, sig.args[1], types.int32), ir.Constant(ir.IntType(32), bits))
        value = builder.lshr(value, in_all_lanes(builder, integers, places))
        value = builder.and_(value, all_of((1 << bits) - 1))
        if like.dtype == types.float64:
            return builder.sitofp(value, llvm_of(floats))
        value = builder.bitcast(builder.or_(value, all_of(_LEAST_DIGIT_ONE)), llvm_of(floats))
        taken = builder.sitofp(context.cast(builder, offset, sig.args[2], types.int32), ir.FloatType())
        taken = builder.fadd(taken, ir.Constant(ir.FloatType(), float(1 << 23)))
        return builder.fsub(value, in_all_lanes(builder, floats, taken))

    return floats(words, half, offset, like), generate


@intrinsic
def joined_halves(typingctx, lower, upper, like):
    """Integers of two vectors side by side, of the type of an array: their lowest bits."""
    element = like.dtype
    bits, lanes = element.bitwidth, lower.lanes

    def generate(context, builder, sig, args):
        whole = llvm_of(lower)
        low = builder.and_(args[0], ir.Constant(whole, [(1 << bits) - 1] * lanes))
        words = builder.or_(low, builder.shl(args[1], ir.Constant(whole, [bits] * lanes)))
        if bits == 8:
            words = builder.trunc(words, ir.VectorType(ir.IntType(16), lanes))
        return builder.bitcast(words, llvm_of(Vector(element, 2 * lanes)))

    return Vector(element, 2 * lanes)(lower, upper, like), generate
