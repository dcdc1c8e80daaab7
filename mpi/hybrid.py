"""Ranks that are teams of threads: messages from block to block, threads within a block.

A rank for each part of the machine that shares memory closely (a host, a NUMA domain), and in it a thread for each core: there are fewer
and larger blocks than with a rank for each core, so fewer messages and less halo. Only the thread that called main() calls MPI, between two
sweeps: the mode that MPI names MPI_THREAD_FUNNELED.
"""

from numba import njit, prange

from parlab.mpi.halo import Persistent
from parlab.mpi.heat import Grid, sweep


@njit(parallel=True, cache=True)
def sweep_by_threads(old: Grid, new: Grid, i0: int, i1: int, j0: int, j1: int) -> None:
    """The sweep of parlab.mpi.heat with the same bits, its rows shared out over the threads of this process."""
    for i in prange(i0, i1):
        sweep(old, new, i, i + 1, j0, j1)


class Hybrid(Persistent):
    """A block whose halo comes by persistent messages and whose points are swept by threads."""

    sweep = staticmethod(sweep_by_threads)


def shape(cores: int) -> tuple[int, int] | None:
    """Return how many ranks and how many threads in each make up so many cores, at least two of both, as square as can be.

    None where there is no such shape, as for a prime number of cores.
    """
    fitting = [r for r in range(2, cores) if cores % r == 0 and r * r <= cores]
    return (fitting[-1], cores // fitting[-1]) if fitting else None
