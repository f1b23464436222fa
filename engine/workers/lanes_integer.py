"""What only vectors of integers can do. For compiled kernels alone, as `engine.workers.lanes` is."""

from __future__ import annotations

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba.core import types

from engine.workers.lanes import Vector, by_name, intrinsic, llvm_of

# mypy: allow-untyped-calls, allow-untyped-defs, ignore-errors


@intrinsic
def plus_at_most(typingctx, one, other):
    """The sum of unsigned numbers, or their largest one where it does not fit."""

    def generate(context, builder, sig, args):
        name = f"llvm.uadd.sat.v{one.lanes}i{one.element.bitwidth}"
        return by_name(builder, name, llvm_of(one), args)

    return one(one, other), generate


@intrinsic
def upper_product(typingctx, one, other):
    """The upper half of products of uint16."""
    wide = Vector(types.int32, one.lanes)
    one_instruction = one.lanes == 32 and get_host_cpu_features().get("avx512bw", False)

    def generate(context, builder, sig, args):
        kind = llvm_of(one)
        if one_instruction:  # which LLVM does not see in 32 lanes of what follows
            return by_name(builder, "llvm.x86.avx512.pmulhu.w.512", kind, args)
        a, b = (builder.zext(value, llvm_of(wide)) for value in args)
        places = ir.Constant(llvm_of(wide), [16] * one.lanes)
        return builder.trunc(builder.lshr(builder.mul(a, b), places), kind)

    return one(one, other), generate


def _shift(name: str):
    @intrinsic
    def shift(typingctx, vector, places):
        def generate(context, builder, sig, args):
            return getattr(builder, name)(*args)

        return vector(vector, places), generate

    return shift


up_by = _shift("shl")  # lane by lane, by less than the bits of a lane
down_by = _shift("lshr")
