"""Six sums of the same numbers: a sum depends on the order in which it is taken, and so on the number of threads.

    strict       one after the other, as written: each addition waits for the last
    fastmath     the compiler may reorder: a partial sum in each lane of a vector register
    pairwise     the sum of the halves' sums: an error that grows with log n, not with n; np.sum does it too
    race         total[0] += v in a prange: wrong
    reduction    total += v in a prange, where total is a scalar: a partial sum for each thread
    exact        rounded once, at the end: math.fsum

x: float64 (n,). Whatever the order, the error is at most (n - 1) u sum |x|, u = 2**-53, to first order: relative to the sum, that bound
grows with the condition number sum |x| / |sum x|. Sources: N. Higham, Accuracy and Stability of Numerical Algorithms, 2002, sections 4.1
and 4.2; J. Shewchuk, Discrete & Computational Geometry 18, 1997 (the algorithm of math.fsum).
"""

import math
from typing import Any

import numpy as np
from numba import njit, prange

BLOCK = 128  # numbers that `pairwise` adds one after the other; as in np.sum

Vector = np.ndarray[Any, np.dtype[np.float64]]


@njit(cache=True)
def strict(x: Any) -> Any:
    """Add one after the other."""
    total = 0.0
    for v in x:
        total += v
    return total


@njit(fastmath=True, cache=True)
def fastmath(x: Any) -> Any:
    """Add as `strict` says, in the order that the compiler likes best; by index, for it makes no vectors of `for v in x`."""
    total = 0.0
    for i in range(x.size):
        total += x[i]
    return total


@njit(cache=True)
def pairwise(x: Any) -> Any:
    """Add the sums of both halves."""
    if x.size <= BLOCK:
        return strict(x)
    half = x.size // 2
    return pairwise(x[:half]) + pairwise(x[half:])


@njit(parallel=True, cache=True)
def race(x: Any) -> Any:
    """Let all threads add to one variable in memory. The compiler may keep it in a register meanwhile: then whole shares are lost."""
    total = np.zeros(1)
    for i in prange(x.size):
        total[0] += x[i]
    return total[0]


@njit(parallel=True, cache=True)
def reduction(x: Any) -> Any:
    """Let each thread add its share, then add the shares."""
    total = 0.0
    for i in prange(x.size):
        total += x[i]
    return total


exact = math.fsum


def error_bound(x: Vector) -> float:
    """Return what no order of adding can exceed in error, up to terms of second order: n u sum |x|."""
    return x.size * 2.0**-53 * float(np.abs(x).sum())


def cancelling(count: int, rng: np.random.Generator) -> Vector:
    """Return numbers of which nearly all cancel: magnitudes from 1 to 1e8, each with its opposite, less a rest below 1.

    count: even. The condition number is some 1e7: a sum in float64 keeps about nine of its sixteen digits.
    """
    large = rng.choice([-1.0, 1.0], count // 2) * 10.0 ** rng.uniform(0, 8, count // 2)
    x = np.concatenate([large, rng.uniform(0, 1, count // 2) - large])
    rng.shuffle(x)
    return x
