"""The Mandelbrot set from the real axis upwards: rows whose cost falls from the first to the last.

A point c belongs to the set if z <- z^2 + c, from z = 0, never leaves the disc |z| <= 2. A point of the set costs `limit` iterations, a
point far from it one or two. The first half of the rows holds 95 % of the iterations, so equal numbers of rows are very unequal work.
"""

from typing import Any

from numba import njit

LEFT, RIGHT, TOP = -2.0, 0.5, 1.5  # of the part of the complex plane that the rows cover; it begins on the real axis
FLOPS_PER_ITERATION = 8  # 3 multiplications and 5 additions or subtractions: the test for escape and the doubling too


@njit(cache=True)
def escape(x: float, y: float, limit: int) -> int:
    """Return how many iterations the point x + iy survives, at most limit."""
    re, im, n = 0.0, 0.0, 0
    while n < limit and re * re + im * im <= 4:
        re, im, n = re * re - im * im + x, 2 * re * im + y, n + 1
    return n


@njit(cache=True, forceinline=True, error_model="numpy")  # no call, and no test for a height of 0, in every iteration
def row(counts: Any, i: int, limit: int) -> None:
    """Count the iterations of row i of a picture: counts, int32 (height, width). With no columns it is an empty iteration."""
    height, width = counts.shape
    y = TOP * (i + 0.5) / height
    for j in range(width):
        counts[i, j] = escape(LEFT + (RIGHT - LEFT) * (j + 0.5) / width, y, limit)
