"""What each rank of parlab.experiments.heat_ranks runs: wait for an order, obey it together with the others, let rank 0 answer.

`python -m mpi4py -m parlab.experiments.heat_member SOCKET THREADS CORES`, started by the pool. CORES: 0,1,2,3, say; a rank of several
threads takes its share of them.
"""

import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

import numpy as np
from mpi4py import MPI

from parlab.experiments.heat_ranks import ADVANCE, ANSWER, COLLECT, LOAD, MAKE, THERE_AND_BACK, Grid, fill
from parlab.mpi.block import Block
from parlab.mpi.deal import collect, deal
from parlab.mpi.halo import Persistent
from parlab.mpi.hybrid import Hybrid
from parlab.openmp_like.rank_member import LEAVE, ORDER, receive

WORLD = MPI.COMM_WORLD


class Member:
    """This rank's block of the grid; on rank 0 the whole grid too."""

    def __init__(self, kind: type[Block], pool: socket.socket) -> None:
        self.kind, self.pool = kind, pool
        self.cart = WORLD.Create_cart(MPI.Compute_dims(WORLD.size, 2))
        self.block: Block | None = None
        self.whole: Grid | None = None

    def obey(self, what: int, side: int, steps: int) -> float:
        """Do what is ordered; return the seconds that the slowest rank took for what is timed, else 0."""
        if what == MAKE:
            self.make(side)
            self.whole = np.empty((side, side)) if WORLD.rank == 0 else None
        if what == LOAD:
            if self.whole is not None:
                fill(self.whole, self.pool)
            deal(self.held, self.whole)
        if what == ADVANCE:
            return slowest(lambda: self.advance(steps))
        if what == COLLECT:
            collect(self.held, self.whole)
        if what == THERE_AND_BACK:
            return slowest(lambda: self.there_and_back(side))
        return 0.0

    @property
    def held(self) -> Block:
        """The block that there is by now."""
        assert self.block
        return self.block

    def make(self, side: int) -> None:
        """Cut the grid afresh."""
        if self.block:
            self.block.free()
        self.block = self.kind(self.cart, side, side)

    def advance(self, steps: int) -> None:
        """Do so many time steps."""
        for _ in range(steps):
            self.held.step()

    def there_and_back(self, side: int) -> None:
        """Hand the whole grid out, and take it back."""
        self.make(side)
        deal(self.held, self.whole)
        collect(self.held, self.whole)


def slowest(act: Callable[[], None]) -> float:
    """Begin together; return the seconds of the slowest rank."""
    WORLD.Barrier()
    begin = perf_counter()
    act()
    return float(WORLD.allreduce(perf_counter() - begin, MPI.MAX))


@contextmanager
def team(threads: int, cores: list[int]) -> Iterator[None]:
    """Let this rank's threads have its share of the cores, each of them one."""
    if threads == 1:
        yield
        return
    import numba

    from parlab.openmp_like.threads import pinned

    numba.set_num_threads(threads)
    share = cores[WORLD.rank * threads : (WORLD.rank + 1) * threads]
    if len(share) == threads:  # else there are more threads than cores
        os.sched_setaffinity(0, share)
    with pinned(threads):
        yield


def main(address: str, threads: str, cores: str) -> None:
    """Serve until the pool says LEAVE."""
    kind = Hybrid if int(threads) > 1 else Persistent
    with team(int(threads), [int(core) for core in cores.split(",") if core]), socket.socket(socket.AF_UNIX) as pool:
        pool.connect(address)
        pool.sendall(ORDER.pack(WORLD.rank, 0, 0))
        member = Member(kind, pool)
        while (order := receive(pool, ORDER.size)) != LEAVE:
            if not order:  # cut off, perhaps between two orders: another rank may wait for this one for ever
                WORLD.Abort(1)
            what, side, steps = ORDER.unpack(order)
            seconds = member.obey(what, side, steps)
            if member.whole is not None:
                pool.sendall(ANSWER.pack(seconds))
                if what == COLLECT:
                    pool.sendall(memoryview(member.whole).cast("B"))


if __name__ == "__main__":
    main(*sys.argv[1:])
