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


def llvm_of(vector: Vector) -> ir.VectorType:
    return ir.VectorType(_scalar(vector.element), vector.lanes)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Vector) -> None:
        super().__init__(dmm, fe_type, llvm_of(fe_type))


def is_float(vector: Vector) -> bool:
    return isinstance(vector.element, types.Float)


def by_name(builder: Any, name: str, result: ir.Type, args: list[Any]) -> Any:
    """What one of LLVM's own functions makes of its arguments."""
    kind = ir.FunctionType(result, [each.type for each in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


# --- memory --------------------------------------------------------------------------------------------------------


def _address(context: Any, builder: Any, kind: types.Array, array: Any, indices: list[Any]) -> Any:
    view = context.make_array(kind)(context, builder, array)
    return cgutils.get_item_pointer(context, builder, kind, view, indices, wraparound=False)


def loading(array: types.Array, vector: Vector) -> Callable[..., Any]:
    """Code for a load of so much of array[y] from x on; the first arguments are array, y and x."""

    def generate(context, builder, sig, args):
        pointer = _address(context, builder, sig.args[0], args[0], [args[1], args[2]])
        value = builder.load(builder.bitcast(pointer, llvm_of(vector).as_pointer()))
        value.align = array.dtype.bitwidth // 8
        return value

    return generate


@intrinsic(prefer_literal=True)
def load(typingctx, array, y, x, lanes):
    """`lanes` elements of array[y] from x on."""
    vector = Vector(array.dtype, lanes.literal_value)
    return vector(array, types.intp, types.intp, lanes), loading(array, vector)


def _lanes_of(array: types.Array) -> int:
    return 512 // array.dtype.bitwidth


@intrinsic
def prefetch(typingctx, array, y, x):
    """Ask for the cache line of array[y, x]; it may lie anywhere."""

    def generate(context, builder, sig, args):
        pointer = _address(context, builder, sig.args[0], args[0], [args[1], args[2]])
        number = ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, number, number, number]),
            "llvm.prefetch.p0i8",
        )
        read, keep, data = (ir.Constant(number, value) for value in (0, 3, 1))
        builder.call(function, [builder.bitcast(pointer, cgutils.voidptr_t), read, keep, data])
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp), generate


@intrinsic
def load_like(typingctx, array, y, x, like):
    """As many elements of array[y] from x on as fill 64 bytes of the type of another array."""
    vector = Vector(array.dtype, _lanes_of(like))
    return vector(array, types.intp, types.intp, like), loading(array, vector)


@intrinsic
def store(typingctx, array, y, x, vector):
    """Write all lanes to array[y] from x on."""
    if vector.element != array.dtype:
        raise TypeError(f"a {vector} cannot be stored in an array of {array.dtype}")

    def generate(context, builder, sig, args):
        pointer = _address(context, builder, sig.args[0], args[0], [args[1], args[2]])
        instruction = builder.store(args[3], builder.bitcast(pointer, llvm_of(vector).as_pointer()))
        instruction.align = array.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, vector), generate


def in_all_lanes(builder: Any, vector: Vector, value: Any) -> Any:
    """A vector with one number in all lanes."""
    kind = llvm_of(vector)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), [0] * vector.lanes)
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), zeros)


@intrinsic(prefer_literal=True)
def splat(typingctx, value, lanes):
    """The same number in all lanes."""
    element = types.unliteral(value)
    vector = Vector(element, lanes.literal_value)

    def generate(context, builder, sig, args):
        return in_all_lanes(builder, vector, args[0])

    return vector(element, lanes), generate


@intrinsic
def splat_like(typingctx, value, like):
    """The same number in all lanes of a vector that fills 64 bytes of the type of an array."""
    vector = Vector(like.dtype, _lanes_of(like))

    def generate(context, builder, sig, args):
        return in_all_lanes(builder, vector, context.cast(builder, args[0], sig.args[0], like.dtype))

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
        name = floats if is_float(sig.args[0]) else integers
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
        if is_float(one):
            mask = builder.fcmp_ordered(">", *args)
        else:
            mask = (builder.icmp_signed if one.element.signed else builder.icmp_unsigned)(">", *args)
        return builder.select(mask, *args)

    return one(one, other), generate


@intrinsic
def plus_product(typingctx, value, one, other):
    """value + one * other: of float32 rounded once, of float64 twice, as scipy and numpy do."""

    def generate(context, builder, sig, args):
        kind = llvm_of(value)
        if value.element == types.float32:
            return by_name(builder, f"llvm.fma.v{value.lanes}f32", kind, [args[1], args[2], args[0]])
        return builder.fadd(args[0], builder.fmul(args[1], args[2]))

    return value(value, one, other), generate


@intrinsic
def plus_fused(typingctx, value, one, other):
    """value + one * other of floats, rounded once: where nobody's digits have to be met."""

    def generate(context, builder, sig, args):
        kind = llvm_of(value)
        name = f"llvm.fma.v{value.lanes}f{value.element.bitwidth}"
        return by_name(builder, name, kind, [args[1], args[2], args[0]])

    return value(value, one, other), generate


# --- conversions -----------------------------------------------------------------------------------------------------


def _convert(builder: Any, vector: Vector, element: types.Type, value: Any) -> Any:
    kind, source = llvm_of(Vector(element, vector.lanes)), vector.element
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
    element = types.float64 if is_float(vector) else types.int32

    def generate(context, builder, sig, args):
        return _convert(builder, vector, element, args[0])

    return Vector(element, vector.lanes)(vector), generate


@intrinsic
def as_elements_of(typingctx, vector, array):
    """Converted to the element type of an array."""

    def generate(context, builder, sig, args):
        return _convert(builder, vector, array.dtype, args[0])

    return Vector(array.dtype, vector.lanes)(vector, array), generate


# --- like another vector ---------------------------------------------------------------------------------------------


@intrinsic
def splat_of(typingctx, value, vector):
    """The same number in all lanes of a vector of the same kind."""

    def generate(context, builder, sig, args):
        return in_all_lanes(builder, vector, context.cast(builder, args[0], sig.args[0], vector.element))

    return vector(value, vector), generate


@intrinsic
def numbered(typingctx, vector):
    """A vector of the same kind: the number of each lane."""

    def generate(context, builder, sig, args):
        return ir.Constant(llvm_of(vector), list(range(vector.lanes)))

    return vector(vector), generate


@intrinsic
def zeros_of(typingctx, vector):
    """A vector of the same kind, all zero."""

    def generate(context, builder, sig, args):
        return ir.Constant(llvm_of(vector), None)

    return vector(vector), generate
