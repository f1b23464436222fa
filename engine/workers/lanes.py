"""Vectors for kernels: a few lanes of numbers that are loaded, computed and stored together.

The compiler's own vectorising gives up where rows may overlap or loops are short; here it has no choice. A *vector* has
one element type and a number of lanes; on processors with narrower registers LLVM splits it. Values are rounded lane by
lane as scalars are. For compiled kernels alone: outside of them these functions raise.

    v = load(image, y, x, 16)        # 16 elements of row y from column x on: unaligned, unchecked
    store(out, y, x, as_f32(v) * splat(np.float32(0.5), 16))
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic as _intrinsic
from numba.extending import lower_builtin, models, register_model

# mypy: allow-untyped-calls, allow-untyped-defs, ignore-errors

intrinsic: Any = _intrinsic  # numba's types describe only how its inside is written, not how it is called


class Vector(types.Type):
    """Lanes of one element type."""

    def __init__(self, element: types.Type, lanes: int) -> None:
        self.element, self.lanes = element, lanes
        super().__init__(name=f"Vector({element}, {lanes})")


def _scalar(element: types.Type) -> ir.Type:
    if element == types.boolean:
        return ir.IntType(1)
    if isinstance(element, types.Float):
        return ir.FloatType() if element.bitwidth == 32 else ir.DoubleType()
    return ir.IntType(element.bitwidth)


def _llvm(vector: Vector) -> ir.VectorType:
    return ir.VectorType(_scalar(vector.element), vector.lanes)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Vector) -> None:
        super().__init__(dmm, fe_type, _llvm(fe_type))


def _is_float(vector: Vector) -> bool:
    return isinstance(vector.element, types.Float)


# --- memory --------------------------------------------------------------------------------------------------------


def _address(context: Any, builder: Any, kind: types.Array, array: Any, indices: list[Any]) -> Any:
    view = context.make_array(kind)(context, builder, array)
    return cgutils.get_item_pointer(context, builder, kind, view, indices, wraparound=False)


def _index_types(array: types.Array, given: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(types.intp for _ in given[: array.ndim])


@intrinsic(prefer_literal=True)
def load(typingctx, array, y, x, lanes):
    """`lanes` elements of array[y] from x on."""
    vector = Vector(array.dtype, lanes.literal_value)

    def generate(context, builder, sig, args):
        pointer = _address(context, builder, sig.args[0], args[0], [args[1], args[2]])
        kind = _llvm(vector)
        value = builder.load(builder.bitcast(pointer, kind.as_pointer()))
        value.align = array.dtype.bitwidth // 8
        return value

    return vector(array, types.intp, types.intp, lanes), generate


def _lanes_of(array: types.Array) -> int:
    return 512 // array.dtype.bitwidth


@intrinsic
def load_like(typingctx, array, y, x, like):
    """As many elements of array[y] from x on as fill 64 bytes of the type of another array."""
    vector = Vector(array.dtype, _lanes_of(like))

    def generate(context, builder, sig, args):
        pointer = _address(context, builder, sig.args[0], args[0], [args[1], args[2]])
        value = builder.load(builder.bitcast(pointer, _llvm(vector).as_pointer()))
        value.align = array.dtype.bitwidth // 8
        return value

    return vector(array, types.intp, types.intp, like), generate


@intrinsic
def store(typingctx, array, y, x, vector):
    """Write all lanes to array[y] from x on."""
    if vector.element != array.dtype:
        raise TypeError(f"a {vector} cannot be stored in an array of {array.dtype}")

    def generate(context, builder, sig, args):
        pointer = _address(context, builder, sig.args[0], args[0], [args[1], args[2]])
        instruction = builder.store(args[3], builder.bitcast(pointer, _llvm(vector).as_pointer()))
        instruction.align = array.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, vector), generate


def _splat(builder: Any, vector: Vector, value: Any) -> Any:
    kind = _llvm(vector)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), [0] * vector.lanes)
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), zeros)


@intrinsic(prefer_literal=True)
def splat(typingctx, value, lanes):
    """The same number in all lanes."""
    element = types.unliteral(value)
    vector = Vector(element, lanes.literal_value)

    def generate(context, builder, sig, args):
        return _splat(builder, vector, args[0])

    return vector(element, lanes), generate


@intrinsic
def splat_like(typingctx, value, like):
    """The same number in all lanes of a vector that fills 64 bytes of the type of an array."""
    vector = Vector(like.dtype, _lanes_of(like))

    def generate(context, builder, sig, args):
        return _splat(builder, vector, context.cast(builder, args[0], sig.args[0], like.dtype))

    return vector(value, like), generate


@intrinsic(prefer_literal=True)
def lane(typingctx, vector, index):
    """One number of a vector."""

    def generate(context, builder, sig, args):
        return builder.extract_element(args[0], ir.Constant(ir.IntType(32), index.literal_value))

    return vector.element(vector, index), generate


# --- arithmetic ----------------------------------------------------------------------------------------------------


def _binary(function: Callable[..., Any], floats: str | None, integers: str) -> None:
    """Give an operator a meaning for two vectors of one kind."""

    @infer_global(function)
    class _Typing(AbstractTemplate):
        def generic(self, args, kws):
            if len(args) == 2 and isinstance(args[0], Vector) and args[0] == args[1]:
                return signature(args[0], *args)
            return None

    @lower_builtin(function, Vector, Vector)
    def _lower(context, builder, sig, args):
        name = floats if _is_float(sig.args[0]) else integers
        return getattr(builder, name)(*args)


for _plain, _in_place, _floats, _integers in (
    (operator.add, operator.iadd, "fadd", "add"),
    (operator.sub, operator.isub, "fsub", "sub"),
    (operator.mul, operator.imul, "fmul", "mul"),
    (operator.and_, operator.iand, None, "and_"),
    (operator.or_, operator.ior, None, "or_"),
    (operator.xor, operator.ixor, None, "xor"),
):
    _binary(_plain, _floats, _integers)
    _binary(_in_place, _floats, _integers)


def _comparison(function: Callable[..., Any], sign: str) -> None:
    @infer_global(function)
    class _Typing(AbstractTemplate):
        def generic(self, args, kws):
            if len(args) == 2 and isinstance(args[0], Vector) and args[0] == args[1]:
                return signature(Vector(types.boolean, args[0].lanes), *args)
            return None

    @lower_builtin(function, Vector, Vector)
    def _lower(context, builder, sig, args):
        element = sig.args[0].element
        if isinstance(element, types.Float):
            return builder.fcmp_ordered(sign, *args)
        return (builder.icmp_signed if element.signed else builder.icmp_unsigned)(sign, *args)


_comparison(operator.ge, ">=")
_comparison(operator.gt, ">")
_comparison(operator.lt, "<")
_comparison(operator.le, "<=")
_comparison(operator.eq, "==")
_comparison(operator.ne, "!=")


@intrinsic
def select(typingctx, mask, one, other):
    """Lanes of `one` where the mask is set, of `other` elsewhere."""

    def generate(context, builder, sig, args):
        return builder.select(*args)

    return one(mask, one, other), generate


@intrinsic
def larger(typingctx, one, other):
    """The larger of two, lane by lane."""

    def generate(context, builder, sig, args):
        if _is_float(one):
            mask = builder.fcmp_ordered(">", *args)
        else:
            mask = (builder.icmp_signed if one.element.signed else builder.icmp_unsigned)(">", *args)
        return builder.select(mask, *args)

    return one(one, other), generate


# --- conversions -----------------------------------------------------------------------------------------------------


def _convert(builder: Any, vector: Vector, element: types.Type, value: Any) -> Any:
    kind, source = _llvm(Vector(element, vector.lanes)), vector.element
    signed = getattr(source, "signed", False)
    if isinstance(source, types.Float):
        if isinstance(element, types.Float):
            if source.bitwidth == element.bitwidth:
                return value
            return (builder.fpext if source.bitwidth < element.bitwidth else builder.fptrunc)(value, kind)
        return (builder.fptosi if element.signed else builder.fptoui)(value, kind)
    if isinstance(element, types.Float):
        return (builder.sitofp if signed else builder.uitofp)(value, kind)
    width = 1 if source == types.boolean else source.bitwidth
    if width == element.bitwidth:
        return value
    if width > element.bitwidth:
        return builder.trunc(value, kind)
    return (builder.sext if signed else builder.zext)(value, kind)


def _converter(element: types.Type):
    @intrinsic
    def convert(typingctx, vector):
        def generate(context, builder, sig, args):
            return _convert(builder, vector, element, args[0])

        return Vector(element, vector.lanes)(vector), generate

    return convert


as_u8 = _converter(types.uint8)
as_u16 = _converter(types.uint16)
as_i16 = _converter(types.int16)
as_i32 = _converter(types.int32)
as_i64 = _converter(types.int64)
as_f32 = _converter(types.float32)
as_f64 = _converter(types.float64)


@intrinsic
def as_sums(typingctx, vector):
    """Wide enough to be added up: int32 for small integers, float64 for floats."""
    element = types.float64 if _is_float(vector) else types.int32

    def generate(context, builder, sig, args):
        return _convert(builder, vector, element, args[0])

    return Vector(element, vector.lanes)(vector), generate


@intrinsic
def as_floats(typingctx, vector, offset, like):
    """Integers as floats of the type of an array; for float32, whose digits are few, less an offset (an int32)."""
    single = like.dtype == types.float32

    def generate(context, builder, sig, args):
        value = args[0]
        if single:
            value = builder.sub(
                value, _splat(builder, vector, context.cast(builder, args[1], sig.args[1], types.int32))
            )
        return _convert(builder, vector, like.dtype, value)

    return Vector(like.dtype, vector.lanes)(vector, offset, like), generate


@intrinsic
def as_elements_of(typingctx, vector, array):
    """Converted to the element type of an array."""

    def generate(context, builder, sig, args):
        return _convert(builder, vector, array.dtype, args[0])

    return Vector(array.dtype, vector.lanes)(vector, array), generate


# --- across lanes ----------------------------------------------------------------------------------------------------


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
            kind = _llvm(vector)
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
            value = builder.fadd(*half) if _is_float(vector) else builder.add(*half)
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return vector.element(vector), generate


@intrinsic
def pair_sums(typingctx, one, other):
    """Products of int16, those of lanes 2k and 2k + 1 added up: half as many int32 (one instruction on x86)."""
    wide = Vector(types.int32, one.lanes)

    def generate(context, builder, sig, args):
        a, b = (builder.sext(each, _llvm(wide)) for each in args)
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
        zeros = ir.Constant(_llvm(vector), None)
        return builder.shuffle_vector(args[0], zeros, ir.Constant(ir.VectorType(ir.IntType(32), lanes), order))

    return vector(vector, places), generate


@intrinsic
def last_in_all(typingctx, vector):
    """The number of the last lane in all lanes."""

    def generate(context, builder, sig, args):
        order = ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), [vector.lanes - 1] * vector.lanes)
        return builder.shuffle_vector(args[0], ir.Constant(_llvm(vector), ir.Undefined), order)

    return vector(vector), generate


@intrinsic
def splat_of(typingctx, value, vector):
    """The same number in all lanes of a vector of the same kind."""

    def generate(context, builder, sig, args):
        return _splat(builder, vector, context.cast(builder, args[0], sig.args[0], vector.element))

    return vector(value, vector), generate


@intrinsic
def zeros_of(typingctx, vector):
    """A vector of the same kind, all zero."""

    def generate(context, builder, sig, args):
        return ir.Constant(_llvm(vector), None)

    return vector(vector), generate


def _shift(name: str):
    @intrinsic
    def shift(typingctx, vector, places):
        def generate(context, builder, sig, args):
            return getattr(builder, name)(*args)

        return vector(vector, places), generate

    return shift


up_by = _shift("shl")  # lane by lane, by less than the bits of a lane
down_by = _shift("lshr")
