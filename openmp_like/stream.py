"""The triad a = b + scale c, and what bounds it: loops that hardly compute, so what limits them is how fast memory brings the data.

An element of the triad moves 24 bytes between the processor and the level of memory that holds the arrays: b and c are read, a is written.
Beyond the last cache it is 32: before part of a line is written the whole line is read (write-allocate), unless the stores are
non-temporal. A `copy` reads one array and writes one, 16 bytes. So the triad does all that a copy of as many elements does, and more:
the fastest copy's time is below the triad's at every size. That bound is sure; one by bytes alone (24 against 16) is not, for
in the first cache reads are cheaper than writes, and some memories read faster than they write.

Each thread goes over its own part of the arrays, `sweeps` times without waiting for the others: with small arrays this makes the time
of entering the parallel region vanish. The arrays begin on a cache line and are written first by the threads that use them
(`touch`), so that their pages lie in the memory of these threads' processor.

Source: J. McCalpin, STREAM, www.cs.virginia.edu/stream.
"""

from typing import Any

import numpy as np
from numba import njit, prange

from parlab.openmp_like.vectors import BYTES, fma, load, store, stream, zeros

BYTES_PER_ELEMENT = {"triad": 24, "copy": 16}  # of float64
LINE = BYTES // 8  # elements
PAGE = 4096  # bytes
APART = 5 * BYTES  # bytes by which arrays of one size are shifted against each other

Array = np.ndarray[Any, np.dtype[np.float64]]


def arrays(count: int, n: int, threads: int) -> list[Array]:
    """Return arrays of n float64, ones, each part touched by its thread. ValueError unless n is a multiple of 8, a cache line.

    They begin on cache lines, and not all at the same distance from a page's begin: a processor that compares only the low 12 bits
    of addresses would take a read for one of the data that it is just writing (4 KiB aliasing).
    """
    if n % LINE:
        raise ValueError(f"an array of {n} elements does not end with a cache line, a multiple of {LINE}")
    found = []
    for k in range(count):
        room = np.empty(8 * n + PAGE + APART * count, np.uint8)
        first = -room.ctypes.data % PAGE + APART * k
        found.append(room[first : first + 8 * n].view(np.float64))
        touch(found[-1], threads)
    return found


@njit(cache=True)
def part(n: int, lane: int, threads: int) -> tuple[int, int]:
    """Return where a thread's part of n elements begins and ends: whole cache lines."""
    lines = n // LINE
    return lane * lines // threads * LINE, (lane + 1) * lines // threads * LINE


@njit(parallel=True, cache=True)
def touch(a: Any, threads: int) -> None:
    """Write ones to all elements, each thread to its own part."""
    for lane in prange(threads):
        first, last = part(a.size, lane, threads)
        a[first:last] = 1.0


@njit(cache=True)
def triad_serial(a: Any, b: Any, c: Any, sweeps: int) -> None:
    """Do a = b + sweep c for sweep = 1 ... sweeps on the calling thread. a, b, c: float64[n]."""
    for sweep in range(1, sweeps + 1):
        for i in range(a.size):
            a[i] = b[i] + sweep * c[i]


@njit(parallel=True, cache=True)
def triad(a: Any, b: Any, c: Any, sweeps: int, threads: int) -> None:
    """Do the same on all threads."""
    for lane in prange(threads):
        first, last = part(a.size, lane, threads)
        into, left, right = a[first:last], b[first:last], c[first:last]
        for sweep in range(1, sweeps + 1):
            for i in range(into.size):
                into[i] = left[i] + sweep * right[i]


@njit(parallel=True, cache=True)
def triad_narrow(a: Any, b: Any, c: Any, sweeps: int, threads: int) -> None:
    """Do the same, 32 bytes at a time: where memory is the limit some processors are faster with less at once.

    Of a plain loop LLVM makes one that loads four vectors of 64 bytes of c, then of b, and then stores four of a.
    """
    for lane in prange(threads):
        first, last = part(a.size, lane, threads)
        for sweep in range(1, sweeps + 1):
            for i in range(first, last, LINE // 2):
                store(a, i, fma(float(sweep), load(c, i, 32), load(b, i, 32)))


@njit(parallel=True, cache=True)
def triad_streaming(a: Any, b: Any, c: Any, sweeps: int, threads: int) -> None:
    """Do the same with non-temporal stores: no line of a is read, and none is kept in a cache."""
    for lane in prange(threads):
        first, last = part(a.size, lane, threads)
        for sweep in range(1, sweeps + 1):
            for i in range(first, last, LINE):
                stream(a, i, fma(float(sweep), load(c, i), load(b, i)))


@njit(parallel=True, cache=True)
def copy(a: Any, b: Any, sweeps: int, threads: int) -> None:
    """Copy b to a, times sweep, or the compiler would see that one sweep is enough: the triad's loop without c."""
    for lane in prange(threads):
        first, last = part(a.size, lane, threads)
        into, left = a[first:last], b[first:last]
        for sweep in range(1, sweeps + 1):
            for i in range(into.size):
                into[i] = sweep * left[i]


@njit(parallel=True, cache=True)
def copy_streaming(a: Any, b: Any, sweeps: int, threads: int) -> None:
    """Do the same with non-temporal stores: the fastest copy where the arrays are larger than the last cache."""
    for lane in prange(threads):
        first, last = part(a.size, lane, threads)
        for sweep in range(1, sweeps + 1):
            for i in range(first, last, LINE):
                stream(a, i, fma(float(sweep), load(b, i), zeros(b)))
