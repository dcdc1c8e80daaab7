"""How threads wait for each other: a spin lock, a barrier that can be used again, taking turns. All over parlab.openmp_like.atomics.

Each waits for an element of an array to change. It spins, for the others are about to come; after a while it gives its core away at every
turn, for on a busy machine the others may need that very core. What a thread wrote before it released is seen by the one that waited:
release and acquire are built in, and a relaxed wait is refused, because it compiles, runs, and now and then reads old data. Each is
inlined by Numba (inline="always"), so that the caller's compilation sees its fences; see fences.py.

Sources: M. Scott, Shared-Memory Synchronization, 2013, sections 4.1 (test-and-test-and-set) and 5.1 (the centralized barrier);
OpenMP 5.2, sections 15.2 (critical), 15.3 (barrier), 15.10 (ordered).
"""

import platform
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload

from parlab.openmp_like.atomics import add, exchange, load, store
from parlab.openmp_like.fences import settle

SPINS = 2000  # looks before the core is given away; some 50 us, more than any wait between threads that all run
APART = (
    16  # 8-byte elements between two words that different threads change: 128 B, for prefetchers fetch lines in pairs
)

_PAUSE = {"x86_64": "llvm.x86.sse2.pause", "AMD64": "llvm.x86.sse2.pause"}.get(platform.machine())


@intrinsic
def pause(context: Any) -> Any:
    """Tell the processor that this is a waiting loop; nothing where it has no such instruction."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        if _PAUSE:
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, _PAUSE), [])
        return context.get_dummy_value()

    return types.void(), emit


@intrinsic
def give_way(context: Any) -> Any:
    """Let another thread have this core (POSIX sched_yield)."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), emit


@njit(cache=True)
def _linger(spins: int) -> int:
    """Pass a moment between two looks; returns the number of looks so far."""
    if spins < SPINS:
        pause()
    else:
        give_way()
    return spins + 1


def wait_until(words: Any, index: Any, value: Any, order: str = "acquire") -> None:
    """Wait until words[index] is value. order: "acquire" or "seq_cst"; "relaxed" is refused when the caller is compiled."""
    raise NotImplementedError("wait_until works in compiled code only")


@overload(wait_until, prefer_literal=True, inline="always")
def _wait_until(words: Any, index: Any, value: Any, order: Any = "acquire") -> Any:
    name = getattr(order, "literal_value", getattr(order, "value", order))
    if name not in ("acquire", "seq_cst"):
        raise TypingError(f"a wait must acquire what the other thread released; with {name!r} it would read old data")

    def compiled(words: Any, index: Any, value: Any, order: Any = "acquire") -> None:
        _wait(words, index, value)
        settle()

    return compiled


@njit(cache=True)
def _wait(words: Any, index: Any, value: Any) -> None:
    spins = 0
    while load(words, index, "acquire") != value:
        spins = _linger(spins)


@njit(cache=True, inline="always")
def lock(locks: Any, index: Any) -> None:
    """Take the lock locks[index] (an integer, 0: free), waiting until it is free."""
    _lock(locks, index)
    settle()


@njit(cache=True)
def _lock(locks: Any, index: Any) -> None:
    spins = 0
    while exchange(locks, index, 1, "acquire") != 0:
        while load(locks, index, "relaxed") != 0:  # look without taking the line away from the owner
            spins = _linger(spins)


@njit(cache=True, inline="always")
def unlock(locks: Any, index: Any) -> None:
    """Free the lock. Only its owner may."""
    store(locks, index, 0, "release")


BARRIER_WORDS = 2 * APART  # 8-byte integers, zero at first, that a barrier needs


@njit(cache=True, inline="always")
def barrier(state: Any, threads: int) -> None:
    """Wait until `threads` threads have called it; then all go on, and it is ready to be used again.

    state: int64[BARRIER_WORDS], zeros before the first use. All threads must run at the same time: with more of them than the layer
    runs at once it waits for ever (see parlab.openmp_like.layers.refuse).
    """
    settle()
    _barrier(state, threads)
    settle()


@njit(cache=True)
def _barrier(state: Any, threads: int) -> None:
    generation = load(state, APART, "acquire")
    if add(state, 0, 1, "acq_rel") == threads - 1:  # the last to arrive opens the gate for this generation
        store(state, 0, 0, "relaxed")
        store(state, APART, generation + 1, "release")
    else:
        spins = 0
        while load(state, APART, "acquire") == generation:
            spins = _linger(spins)


@njit(cache=True, inline="always")
def wait_turn(turn: Any, ticket: int) -> None:
    """Wait until it is the turn of `ticket` (OpenMP's `ordered`). turn: integers, of which element 0 counts from the first ticket."""
    _wait(turn, 0, ticket)
    settle()


@njit(cache=True, inline="always")
def end_turn(turn: Any, ticket: int) -> None:
    """Let the next ticket have its turn."""
    store(turn, 0, ticket + 1, "release")
