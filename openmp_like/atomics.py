"""Atomic operations on the elements of NumPy arrays, for `numba.njit` and `prange` on the CPU, with a stated memory order.

Numba offers none (its issue 2988). Each function here is one LLVM instruction, and a fence that holds the compiler to its order (see
fences.py), so it costs what C11's <stdatomic.h> costs:

    seen = add(counters, 3, 1)                             # fetch-and-add, relaxed: a count, nothing else
    store(flag, 0, 1, "release")                           # all that this thread wrote before ...
    if load(flag, 0, "acquire") == 1:                      # ... is seen by whoever reads the 1

array: any number of dimensions, integers or floats of 4 or 8 bytes; index: an integer, or a tuple of them, not negative. The order is a
string constant, as in C11: "relaxed", "acquire", "release", "acq_rel", "seq_cst". An order that an operation cannot have is refused when
the caller is compiled. Source of the meaning of the orders: ISO C11, section 7.17.3; LLVM Language Reference, "Atomic Memory Ordering".
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from parlab.openmp_like.fences import ordered

LLVM = {"relaxed": "monotonic", "acquire": "acquire", "release": "release", "acq_rel": "acq_rel", "seq_cst": "seq_cst"}
LOADS = ("relaxed", "acquire", "seq_cst")
STORES = ("relaxed", "release", "seq_cst")
RELAXED, ACQ_REL = types.literal("relaxed"), types.literal("acq_rel")  # what the operations have unless stated


@intrinsic(prefer_literal=True)
def load(context: Any, array: Any, index: Any, order: Any) -> Any:
    """Return array[index]. order: "relaxed", "acquire" or "seq_cst"."""
    named = _order(order, LOADS)

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer = _pointer(context, builder, signature, values)
        return ordered(builder, named, lambda: builder.load_atomic(pointer, named, _width(array)))

    return _element(array)(array, _index(index), order), emit


@intrinsic(prefer_literal=True)
def store(context: Any, array: Any, index: Any, value: Any, order: Any) -> Any:
    """Let array[index] be value. order: "relaxed", "release" or "seq_cst"."""
    named = _order(order, STORES)

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer = _pointer(context, builder, signature, values)
        ordered(builder, named, lambda: builder.store_atomic(values[2], pointer, named, _width(array)))
        return context.get_dummy_value()

    return types.void(array, _index(index), _element(array), order), emit


def _modify(operation: Callable[[Any], str], words: str) -> Any:
    """Make a read-modify-write operation; `operation` names LLVM's for the type of the element."""

    def typed(context: Any, array: Any, index: Any, value: Any, order: Any = RELAXED) -> Any:
        named = _order(order, tuple(LLVM))

        def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            pointer = _pointer(context, builder, signature, values)
            kind = operation(_element(array))
            return ordered(builder, named, lambda: builder.atomic_rmw(kind, pointer, values[2], named))

        return _element(array)(array, _index(index), _element(array), order), emit

    typed.__doc__ = f"{words} Returns the value before. order: any; relaxed, as OpenMP's `atomic` is, unless stated."
    return intrinsic(prefer_literal=True)(typed)


add = _modify(lambda kind: "fadd" if isinstance(kind, types.Float) else "add", "Add value to array[index].")
exchange = _modify(lambda kind: "xchg", "Let array[index] be value.")


@intrinsic(prefer_literal=True)
def compare_exchange(context: Any, array: Any, index: Any, expected: Any, value: Any, order: Any = ACQ_REL) -> Any:
    """Let array[index] be value if it is expected. Returns the value before: expected, where it was changed. Integers only.

    order: any; where nothing is changed it is a load of that order, without its releasing half.
    """
    named = _order(order, tuple(LLVM))
    if not isinstance(_element(array), types.Integer):
        raise TypingError("compare_exchange compares integers: view a float array as int64")
    failing = {"release": "monotonic", "acq_rel": "acquire"}.get(named, named)

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer = _pointer(context, builder, signature, values)
        pair = ordered(builder, named, lambda: builder.cmpxchg(pointer, values[2], values[3], named, failing))
        return builder.extract_value(pair, 0)

    return _element(array)(array, _index(index), _element(array), _element(array), order), emit


def _order(order: Any, allowed: tuple[str, ...]) -> str:
    """Return LLVM's name of the order; TypingError unless it is a constant and one of those allowed."""
    name = getattr(order, "literal_value", order)
    if name not in allowed:
        raise TypingError(f"the memory order must be one of {', '.join(allowed)}, as a constant string; got {name!r}")
    return LLVM[name]


def _element(array: Any) -> Any:
    """Return the type of the elements; TypingError where the processor has no atomic operation on it."""
    if not isinstance(array, types.Array):
        raise TypingError(f"atomic operations work on elements of arrays, not on {array}")
    kind = array.dtype
    if not isinstance(kind, types.Integer | types.Float) or _width(array) not in (4, 8):
        raise TypingError(f"atomic operations work on integers and floats of 4 or 8 bytes, not on {kind}")
    return kind


def _width(array: Any) -> int:
    return int(array.dtype.bitwidth) // 8


def _index(index: Any) -> Any:
    """Widen the index to what an address is computed from."""
    return types.UniTuple(types.intp, len(index)) if isinstance(index, types.BaseTuple) else types.intp


def _pointer(context: Any, builder: Any, signature: Any, values: Any) -> ir.Value:
    """Return the address of the element; an index out of the array is the caller's error, as everywhere in Numba."""
    kind, at = signature.args[:2]
    indices = cgutils.unpack_tuple(builder, values[1], len(at)) if isinstance(at, types.BaseTuple) else [values[1]]
    array = context.make_array(kind)(context, builder, values[0])
    return cgutils.get_item_pointer(context, builder, kind, array, indices, wraparound=False)
