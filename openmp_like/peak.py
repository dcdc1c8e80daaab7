"""The most that the processor can compute: multiplications and additions that need no memory and hardly wait for each other.

A fused multiply-add (FMA) takes some four cycles, and one or two begin in every cycle, each on a whole vector: it takes eight chains
that do not depend on each other to keep the units full. There are twelve. No loop that multiplies and adds in this precision is faster;
one that divides or waits for memory is slower by what that takes.

Source: S. Williams, A. Waterman, D. Patterson, Roofline, CACM 52(4), 2009.
"""

from typing import Any

import numpy as np
from numba import njit, prange

from parlab.openmp_like.vectors import BYTES, fma, load, store

CHAINS = 12


def registers(threads: int, dtype: Any) -> np.ndarray[Any, Any]:
    """Return where `multiply_add` leaves its results: [threads, CHAINS, elements of a vector], of float32 or float64, ones."""
    return np.ones((threads, CHAINS, BYTES // np.dtype(dtype).itemsize), dtype)


def flops(x: np.ndarray[Any, Any], rounds: int) -> int:
    """Return how many multiplications and additions `multiply_add(x, rounds)` does."""
    return 2 * x.size * rounds


@njit(parallel=True, cache=True)
def multiply_add(x: Any, rounds: int) -> None:
    """Replace every element of x, from `registers`, by x / 2 + 1, `rounds` times; each thread has a row of its own."""
    half = x.dtype.type(0.5)
    ones = np.ones(x.shape[2], x.dtype)
    for lane in prange(x.shape[0]):
        one = load(ones, 0)
        a, b, c, d = load(x, (lane, 0, 0)), load(x, (lane, 1, 0)), load(x, (lane, 2, 0)), load(x, (lane, 3, 0))
        e, f, g, h = load(x, (lane, 4, 0)), load(x, (lane, 5, 0)), load(x, (lane, 6, 0)), load(x, (lane, 7, 0))
        i, j, k, m = load(x, (lane, 8, 0)), load(x, (lane, 9, 0)), load(x, (lane, 10, 0)), load(x, (lane, 11, 0))
        for _ in range(rounds):
            a, b, c, d = fma(half, a, one), fma(half, b, one), fma(half, c, one), fma(half, d, one)
            e, f, g, h = fma(half, e, one), fma(half, f, one), fma(half, g, one), fma(half, h, one)
            i, j, k, m = fma(half, i, one), fma(half, j, one), fma(half, k, one), fma(half, m, one)
        for r, vector in enumerate((a, b, c, d, e, f, g, h, i, j, k, m)):
            store(x, (lane, r, 0), vector)


@njit(parallel=True, cache=True)
def wait_for_sums(x: Any, rounds: int) -> None:
    """Add x[lane, 1, 0] to x[lane, 0, 0], `rounds` times, each thread in its row: every addition waits for the one before."""
    for lane in prange(x.shape[0]):
        total, term = x[lane, 0, 0], x[lane, 1, 0]
        for _ in range(rounds):
            total += term
        x[lane, 0, 0] = total
