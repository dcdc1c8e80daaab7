"""Threads that count, each in counters of its own: what false sharing costs depends on where these lie and on how they are written.

All take the counters as one array of words, and the distances between them as numbers (see parlab.openmp_like.lines), so that every
layout is counted by the same machine code. A sample is unsigned: a signed index would cost a look whether it counts from the end.

The kernels are not kept in Numba's cache on disk: `unproven` reads their assembly, and a cached kernel has lost it.
"""

from functools import cache
from typing import Any

import numpy as np
from numba import njit, prange

from parlab.openmp_like.assembly import Loop, inner_loops
from parlab.openmp_like.atomics import add, load, store


@njit(parallel=True)
def count_plain(counters: Any, per_thread: int, n: int, threads: int) -> None:
    """Let each thread count to n in counters[thread * per_thread] (int64). The compiler adds n once: nothing is left to share."""
    for lane in prange(threads):
        for _ in range(n):
            counters[lane * per_thread] += 1


@njit(parallel=True)
def count_stored(counters: Any, per_thread: int, n: int, threads: int) -> None:
    """Do the same by relaxed loads and stores: each step is in memory, and what is stored is at hand to be loaded again."""
    for lane in prange(threads):
        for _ in range(n):
            store(counters, lane * per_thread, load(counters, lane * per_thread, "relaxed") + 1, "relaxed")


@njit(parallel=True)
def count_atomic(counters: Any, per_thread: int, n: int, threads: int) -> None:
    """Do the same by atomic additions: each waits until its core owns the line."""
    for lane in prange(threads):
        for _ in range(n):
            add(counters, lane * per_thread, 1)


@njit(parallel=True)
def histogram(counters: Any, samples: Any, per_thread: int, per_bin: int) -> None:
    """Let each thread count its row of samples (uint8[threads, n]) in counters[thread * per_thread + sample * per_bin] (int64).

    Which counter comes next is in the data: no compiler can keep it in a register.
    """
    for lane in prange(samples.shape[0]):
        first = np.uint64(lane) * np.uint64(per_thread)
        for k in range(samples.shape[1]):
            counters[first + samples[lane, k] * np.uint64(per_bin)] += 1


@njit(parallel=True)
def histogram_private(counters: Any, samples: Any, bins: int) -> None:
    """Let each thread count its row of samples in an array that nobody else knows, and add that to counters[bin] once, at the end."""
    for lane in prange(samples.shape[0]):
        mine = np.zeros(bins, np.int64)
        for k in range(samples.shape[1]):
            mine[samples[lane, k]] += 1
        for b in range(bins):
            add(counters, b, mine[b])


KERNELS = (count_plain, count_stored, count_atomic, histogram, histogram_private)


def tally(samples: Any, bins: int) -> Any:
    """Return how often each value stands in each row of samples (uint8[rows, n]), int64[rows, bins]: what a histogram has to be."""
    return np.stack([np.bincount(row, minlength=bins) for row in samples])


def counting_loops(kernel: Any) -> list[Loop]:
    """Return the inner loops that stand within the loop over the threads; the kernel has been called. See `inner_loops` for errors."""
    return [loop for loop in inner_loops(kernel) if loop.depth]


@cache
def unproven(kernel: Any) -> str | None:
    """Say so where the assembly of a kernel shows a counting loop that does not write to memory, or none; None where all write.

    None too where assembly cannot be read: nothing is known against it.
    """
    try:
        loops = [loop for loop in counting_loops(kernel) if loop.locked == (kernel is count_atomic)]
    except NotImplementedError:
        return None
    kept = loops and all(loop.stores for loop in loops)
    return None if kept else f"no store is left in {kernel.__name__}: the compiler removed what is timed"
