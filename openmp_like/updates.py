"""Threads that add to shared counters: a histogram, in six ways that differ in who may touch which counter when.

    race             h[s] += 1 as it stands: two threads read 7, both write 8, and one sample is lost       wrong
    atomic           one indivisible add for each sample                                                    atomic
    critical         a lock around each add                                                                 critical
    interleaved      counters of its own for each thread, those of one bin side by side (bins, threads)
    padded           the same in rows far apart (threads, bins + padding); each thread adds its row to the counts, under a lock, once
    reduction        Numba's: it knows `total += mine` for arrays in a prange                               reduction(+: h[:bins])

samples: uint16, each below the number of bins; counts: int64 (bins,), overwritten; lanes: threads. The samples are unsigned on purpose:
a signed index may be negative, which Python counts from the end, and the test for that would be part of every update.
"""

from typing import Any

import numpy as np
from numba import njit, prange

from parlab.openmp_like.atomics import add
from parlab.openmp_like.waiting import APART, lock, unlock

Counts = np.ndarray[Any, np.dtype[np.int64]]


@njit(cache=True)
def share(samples: Any, lane: int, lanes: int) -> Any:
    """Return the samples of one lane."""
    return samples[samples.size * lane // lanes : samples.size * (lane + 1) // lanes]


@njit(cache=True)
def clear(counts: Any) -> None:
    """Set all counts to 0; by this thread, where `counts[:] = 0` in a parallel function would be a parallel region of its own."""
    for b in range(counts.size):
        counts[b] = 0


@njit(cache=True)
def count(samples: Any, counts: Any) -> None:
    """Add the samples to the counts, one after the other."""
    for s in samples:
        counts[s] += 1


@njit(cache=True)
def collect(mine: Any, counts: Any) -> None:
    """Add the counts of one lane to those of all."""
    for b in range(counts.size):
        counts[b] += mine[b]


@njit(cache=True)
def serial(samples: Any, counts: Any) -> None:
    """Count on one thread."""
    clear(counts)
    count(samples, counts)


@njit(parallel=True, cache=True)
def race(samples: Any, counts: Any, lanes: int) -> None:
    """Count on all threads as if there were one: wrong, and slower than one, for the counters' cache lines go to and fro."""
    clear(counts)
    for lane in prange(lanes):
        count(share(samples, lane, lanes), counts)


@njit(parallel=True, cache=True)
def atomic(samples: Any, counts: Any, lanes: int) -> None:
    """Let the processor do each add in one piece."""
    clear(counts)
    for lane in prange(lanes):
        for s in share(samples, lane, lanes):
            add(counts, s, 1)


@njit(parallel=True, cache=True)
def critical(samples: Any, counts: Any, lanes: int) -> None:
    """Let only one thread at a time add."""
    clear(counts)
    locks = np.zeros(APART, np.int64)
    for lane in prange(lanes):
        for s in share(samples, lane, lanes):
            lock(locks, 0)
            counts[s] += 1
            unlock(locks, 0)


@njit(parallel=True, cache=True)
def interleaved(samples: Any, counts: Any, lanes: int, partials: Any) -> None:
    """Count privately, but with the counters of other threads on the same cache lines. partials: int64 (bins, lanes)."""
    clear(counts)
    for lane in prange(lanes):
        mine = partials[:, lane]
        clear(mine)
        count(share(samples, lane, lanes), mine)
    for lane in range(lanes):
        collect(partials[:, lane], counts)


@njit(parallel=True, cache=True)
def padded(samples: Any, counts: Any, lanes: int, partials: Any) -> None:
    """Count privately, each thread in memory of its own, and lock once for all. partials: int64, see `rows_apart`."""
    clear(counts)
    locks = np.zeros(APART, np.int64)
    for lane in prange(lanes):
        mine = partials[lane, : counts.size]
        clear(mine)
        count(share(samples, lane, lanes), mine)
        lock(locks, 0)
        collect(mine, counts)  # by its owner: what it reads is in its own cache
        unlock(locks, 0)


@njit(parallel=True, cache=True)
def reduction(samples: Any, counts: Any, lanes: int) -> None:
    """Count privately and leave the merge to Numba: an array that is only added to in a prange is a reduction."""
    total = np.zeros(counts.size, np.int64)
    for lane in prange(lanes):
        mine = np.zeros(counts.size, np.int64)
        count(share(samples, lane, lanes), mine)
        total += mine
    clear(counts)
    collect(total, counts)


def rows_apart(lanes: int, bins: int) -> Counts:
    """Return memory for `padded`: a row for each lane, far enough from the next that no line, nor pair of lines, is shared."""
    return np.zeros((lanes, -(-bins // APART) * APART + APART), np.int64)
