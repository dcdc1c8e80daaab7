"""The threads that run a `prange`: which layer they belong to, where they may run, how to keep each on a core of its own.

`for i in prange(n)` with n threads gives each thread one iteration (its lane) on the layers omp and workqueue. tbb promises nothing of the
kind: it may run two on one thread, or late, so its threads are left where its scheduler puts them.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from parlab.openmp_like.atomics import load, store
from parlab.openmp_like.waiting import APART

MASK_WORDS = 16  # of 64 cores each: 1024 cores, as the C library's cpu_set_t

Masks = np.ndarray[Any, np.dtype[np.uint64]]


def layer() -> str:
    """Return the name of the threading layer that runs: omp, tbb or workqueue. Starts it where none has run yet."""
    _nothing(1)
    return str(numba.threading_layer())


def masks(threads: int) -> list[set[int]]:
    """Return for each of the threads the cores that it may run on (Linux)."""
    words = np.zeros((threads, MASK_WORDS), np.uint64)
    _exchange_masks(words, False)
    return [{core for core in range(64 * MASK_WORDS) if int(row[core // 64]) >> core % 64 & 1} for row in words]


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Keep each of the threads on one core, the i-th of those that this process may use; on leaving they are as free as before.

    Use one number of threads inside: GNU OpenMP ends threads that a smaller team does not need, and a new one starts where its
    creator is pinned. OMP_PROC_BIND would do the same for the omp layer, but it also narrows the calling thread's mask for good, and
    whatever that thread starts later (a child process, another library's threads) inherits one core. Nothing is pinned on tbb, where
    there are more threads than cores, and on systems other than Linux.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if threads > len(cores) or layer() == "tbb":
        yield
        return
    before = np.zeros((threads, MASK_WORDS), np.uint64)
    _exchange_masks(before, False)
    narrow = np.zeros_like(before)
    for row, core in zip(narrow, cores, strict=False):
        row[core // 64] = np.uint64(1 << core % 64)
    _exchange_masks(narrow, True)
    try:
        yield
    finally:
        _exchange_masks(before, True)


def proof(threads: int) -> tuple[Callable[[], object], Callable[[], object], Callable[[], object], int]:
    """Return what shows whether 2 or more threads have a core each: work for one, the same for each of them, a ping-pong, its rounds.

    Where they do, the work of all takes as long as the work of one. The ping-pong is between the first two threads; a round trip moves a
    cache line from core to core and back, some 100 ns; threads that share a core need a time slice for it.
    """
    rows = np.zeros((threads, BURNT + APART))
    words = np.zeros(2 * APART, np.int64)
    return (
        lambda: _burn_alone(rows, BURN),
        lambda: _burn_together(rows, BURN),
        lambda: _ping_pong(words, ROUNDS),
        ROUNDS,
    )


ROUNDS = 500  # of the ping-pong
BURN = 2_000_000  # sweeps: some 4 ms, longer than the turn of another process on the core
BURNT = 64  # elements of a sweep, in the first cache: its vector units have no idle turn that a second thread of the core could take


@njit(cache=True)
def _burn(row: Any, sweeps: int) -> None:
    for _ in range(sweeps):
        for i in range(BURNT):
            row[i] = row[i] * 0.999 + 0.001


@njit(cache=True)
def _burn_alone(rows: Any, sweeps: int) -> None:
    _burn(rows[0], sweeps)


@njit(parallel=True, cache=True)
def _burn_together(rows: Any, sweeps: int) -> None:
    for lane in prange(rows.shape[0]):
        _burn(rows[lane], sweeps)


@njit(parallel=True, cache=True)
def _ping_pong(words: Any, rounds: int) -> None:
    """Let two threads answer each other. They may not run at the same time: each then gives up, and the figure shows it."""
    words[0] = words[APART] = 0
    for lane in prange(2):
        mine, other = lane * APART, (1 - lane) * APART
        looks = 0
        for i in range(1, rounds + 1):
            if lane == 0:
                store(words, mine, i, "release")
            while load(words, other, "acquire") < i and looks < PATIENCE:
                looks += 1
            if lane == 1:
                store(words, mine, i, "release")


PATIENCE = 1_000_000  # looks of a thread at the other's word, in all rounds together: some milliseconds


@njit(parallel=True, cache=True)
def _nothing(n: int) -> int:
    total = 0
    for i in prange(n):
        total += i
    return total


@intrinsic
def _mask_call(context: Any, words: Any, lane: Any, setting: Any) -> Any:
    """Call sched_getaffinity or sched_setaffinity of the C library for the calling thread, on row `lane` of words."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, values[0])
        zero = context.get_constant(types.intp, 0)
        row = cgutils.get_item_pointer(context, builder, signature.args[0], array, [values[1], zero], wraparound=False)
        kind = ir.FunctionType(ir.IntType(32), [ir.IntType(32), ir.IntType(64), row.type])
        get = cgutils.get_or_insert_function(builder.module, kind, "sched_getaffinity")
        put = cgutils.get_or_insert_function(builder.module, kind, "sched_setaffinity")
        this_thread, size = ir.Constant(ir.IntType(32), 0), ir.Constant(ir.IntType(64), 8 * MASK_WORDS)
        with builder.if_else(values[2]) as (narrow, ask):
            with narrow:
                builder.call(put, [this_thread, size, row])
            with ask:
                builder.call(get, [this_thread, size, row])
        return context.get_dummy_value()

    return types.void(words, types.intp, types.boolean), emit


@njit(parallel=True, cache=True)
def _exchange_masks(words: Any, setting: bool) -> None:
    for lane in prange(words.shape[0]):
        _mask_call(words, lane, setting)
