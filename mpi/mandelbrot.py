"""The Mandelbrot set row by row: work of which no row can tell beforehand how much it is.

A point c belongs to the set if z <- z^2 + c, from z = 0, never leaves the disc |z| <= 2.  A point of the set costs
`limit` iterations, a point far from it one or two: equal numbers of rows are unequal work, and farm.py shares them out.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

LEFT, RIGHT, TOP, BOTTOM = (
    -2.0,
    0.5,
    1.25,
    -1.25,
)  # the part of the complex plane in the picture; it contains the whole set
FLOPS_PER_ITERATION = (
    8  # 3 multiplications and 5 additions or subtractions, the test for escape included, the doubling as an addition
)


@njit(nogil=True, cache=True)
def escape_counts(first: int, last: int, height: int, width: int, limit: int) -> NDArray[np.int32]:
    """The iterations that each point of rows first to last - 1 survives, at most limit: int32, (last - first, width).

    The picture has height x width points, each in the middle of its pixel.  The sum of the counts is the work done.
    """
    counts = np.empty((last - first, width), np.int32)
    for i in range(last - first):
        y = TOP + (BOTTOM - TOP) * (first + i + 0.5) / height
        for j in range(width):
            x = LEFT + (RIGHT - LEFT) * (j + 0.5) / width
            re, im, n = 0.0, 0.0, 0
            while n < limit and re * re + im * im <= 4:
                re, im, n = re * re - im * im + x, 2 * re * im + y, n + 1
            counts[i, j] = n
    return counts
