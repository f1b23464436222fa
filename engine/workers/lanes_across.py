"""Across the lanes of a vector: from many numbers to one or to bits, neighbours added up, lanes moved.

For compiled kernels alone, as `engine.workers.lanes` is.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import types

from engine.workers.lanes import Vector, by_name, intrinsic, is_float, llvm_of

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
            whole = f"llvm.vector.reduce.{name}.v{vector.lanes}i{vector.element.bitwidth}"
            return by_name(builder, whole, llvm_of(vector).element, args)

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


def _even_and_odd(builder, value):
    """The lanes with even numbers, and those with odd ones."""
    lanes, nothing = value.type.count, ir.Constant(value.type, ir.Undefined)
    orders = (list(range(first, lanes, 2)) for first in (0, 1))
    kind = ir.VectorType(ir.IntType(32), lanes // 2)
    return [builder.shuffle_vector(value, nothing, ir.Constant(kind, order)) for order in orders]


def _every_second(first: int):
    @intrinsic
    def lanes_of(typingctx, one, other):
        def generate(context, builder, sig, args):
            order = ir.Constant(ir.VectorType(ir.IntType(32), one.lanes), list(range(first, 2 * one.lanes, 2)))
            return builder.shuffle_vector(*args, order)

        return one(one, other), generate

    return lanes_of


even_lanes = _every_second(0)
"""Of two vectors, one behind the other, the lanes with even numbers."""
odd_lanes = _every_second(1)
"""And those with odd ones."""


@intrinsic
def pair_sums(typingctx, one, other):
    """Products of int16, those of lanes 2k and 2k + 1 added up: half as many int32 (one instruction on x86)."""
    wide = Vector(types.int32, one.lanes)

    def generate(context, builder, sig, args):
        a, b = (builder.sext(each, llvm_of(wide)) for each in args)
        return builder.add(*_even_and_odd(builder, builder.mul(a, b, flags=["nsw"])))

    return Vector(types.int32, one.lanes // 2)(one, other), generate


@intrinsic
def masked_sums(typingctx, vector, inside):
    """Numbers where a mask of int16 is -1 (elsewhere it is 0), lanes 2k and 2k + 1 added up: half as many.

    Of floats, float64. Of integers, int32; those of 16 bits less 2^15 each, and all with the other sign.
    """
    lanes = vector.lanes // 2
    wide = Vector(types.float64 if is_float(vector) else types.int32, lanes)

    def generate(context, builder, sig, args):
        value, mask = args
        if is_float(vector):
            within = builder.icmp_signed("!=", mask, ir.Constant(mask.type, None))
            value = builder.select(within, value, ir.Constant(value.type, None))
            if vector.element.bitwidth == 32:
                value = builder.fpext(value, llvm_of(Vector(types.float64, vector.lanes)))
            return builder.fadd(*_even_and_odd(builder, value))
        small = mask.type
        if vector.element.bitwidth == 16:
            value = builder.xor(value, ir.Constant(small, [-(1 << 15)] * vector.lanes))
        else:
            value = builder.zext(value, small)
        all_wide = llvm_of(Vector(types.int32, vector.lanes))
        products = builder.mul(builder.sext(value, all_wide), builder.sext(mask, all_wide), flags=["nsw"])
        return builder.add(*_even_and_odd(builder, products))

    return wide(vector, inside), generate


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


@intrinsic
def largest_of_fours(typingctx, vector):
    """The largest of every four neighbours: a fourth as many. Of unsigned numbers."""
    narrow = Vector(vector.element, vector.lanes // 4)

    def generate(context, builder, sig, args):
        own, bits_of_one = llvm_of(vector), vector.element.bitwidth
        words = ir.VectorType(ir.IntType(4 * bits_of_one), narrow.lanes)
        value = args[0]
        for neighbours in (1, 2):
            places = ir.Constant(words, [neighbours * bits_of_one] * narrow.lanes)
            moved = builder.bitcast(builder.lshr(builder.bitcast(value, words), places), own)
            value = builder.select(builder.icmp_unsigned(">", value, moved), value, moved)
        return builder.trunc(builder.bitcast(value, words), llvm_of(narrow))

    return narrow(vector), generate


@intrinsic
def sums_of_fours(typingctx, vector):
    """The sum of every four neighbours, uint16: a fourth as many int32."""
    narrow = Vector(types.int32, vector.lanes // 4)

    def generate(context, builder, sig, args):
        words = ir.VectorType(ir.IntType(64), narrow.lanes)
        lower = ir.Constant(words, [0x0000FFFF0000FFFF] * narrow.lanes)
        value = builder.bitcast(args[0], words)
        one, two = (ir.Constant(words, [places] * narrow.lanes) for places in (16, 32))
        value = builder.add(builder.and_(value, lower), builder.and_(builder.lshr(value, one), lower))
        return builder.trunc(builder.add(value, builder.lshr(value, two)), llvm_of(narrow))

    return narrow(vector), generate
