"""The loops of sharing.c, called as those of parlab.openmp_like.sharing are. RuntimeError where there is no C compiler."""

from ctypes import CDLL, c_int64, c_void_p
from functools import cache
from typing import Any

from parlab.openmp_like import gcc


@cache
def library() -> CDLL:
    """Compile the loops, and say what they take."""
    loops = gcc.load("sharing.c")
    loops.count_stored.argtypes = [c_void_p, *[c_int64] * 3]
    loops.histogram.argtypes = [c_void_p, c_void_p, *[c_int64] * 4]
    return loops


def count_stored(counters: Any, per_thread: int, n: int, threads: int) -> None:
    """Let each thread count to n in the volatile counters[thread * per_thread] (int64)."""
    library().count_stored(counters.ctypes.data, per_thread, n, threads)


def histogram(counters: Any, samples: Any, per_thread: int, per_bin: int) -> None:
    """Let each thread count its row of samples (uint8[threads, n]) in counters[thread * per_thread + sample * per_bin] (int64)."""
    threads, n = samples.shape
    library().histogram(counters.ctypes.data, samples.ctypes.data, n, threads, per_thread, per_bin)
