"""The task of parlab.openmp_like.orbit, compiled: for one thread, for threads of Python, and for the threads of a `prange`."""

import threading
from typing import Any

import numba
import numpy as np
from numba import njit, prange

from parlab.openmp_like import orbit

iterate = njit(cache=True)(orbit.iterate)  # it keeps the GIL: no other thread of Python runs meanwhile


@njit(nogil=True, cache=True)
def released(values: Any, results: Any, steps: int) -> None:
    """Do as `iterate` does, without the GIL.

    A function of its own: Numba's cache on disk tells functions apart, not their options, and would give us the one that keeps the GIL.
    """
    iterate(values, results, steps)


@njit(parallel=True, cache=True)
def shared(values: Any, results: Any, parts: int, steps: int) -> None:
    """Do as `iterate` does, in as many parts of one size as there are threads. values, results: float64[n]."""
    n = len(values)
    for part in prange(parts):
        first, last = part * n // parts, (part + 1) * n // parts
        iterate(values[first:last], results[first:last], steps)


def fresh_team(threads: int) -> None:
    """Start so many threads for a `prange`, let each come by, and end them (layer omp).

    GNU OpenMP keeps a team for each thread that has asked for one, and ends it with that thread; so a thread of its own does both. The
    threads of the layers tbb and workqueue live as long as the process, and this only finds them there.
    """
    arrived = np.zeros(threads)

    def master() -> None:
        numba.set_num_threads(threads)
        shared(np.ones(threads), arrived, threads, 0)

    one = threading.Thread(target=master)
    one.start()
    one.join()
    if not arrived.all():
        raise RuntimeError(f"only {int(arrived.sum())} of {threads} threads came")
