"""Across the lanes of a vector: from many numbers to one or to bits, neighbours added up, lanes moved.

For compiled kernels alone, as `engine.workers.lanes` is.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types

from engine.workers.lanes import Vector, intrinsic, is_float, llvm_of

# mypy: allow-untyped-calls, allow-untyped-defs, ignore-errors


@intrinsic
def bits(typingctx, mask):
    """The mask as a number: bit k is lane k."""

    def generate(context, builder, sig, args):
        number = builder.bitcast(args[0], ir.IntType(mask.lanes))
        return number if mask.lanes == 64 else builder.zext(number, ir.IntType(64))

    return types.uint64(mask), generate


@intrinsic
def trailing_zeros(typingctx, number):
    """How many of the lowest bits of a number are 0; the number itself is not."""

    def generate(context, builder, sig, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


@intrinsic
def count_ones(typingctx, number):
    """How many bits of a number are 1."""

    def generate(context, builder, sig, args):
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), generate


def _reduction(name: str):
    @intrinsic
    def reduce(typingctx, vector):
        def generate(context, builder, sig, args):
            kind = llvm_of(vector)
            function = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(kind.element, [kind]),
                f"llvm.vector.reduce.{name}.v{vector.lanes}i{vector.element.bitwidth}",
            )
            return builder.call(function, args)

        return vector.element(vector), generate

    return reduce


most = _reduction("umax")


@intrinsic
def total(typingctx, vector):
    """The sum of all lanes: halves are added until one is left, an order that no compiler changes."""

    def generate(context, builder, sig, args):
        value, lanes = args[0], vector.lanes
        while lanes > 1:
            lanes //= 2
            half = [
                builder.shuffle_vector(
                    value,
                    ir.Constant(value.type, ir.Undefined),
                    ir.Constant(ir.VectorType(ir.IntType(32), lanes), list(range(first, first + lanes))),
                )
                for first in (0, lanes)
            ]
            value = builder.fadd(*half) if is_float(vector) else builder.add(*half)
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return vector.element(vector), generate


@intrinsic
def pair_sums(typingctx, one, other):
    """Products of int16, those of lanes 2k and 2k + 1 added up: half as many int32 (one instruction on x86)."""
    wide = Vector(types.int32, one.lanes)

    def generate(context, builder, sig, args):
        a, b = (builder.sext(each, llvm_of(wide)) for each in args)
        products = builder.mul(a, b, flags=["nsw"])
        halves = [
            builder.shuffle_vector(
                products,
                ir.Constant(products.type, ir.Undefined),
                ir.Constant(ir.VectorType(ir.IntType(32), one.lanes // 2), list(range(first, one.lanes, 2))),
            )
            for first in (0, 1)
        ]
        return builder.add(*halves)

    return Vector(types.int32, one.lanes // 2)(one, other), generate


@intrinsic(prefer_literal=True)
def moved_up(typingctx, vector, places):
    """Every number some lanes further up; zeros enter."""

    def generate(context, builder, sig, args):
        lanes, by = vector.lanes, places.literal_value
        order = [lanes + k if k < by else k - by for k in range(lanes)]  # from `lanes` on: of the second vector, zeros
        zeros = ir.Constant(llvm_of(vector), None)
        return builder.shuffle_vector(args[0], zeros, ir.Constant(ir.VectorType(ir.IntType(32), lanes), order))

    return vector(vector, places), generate


@intrinsic
def last_in_all(typingctx, vector):
    """The number of the last lane in all lanes."""

    def generate(context, builder, sig, args):
        order = ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), [vector.lanes - 1] * vector.lanes)
        return builder.shuffle_vector(args[0], ir.Constant(llvm_of(vector), ir.Undefined), order)

    return vector(vector), generate
