"""What each rank of parlab.openmp_like.rank_pool runs: wait for a word, share the work out with the others, say that it is done.

`python -m mpi4py -m parlab.openmp_like.rank_member SOCKET MEMORY`, started by the pool.
"""

import socket
import struct
import sys
from functools import cache
from pathlib import Path

import numpy as np

ORDER = struct.Struct("<3q")  # count, parts, steps; a rank that calls in sends its number and two zeros
LEAVE = ORDER.pack(0, 0, 0)
DONE = b"."


def receive(peer: socket.socket, size: int) -> bytes:
    """Return so many bytes; none where the other side has gone."""
    got = b""
    while len(got) < size and (more := peer.recv(size - len(got))):
        got += more
    return got if len(got) == size else b""


def main(address: str, memory: str) -> None:
    """Serve until the pool says LEAVE."""
    from mpi4py import MPI

    from parlab.openmp_like.pools import Arrays, compiled, cuts, halves

    world = MPI.COMM_WORLD

    @cache
    def first_ranks(parts: int) -> MPI.Intracomm:
        return world.Create_group(world.group.Incl(list(range(parts))))

    # Not SharedMemory(name): before Python 3.13 the first rank to end would remove the memory for all (CPython's issue 82300).
    block = halves(np.memmap(Path("/dev/shm") / memory, np.uint8, "r+"))
    with socket.socket(socket.AF_UNIX) as pool:
        pool.connect(address)
        pool.sendall(ORDER.pack(world.rank, 0, 0))
        while (order := receive(pool, ORDER.size)) != LEAVE:
            if not order:  # cut off, perhaps between two orders: another rank may wait for this one for ever
                world.Abort(1)
            count, parts, steps = ORDER.unpack(order)
            sizes = [last - first for first, last in cuts(count, parts)]
            mine = Arrays(*np.empty((2, sizes[world.rank])))
            comm = first_ranks(parts)
            comm.Scatterv([block.values, sizes], mine.values)
            compiled(mine.values, mine.results, steps)
            comm.Gatherv(mine.results, [block.results, sizes])
            if world.rank == 0:
                pool.sendall(DONE)


if __name__ == "__main__":
    main(*sys.argv[1:])
