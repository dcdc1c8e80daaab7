"""All-to-all: rank i's block j becomes rank j's block i, a transposition across the ranks.

send: Array of shape (p, *block), left unchanged; or MPI.IN_PLACE: the input stands in recv, and is copied first.
recv: Array of shape (p, *block). n is the size of one block in bytes.
"""

import numpy as np
from mpi4py import MPI

from parlab.mpi.buffers import Array, Buffer
from parlab.mpi.patterns import doubling


def pairwise(comm: MPI.Intracomm, send: Buffer, recv: Array) -> None:
    """Exchange one block with another rank in each step: p - 1 steps, (p - 1) n sent by each rank.

    Source: Thakur, Rabenseifner and Gropp, 2005.
    """
    p, rank = comm.size, comm.rank
    mine = recv.copy() if send is MPI.IN_PLACE else send
    recv[rank] = mine[rank]
    for step in range(1, p):
        to, source = (rank + step) % p, (rank - step) % p
        comm.Sendrecv(mine[to], to, recvbuf=recv[source], source=source)


def bruck(comm: MPI.Intracomm, send: Buffer, recv: Array) -> None:
    """Move each block to the rank i further by the binary digits of i: ceil(log2 p) steps, about p / 2 n in each.

    For short blocks: it sends more bytes than pairwise, and copies every block some times, in fewer messages.
    Source: Bruck, Ho, Kipnis, Upfal and Weathersby, 1997.
    """
    p, rank = comm.size, comm.rank
    blocks = np.roll(recv if send is MPI.IN_PLACE else send, -rank, axis=0)  # blocks[i] must go i ranks further
    for distance in doubling(p):
        moving = np.flatnonzero(np.arange(p) & distance)
        outgoing = blocks[moving]
        incoming = np.empty_like(outgoing)
        comm.Sendrecv(outgoing, (rank + distance) % p, recvbuf=incoming, source=(rank - distance) % p)
        blocks[moving] = incoming
    recv[(rank - np.arange(p)) % p] = blocks  # blocks[i] has come from i ranks before
