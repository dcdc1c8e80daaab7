"""The sweep of the heat equation as a loop, and the same loop over several threads; parlab.openmp_like.plate has the problem.

All operations of a point are done while it is at hand, so the grid is read once and written once. Their order is that of NumPy's sweep:
the bits are the same by every way.
"""

from numba import njit, prange

from parlab.openmp_like.plate import A, Grid, Plate

FLOPS_PER_POINT = 7  # 4 additions, 1 subtraction, 2 multiplications
BYTES_PER_POINT = 16  # old read once, new written once


@njit(inline="always")  # no fastmath: sums keep their order
def _row(old: Grid, new: Grid, i: int) -> None:
    """Sweep row i. Slices, and not old[i - 1, j]: an index that may be negative is tested at each point, and that is no vector code."""
    north, south, west, east = old[i - 1, 1:-1], old[i + 1, 1:-1], old[i, :-2], old[i, 2:]
    centre, out = old[i, 1:-1], new[i, 1:-1]
    for j in range(out.size):
        out[j] = centre[j] + A * (north[j] + south[j] + west[j] + east[j] - 4 * centre[j])


@njit(cache=True)
def by_loop(old: Grid, new: Grid) -> None:
    """One sweep over the inner points, from old into new, one after the other: the serial program."""
    for i in range(1, old.shape[0] - 1):
        _row(old, new, i)


@njit(parallel=True, cache=True)
def by_threads(old: Grid, new: Grid) -> None:
    """The same sweep, its rows shared out over the threads: `#pragma omp parallel for schedule(static)`."""
    for i in prange(1, old.shape[0] - 1):
        _row(old, new, i)


@njit(parallel=True, cache=True)
def carry(old: Grid, new: Grid) -> None:
    """Read and write every point once, as a sweep must, and compute nothing: the bound."""
    for i in prange(1, old.shape[0] - 1):
        here, out = old[i, 1:-1], new[i, 1:-1]
        for j in range(out.size):
            out[j] = here[j]


class Shared(Plate):
    """A plate that threads sweep. Memory lies near the core that writes it first, so each thread is the first to write its rows."""

    def __init__(self, n: int, m: int) -> None:
        super().__init__(n, m, by_threads)
        _touch(self.u)  # the system hands out zeros without writing them


@njit(parallel=True, cache=True)
def _touch(u: Grid) -> None:
    for i in prange(1, u.shape[1] - 1):
        u[:, i] = 0.0
