"""The loops of scaling_loops.c: each function returns a call, bound to its arguments, of what its namesake in Numba does.

The arrays must live as long as the call is used. RuntimeError where there is no C compiler.
"""

from collections.abc import Callable
from ctypes import CDLL, c_int, c_long, c_void_p
from functools import cache, partial
from typing import Any

from parlab.openmp_like import gcc
from parlab.openmp_like.stream import LINE


@cache
def library() -> CDLL:
    """Compile the loops, and say what they take."""
    loops = gcc.load("scaling_loops.c")
    loops.pi_float32.argtypes = loops.pi_float64.argtypes = [c_void_p, c_long, c_long, c_int]
    loops.triad.argtypes = [c_void_p, c_void_p, c_void_p, c_long, c_long, c_int]
    loops.walk.argtypes = [c_void_p, c_void_p, c_long, c_long, c_int]
    return loops


def pi(out: Any, steps: int, alone: int, threads: int) -> Callable[[], object]:
    """Write pi to out[0] (float32 or float64): parlab.openmp_like.pi.parallel."""
    kernel = getattr(library(), f"pi_{out.dtype}")
    return partial(kernel, out.ctypes.data, steps, alone, threads)


def triad(a: Any, b: Any, c: Any, sweeps: int, threads: int) -> Callable[[], object]:
    """Do a = b + sweep c for sweep = 1 ... sweeps: parlab.openmp_like.stream.triad."""
    return partial(library().triad, a.ctypes.data, b.ctypes.data, c.ctypes.data, a.size, sweeps, threads)


def walk(next: Any, at: Any, hops: int) -> Callable[[], object]:
    """Walk the chains: parlab.openmp_like.chain.walk."""
    return partial(library().walk, next.ctypes.data, at.ctypes.data, LINE, hops, at.size // LINE)
