"""The heat equation in the memory of one process, and its sweep by NumPy. Numba is not needed: parlab.openmp_like.heat has the loops.

new = old + 0.2 (north + south + west + east - 4 old), zeros around        the problem of parlab.mpi.heat, with the same bits
"""

from collections.abc import Callable
from typing import Any

import numpy as np

A = 0.2  # mesh ratio, no unit, as in parlab.mpi.heat

Grid = np.ndarray[Any, np.dtype[np.float64]]
Sweep = Callable[[Grid, Grid], None]


def by_numpy(old: Grid, new: Grid) -> None:
    """One sweep over the inner points, from old into new: float64, of one shape, the outermost rows and columns are boundary.

    One operation after the other for the whole grid, which is therefore read and written seven times; on each point they come in the order
    of the loop, so the bits are the same.
    """
    centre, out = old[1:-1, 1:-1], new[1:-1, 1:-1]
    np.add(old[:-2, 1:-1], old[2:, 1:-1], out=out)
    out += old[1:-1, :-2]
    out += old[1:-1, 2:]
    out -= 4 * centre
    out *= A
    out += centre


class Plate:
    """n x m points inside a boundary of zeros, in two arrays: each step reads one and writes the other.

    u: float64, shape (2, n + 2, m + 2); u[now] is the present. sweep: by_numpy, or one of parlab.openmp_like.heat.
    """

    def __init__(self, n: int, m: int, sweep: Sweep = by_numpy) -> None:
        self.u, self.now, self.sweep = np.zeros((2, n + 2, m + 2)), 0, sweep

    def load(self, start: Grid) -> None:
        """Start afresh from the values of all points, shape (n, m)."""
        self.now = 0
        self.points()[:] = start

    def advance(self, steps: int) -> None:
        """Do so many time steps."""
        for _ in range(steps):
            self.sweep(self.u[self.now], self.u[1 - self.now])
            self.now = 1 - self.now

    def points(self) -> Grid:
        """Return the present values, shape (n, m): a view."""
        return self.u[self.now, 1:-1, 1:-1]
