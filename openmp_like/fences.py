"""Fences for the compiler: between threads an atomic operation's order counts, but the compiler must keep to it as well.

Numba promises LLVM that the arrays of a `prange` do not overlap (noalias). From that LLVM concludes that an atomic operation on one array,
or a function that is handed only that one, leaves the others alone: what another thread wrote into them it would not read again, but
take from a register. A fence orders them all. These are for one thread: they bind the compiler, and cost no instruction.

A function that waits for other threads should be inlined by Numba (`inline="always"`), with `settle` around what it calls, for LLVM first
sees the caller alone, with a call in it. Source: ISO C11, 7.17.4.2 (atomic_signal_fence); LLVM Language Reference, `fence`, `noalias`.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


@intrinsic
def settle(context: Any) -> Any:
    """Let the compiler move no load and no store across this point."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        builder.fence("acq_rel", "singlethread")
        return context.get_dummy_value()

    return types.void(), emit


def ordered(builder: Any, order: str, operation: Callable[[], ir.Value]) -> ir.Value:
    """Emit an atomic operation of this order (LLVM's name) between the fences that hold the compiler to it."""
    if order in ("release", "acq_rel", "seq_cst"):
        builder.fence("release", "singlethread")
    value = operation()
    if order in ("acquire", "acq_rel", "seq_cst"):
        builder.fence("acquire", "singlethread")
    return value
