"""The heat equation by MPI ranks, for a program that is not one of them; each rank may be a team of threads.

The program starts the ranks as a pool: between two orders they wait on a socket and leave the cores to others. An order is three numbers:
what to do, the side of the grid, how many steps. Rank 0 answers with the seconds that the slowest rank took; a whole grid goes to it after
the order or comes after the answer.
"""

import os
import socket
import struct
from functools import partial
from typing import Any

import numpy as np

from parlab import launch
from parlab.openmp_like.rank_member import receive
from parlab.openmp_like.rank_pool import Ranks

Grid = np.ndarray[Any, np.dtype[np.float64]]

MAKE, LOAD, ADVANCE, COLLECT, THERE_AND_BACK = range(1, 6)  # orders
ANSWER = struct.Struct("<d")  # seconds
LOCAL = partial(launch.ranks, environ={})  # on this machine, also inside a Slurm allocation


class HeatRanks(Ranks):
    """So many ranks of so many threads each, and a square grid cut up among them.

    Threads get a core each, of those that this process may use now; ranks of one thread stay where mpirun binds them.
    """

    def __init__(self, ranks: int, threads: int = 1) -> None:
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        told = ",".join(map(str, cores))
        super().__init__(ranks, LOCAL, "parlab.experiments.heat_member", str(threads), told)
        self.side = 0

    def load(self, start: Grid) -> None:
        """Start afresh from the values of all points, a square."""
        self._cut(len(start))
        self._do(LOAD, sent=start)

    def advance(self, steps: int) -> float:
        """Do so many time steps; return the seconds of the slowest rank."""
        return self._do(ADVANCE, steps)

    def points(self) -> Grid:
        """Return the present values."""
        grid = np.empty((self.side, self.side))
        self._do(COLLECT, received=grid)
        return grid

    def there_and_back(self) -> float:
        """Make new blocks, deal them the grid that was loaded, collect it; return the seconds of the slowest rank."""
        return self._do(THERE_AND_BACK)

    def _cut(self, side: int) -> None:
        if self.side != side:
            self.side = side
            self._do(MAKE)

    def _do(self, what: int, steps: int = 0, sent: Grid | None = None, received: Grid | None = None) -> float:
        with self.told(what, self.side, steps, to=len(self.ranks)) as first:
            if sent is not None:
                first.sendall(memoryview(np.ascontiguousarray(sent)).cast("B"))
            if not (answer := receive(first, ANSWER.size)):
                raise ConnectionError
            if received is not None:
                fill(received, first)
        seconds: float = ANSWER.unpack(answer)[0]
        return seconds


def fill(grid: Grid, peer: socket.socket) -> None:
    """Receive a grid. ConnectionError where the other side has gone."""
    rest = memoryview(grid).cast("B")
    while rest:
        if not (got := peer.recv_into(rest)):
            raise ConnectionError
        rest = rest[got:]
