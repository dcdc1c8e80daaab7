"""Who does which iterations of a loop: OpenMP's schedules, on every threading layer of Numba.

    static          one run of neighbouring iterations for each thread                            schedule(static)
    static, k       chunks of k are dealt out like cards                                          schedule(static, k)
    dynamic, k      whoever is free takes the next k off a shared counter                         schedule(dynamic, k)
    guided, k       the same, each chunk a share of what is left, but not under k                 schedule(guided, k)

`prange` alone is static: on the layers omp and workqueue `numba.set_parallel_chunksize` changes nothing of it, on tbb small chunks are
handed out as threads become free. The loops below need no such help: there are as many lanes as threads, and each lane fetches its work
itself. Where a layer lets one thread do two lanes, the second finds the counter used up. Every iteration is done once in any case.

counts: int32 (height, width), a picture of which a row is an iteration; limit: see escape.row; chunk: at least 1, but for `static`, where
0 stands for one chunk a lane; lanes: as many as threads; log: what each lane did is noted here if there is room, see stamps.empty_log.

Source: OpenMP 5.2, section 11.5.3 (the schedule clause) and omp_set_schedule.
"""

from typing import Any

import numpy as np
from numba import njit, prange

from parlab.openmp_like.atomics import add, compare_exchange, load
from parlab.openmp_like.escape import row
from parlab.openmp_like.stamps import begin, note
from parlab.openmp_like.waiting import APART

STATIC, DYNAMIC, GUIDED = 1, 2, 3  # omp_sched_t of <omp.h>
SHARES = 2  # a guided chunk is one part in SHARES * threads of what is left: 2 as in LLVM's libomp, 1 in gcc's libgomp

Counts = np.ndarray[Any, np.dtype[np.int32]]


@njit(cache=True, forceinline=True)  # the call, with every field of two arrays, would cost more than to fetch the chunk
def _do(counts: Any, limit: int, first: int, last: int, log: Any, lane: int, turn: int) -> int:
    """Do iterations first to last - 1; return the lane's next turn."""
    began = begin(log, turn)
    for i in range(first, last):
        row(counts, i, limit)
    note(log, lane, turn, first, last, began)
    return turn + 1


@njit(parallel=True, cache=True)
def static(counts: Any, limit: int, chunk: int, lanes: int, log: Any) -> None:
    """Share out the iterations beforehand: one block a lane, or every lanes-th chunk."""
    n = counts.shape[0]
    for lane in prange(lanes):
        turn, first, size, stride = 0, lane * chunk, chunk, lanes * chunk
        if chunk == 0:
            first, size, stride = n * lane // lanes, n * (lane + 1) // lanes - n * lane // lanes, n
        while first < n:
            turn = _do(counts, limit, first, min(first + size, n), log, lane, turn)
            first += stride


@njit(parallel=True, cache=True)
def dynamic(counts: Any, limit: int, chunk: int, lanes: int, log: Any) -> None:
    """Hand out chunks of equal size: to add to the counter is to take what was counted."""
    n = counts.shape[0]
    counter = np.zeros(APART, np.int64)
    for lane in prange(lanes):
        turn, first = 0, add(counter, 0, chunk)
        while first < n:
            turn = _do(counts, limit, first, min(first + chunk, n), log, lane, turn)
            first = add(counter, 0, chunk)


@njit(parallel=True, cache=True)
def guided(counts: Any, limit: int, chunk: int, lanes: int, log: Any) -> None:
    """Hand out chunks that become smaller: each is one part in SHARES * lanes of what is left, rounded up, and at least `chunk`."""
    n = counts.shape[0]
    counter = np.zeros(APART, np.int64)
    for lane in prange(lanes):
        turn, first = 0, load(counter, 0, "relaxed")
        while first < n:
            size = max(chunk, -(-(n - first) // (SHARES * lanes)))
            seen = compare_exchange(counter, 0, first, min(first + size, n), "relaxed")
            if seen == first:  # nobody took a chunk since the counter was read
                turn = _do(counts, limit, first, min(first + size, n), log, lane, turn)
                seen = load(counter, 0, "relaxed")
            first = seen


@njit(parallel=True, cache=True)
def numba_loop(counts: Any, limit: int, log: Any) -> None:
    """Leave it to Numba; every row is a lane of the log."""
    for i in prange(counts.shape[0]):
        _do(counts, limit, i, i + 1, log, i, 0)


@njit(cache=True)
def serial(counts: Any, limit: int) -> None:
    """Do one iteration after the other."""
    for i in range(counts.shape[0]):
        row(counts, i, limit)


LOOPS = {STATIC: static, DYNAMIC: dynamic, GUIDED: guided}
