"""Vector registers as values in `numba.njit`: up to 64 bytes, 8 float64 or 16 float32, which one instruction adds and multiplies.

A compiler turns a simple loop into such instructions by itself. Where it does not see the way (a block of a matrix that is to stay in
registers over a whole loop), or where a plain loop cannot say what is meant (a store that goes past the caches), they are said here:

    acc = zeros(b)                             # as many as one register holds of the elements of b
    for k in range(n):
        acc = fma(a[k], load(b, (k, 0)), acc)  # acc += a[k] * b[k, 0:8], one multiplication and one addition for each, rounded once
    store(c, (i, 0), acc)

array: C-contiguous, of float32 or float64; index: an integer, or a tuple of them, not negative: that of the first of the elements, which
follow each other in the last dimension. size: bytes of the vector, 16, 32 or 64, as a constant. Where the registers are shorter, LLVM takes
several of them, so the code is right everywhere.

Source: LLVM Language Reference, "Vector Type", "llvm.fma" and the metadata "nontemporal".
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.errors import TypingError
from numba.extending import intrinsic, register_model

BYTES = 64  # of the longest vector: one AVX-512 register, and one cache line of most processors
LONGEST = types.literal(BYTES)
INDEX = ir.IntType(32)


class Vector(types.Type):  # type: ignore[misc]  # Numba's classes have no types
    """The type of a vector of float32 or float64."""

    def __init__(self, dtype: Any, size: int) -> None:
        self.dtype, self.size, self.count = dtype, size, 8 * size // dtype.bitwidth
        super().__init__(name=f"Vector({dtype}, {size})")


def _llvm(vector: Vector) -> ir.VectorType:
    return ir.VectorType(ir.DoubleType() if vector.dtype is types.float64 else ir.FloatType(), vector.count)


@register_model(Vector)
class VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    """A vector is kept in a register."""

    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, _llvm(kind))


@intrinsic(prefer_literal=True)
def load(context: Any, array: Any, index: Any, size: Any = LONGEST) -> Any:
    """Return the vector that begins at array[index]."""
    kind = _vector(array, size)

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        read = builder.load(_pointer(context, builder, signature, values, kind))
        read.align = array.dtype.bitwidth // 8
        return read

    return kind(array, _index(index), size), emit


@intrinsic
def store(context: Any, array: Any, index: Any, vector: Any) -> Any:
    """Write the vector to array[index] and the elements after it."""
    _same(array, vector)

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer = _pointer(context, builder, signature, values, vector)
        builder.store(values[2], pointer).align = array.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, _index(index), vector), emit


@intrinsic
def stream(context: Any, array: Any, index: Any, vector: Any) -> Any:
    """Write the vector to memory past the caches (a non-temporal store): the line is not read first, and pushes nothing out.

    The element must lie on a multiple of the vector's size. Other threads see it after the end of the parallel region, or an atomic
    read-modify-write.
    """
    _same(array, vector)

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        written = builder.store(values[2], _pointer(context, builder, signature, values, vector))
        written.align = vector.size
        written.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(INDEX, 1)]))
        return context.get_dummy_value()

    return types.void(array, _index(index), vector), emit


@intrinsic(prefer_literal=True)
def zeros(context: Any, array: Any, size: Any = LONGEST) -> Any:
    """Return a vector of zeros, for elements of this array."""
    kind = _vector(array, size)
    return kind(array, size), lambda context, builder, signature, values: ir.Constant(_llvm(kind), [0.0] * kind.count)


@intrinsic
def fma(context: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c, rounded once, for each element. b, c: vectors of one type; a: such a vector, or a number for all of them."""
    if not isinstance(b, Vector) or b != c or a not in (b, b.dtype):
        raise TypingError(f"fma takes a number or a vector and two vectors, all of one type, not {a}, {b} and {c}")
    shape = _llvm(b)

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        if signature.args[0] != b:
            one = builder.insert_element(ir.Constant(shape, ir.Undefined), values[0], ir.Constant(INDEX, 0))
            first = ir.Constant(ir.VectorType(INDEX, b.count), [0] * b.count)
            values = [builder.shuffle_vector(one, ir.Constant(shape, ir.Undefined), first), *values[1:]]
        name, kind = f"llvm.fma.v{b.count}f{b.dtype.bitwidth}", ir.FunctionType(shape, [shape] * 3)
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), values)

    return b(a, b, c), emit


def _vector(array: Any, size: Any) -> Vector:
    """Return the type of this array's vectors of this size; TypingError where it has none."""
    if not isinstance(array, types.Array) or array.layout != "C" or array.dtype not in (types.float32, types.float64):
        raise TypingError(f"vectors are read from C-contiguous arrays of float32 or float64, not from {array}")
    if getattr(size, "literal_value", None) not in (16, 32, 64):
        raise TypingError(f"a vector has 16, 32 or 64 bytes, as a constant; got {size}")
    return Vector(array.dtype, size.literal_value)


def _same(array: Any, vector: Any) -> None:
    """Refuse to write anything but a vector of the array's own elements."""
    if not isinstance(vector, Vector) or _vector(array, LONGEST).dtype is not vector.dtype:
        raise TypingError(f"a vector of {array}'s elements can be written to it, not {vector}")


def _index(index: Any) -> Any:
    """Widen the index to what an address is computed from."""
    return types.UniTuple(types.intp, len(index)) if isinstance(index, types.BaseTuple) else types.intp


def _pointer(context: Any, builder: Any, signature: Any, values: Any, vector: Vector) -> ir.Value:
    """Return the address of the element, as that of a vector."""
    kind, at = signature.args[:2]
    indices = cgutils.unpack_tuple(builder, values[1], len(at)) if isinstance(at, types.BaseTuple) else [values[1]]
    array = context.make_array(kind)(context, builder, values[0])
    element = cgutils.get_item_pointer(context, builder, kind, array, indices, wraparound=False)
    return builder.bitcast(element, _llvm(vector).as_pointer())
