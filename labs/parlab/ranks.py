"""The ranks of a communicator as a team, and the communicators of a whole scaling curve out of one launch."""

import time
from collections.abc import Iterable, Iterator

import numpy as np
from mpi4py import MPI

from parlab.machine import affinity
from parlab.measure import Array

NAP_SECONDS = 0.01


class Ranks:
    """A communicator as a `Team`: arrive by MPI_Barrier, agree by MPI_Allreduce of the maximum."""

    def __init__(self, comm: MPI.Intracomm) -> None:
        self.comm = comm
        self.barrier = comm.Barrier

    def slowest(self, values: Array) -> Array:
        """Return the elementwise maximum over the ranks."""
        most = np.empty_like(values)
        self.comm.Allreduce(values, most, MPI.MAX)
        return most

    def words(self, mine: str | None) -> dict[int, str]:
        """Give all ranks what any of them has to say, by rank."""
        return {rank: words for rank, words in enumerate(self.comm.allgather(mine)) if words}


def curve(world: MPI.Intracomm, sizes: Iterable[int]) -> Iterator[MPI.Intracomm]:
    """Yield on each rank the communicators that it belongs to, one for each size; the ranks that sit out sleep, they do not spin."""
    for size in sizes:
        part = world.Split(0 if world.rank < size else MPI.UNDEFINED)
        if isinstance(part, MPI.Intracomm) and part != MPI.COMM_NULL:
            yield part
            part.Free()
        sleep_until_all(world)


def sleep_until_all(world: MPI.Intracomm) -> None:
    """Wait for all ranks without keeping a core busy."""
    arrival = world.Ibarrier()
    while not arrival.Test():
        time.sleep(NAP_SECONDS)


def library() -> str:
    """Name the MPI library that really runs."""
    return MPI.Get_library_version().split(",")[0].split("\n")[0].strip()


def cores_of(world: MPI.Intracomm) -> int:
    """Count the cores that the ranks may use together: a bound rank sees but one, so their masks are united, host by host."""
    masks = world.allgather((MPI.Get_processor_name(), affinity()))
    return len({(host, core) for host, mask in masks for core in mask})
