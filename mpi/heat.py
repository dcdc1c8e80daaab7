"""The 2-D heat equation by five-point Jacobi sweeps: the problem, and the serial program that is the base of speed-up.

    u_t = kappa (u_xx + u_yy)   on n x m points at spacing h, with a boundary of zeros around them
    new = old + A (north + south + west + east - 4 old)   with A = kappa dt / h^2

The start, the first sine mode, is an eigenvector of the sweep: each step multiplies it by one known number, and so any
grid can be checked in closed form.  Only A matters; h, dt and kappa need no values.
Source of the scheme and its stability limit: LeVeque, Finite Difference Methods, 2007, chapter 9.
"""

from math import exp, pi, sin

import numpy as np
from numba import njit
from numpy.typing import NDArray

Grid = NDArray[np.float64]

A = 0.2  # mesh ratio kappa dt / h^2, no unit; the explicit scheme is stable up to 1/4
FLOPS_PER_POINT = 7  # 4 additions, 1 subtraction, 2 multiplications; without fastmath the compiler keeps all of them
BYTES_PER_POINT = 16  # old read once, new written once: the least that a sweep moves when the caches cannot hold a grid


@njit(cache=True)  # no fastmath: sums keep their order, and so every way of cutting the grid gives the same bits
def sweep(old: Grid, new: Grid, i0: int, i1: int, j0: int, j1: int) -> None:
    """One Jacobi sweep over rows i0 to i1 - 1 and columns j0 to j1 - 1, from old into new.

    old, new: float64, C order, the same shape.  old is read one point beyond the rectangle; new is written inside it.
    Five slices, and not old[i - 1, j], because an index that may be negative must be tested for wrap-around at every
    point, and that keeps the inner loop from becoming vector code.
    """
    for i in range(i0, i1):
        north, south = old[i - 1, j0:j1], old[i + 1, j0:j1]
        west, east = old[i, j0 - 1 : j1 - 1], old[i, j0 + 1 : j1 + 1]
        centre, out = old[i, j0:j1], new[i, j0:j1]
        for j in range(out.size):
            out[j] = centre[j] + A * (north[j] + south[j] + west[j] + east[j] - 4 * centre[j])


class Plate:
    """n x m points inside a boundary of zeros, in two arrays: each step reads one and writes the other.

    u: float64, shape (2, n + 2, m + 2); u[now] is the present.
    area: (i0, i1, j0, j1), the rectangle of u[now] that a step sweeps.
    """

    sweep = staticmethod(sweep)  # a subclass may sweep by threads

    def __init__(self, n: int, m: int) -> None:
        self.u = self.allocate((2, n + 2, m + 2))
        self.area = (1, n + 1, 1, m + 1)
        self.now = 0

    def allocate(self, shape: tuple[int, int, int]) -> Grid:
        """Memory for u, zeros; a subclass whose memory must lie in an MPI window overrides this."""
        return np.zeros(shape)

    @property
    def points(self) -> Grid:
        """The present values without the boundary: a view of shape (n, m), to read or to assign to."""
        i0, i1, j0, j1 = self.area
        return self.u[self.now, i0:i1, j0:j1]

    def step(self) -> None:
        """Advance by one time step."""
        self.sweep(self.u[self.now], self.u[1 - self.now], *self.area)
        self.now = 1 - self.now


def first_mode(n: int, m: int) -> Grid:
    """The first sine mode on n x m inner points: shape (n, m), values in (0, 1]."""
    x, y = (np.sin(pi * np.arange(1, k + 1) / (k + 1)) for k in (n, m))
    return np.outer(x, y)


def decay(n: int, m: int, steps: int) -> float:
    """What is left of the first mode after so many sweeps: the sweep's eigenvalue, exact but for rounding."""
    x, y = (sin(pi / (2 * k + 2)) ** 2 for k in (n, m))
    return (1 - 4 * A * (x + y)) ** steps


def decay_of_heat(n: int, m: int, steps: int) -> float:
    """What the differential equation leaves of the first mode at that time; sweeps differ from it by O(h^2)."""
    return exp(-A * steps * pi**2 * ((n + 1) ** -2 + (m + 1) ** -2))
