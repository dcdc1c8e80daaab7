"""Allgather: every rank gets every rank's block.

send: Array of shape block, or MPI.IN_PLACE: this rank's block stands in recv[rank].
recv: Array of shape (p, *block). n is the size of one block in bytes; every algorithm sends (p - 1) n at least.
"""

from collections.abc import Sequence

import numpy as np
from mpi4py import MPI

from parlab.mpi.buffers import Array, Buffer
from parlab.mpi.patterns import doubling, power_of_two_members


def pass_around(comm: MPI.Intracomm, blocks: Sequence[Array]) -> None:
    """Fill blocks, of which this rank has blocks[rank], by passing them around a ring; they may differ in size."""
    p, rank = comm.size, comm.rank
    right, left = (rank + 1) % p, (rank - 1) % p
    for step in range(p - 1):
        comm.Sendrecv(blocks[(rank - step) % p], right, recvbuf=blocks[(rank - step - 1) % p], source=left)


def ring(comm: MPI.Intracomm, send: Buffer, recv: Array) -> None:
    """Pass every block once around a ring: p - 1 steps of one block, (p - 1) n sent by each rank.

    Only neighbours talk. Source: Thakur, Rabenseifner and Gropp, 2005.
    """
    if send is not MPI.IN_PLACE:
        recv[comm.rank] = send
    pass_around(comm, list(recv))


def recursive_doubling(comm: MPI.Intracomm, send: Buffer, recv: Array) -> None:
    """Exchange all that is known with a partner at distance 1, 2, 4 ...: log2 p steps, (p - 1) n sent by each rank.

    p not a power of two: two steps more; the odd ones of the first ranks give their block to their even neighbour
    before, and get all p blocks from it after. Source: Thakur, Rabenseifner and Gropp, 2005 (power of two).
    """
    p, rank = comm.size, comm.rank
    members = power_of_two_members(p)
    paired = rank < 2 * (p - len(members))
    if send is not MPI.IN_PLACE:
        recv[rank] = send
    if rank not in members:
        comm.Send(recv[rank], rank - 1)
        comm.Recv(recv, rank - 1)
        return
    if paired:
        comm.Recv(recv[rank + 1], rank + 1)
    me, first = members.index(rank), [*members, p]
    for distance in doubling(len(members)):
        known = me - me % distance  # this group: the members known .. known + distance - 1
        other = known ^ distance
        comm.Sendrecv(
            recv[first[known] : first[known + distance]],
            members[me ^ distance],
            recvbuf=recv[first[other] : first[other + distance]],
            source=members[me ^ distance],
        )
    if paired:
        comm.Send(recv, rank + 1)


def bruck(comm: MPI.Intracomm, send: Buffer, recv: Array) -> None:
    """Send all that is known to the rank `distance` before, for distance 1, 2, 4 ...: ceil(log2 p) steps for any p.

    Each rank sends (p - 1) n, and copies all p blocks once at the end, because they arrive counted from its own.
    Source: Bruck, Ho, Kipnis, Upfal and Weathersby, 1997.
    """
    p, rank = comm.size, comm.rank
    known = np.empty_like(recv)  # known[i] is the block of the rank i after this one
    known[0] = recv[rank] if send is MPI.IN_PLACE else send
    for distance in doubling(p):
        blocks = min(distance, p - distance)
        comm.Sendrecv(
            known[:blocks],
            (rank - distance) % p,
            recvbuf=known[distance : distance + blocks],
            source=(rank + distance) % p,
        )
    recv[...] = np.roll(known, rank, axis=0)
