"""Reduce-scatter: each rank gets its block of the combination of all ranks' arrays.

send: Array of sum(counts) elements, the same shape and dtype on all ranks, left unchanged;
    or MPI.IN_PLACE: the input stands in recv, which is overwritten, the result at its beginning.
recv: Array of counts[rank] elements at least.
counts: elements of each rank's block; by default the vector is cut as np.array_split cuts it.
n is the size of the whole vector in bytes, n_i that of rank i's block.
"""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from mpi4py import MPI

from parlab.mpi.buffers import Array, Buffer, cut, edges
from parlab.mpi.operation import SUM, Op, require_commutative


def combine_around(
    comm: MPI.Intracomm, mine: Sequence[Array], incoming: Sequence[Array], result: Sequence[Array], op: Op
) -> None:
    """Let each block travel once around the ring, combined with `mine` at every rank, until it is complete at its own.

    After it, result[rank] is complete. incoming[b] is where block b is received, result[b] where it is combined;
    they may be the same, and result may be mine.
    """
    p, rank = comm.size, comm.rank
    right, left = (rank + 1) % p, (rank - 1) % p
    outgoing = mine[left]  # block b starts at the rank after b, so that it ends at b
    for step in range(2, p + 1):
        block = (rank - step) % p
        comm.Sendrecv(outgoing, right, recvbuf=incoming[block], source=left)
        op.combine(incoming[block], mine[block], out=result[block])
        outgoing = result[block]


def ring(comm: MPI.Intracomm, send: Buffer, recv: Array, op: Op = SUM, counts: Sequence[int] | None = None) -> None:
    """Combine around a ring: p - 1 steps of one block; each rank sends n - n_rank. Commutative operations only.

    Source: Patarasuk and Yuan, 2009 (the first half of their all-reduce).
    """
    require_commutative(op, "the ring reduce-scatter")
    p, rank = comm.size, comm.rank
    mine = _blocks(comm, send, recv, counts)
    own = recv[: len(mine[rank])]
    if p == 1:
        own[...] = mine[rank]
        return
    longest = max(mine, key=len)
    two = np.empty_like(longest), np.empty_like(longest)  # one goes out while the other comes in
    partial = [two[(rank - block - 1) % p % 2][: len(mine[block])] for block in range(p)]
    combine_around(comm, mine, partial, [*partial[:rank], own, *partial[rank + 1 :]], op)


def pairwise(comm: MPI.Intracomm, send: Buffer, recv: Array, op: Op = SUM, counts: Sequence[int] | None = None) -> None:
    """Send every rank its block directly, each time to another: p - 1 steps; each rank sends n - n_rank.

    The order of the ranks is kept: blocks come from rank - 1 down to 0, then from p - 1 down to rank + 1,
    so each of the two runs is combined from its end, and the two are combined last.
    Source: Thakur, Rabenseifner and Gropp, 2005 (there for commutative operations).
    """
    p, rank = comm.size, comm.rank
    mine = _blocks(comm, send, recv, counts)
    lower = mine[rank].copy()  # combines the ranks 0 .. rank
    higher, incoming = np.empty_like(lower), np.empty_like(lower)  # higher combines the ranks rank + 1 .. p - 1
    for step in range(1, p):
        to, source = (rank + step) % p, (rank - step) % p
        comm.Sendrecv(mine[to], to, recvbuf=incoming if source != p - 1 else higher, source=source)
        if source < rank:
            op.combine(incoming, lower, out=lower)
        elif source < p - 1:
            op.combine(incoming, higher, out=higher)
    if rank < p - 1:
        op.combine(lower, higher, out=lower)
    recv[: len(lower)] = lower


def _blocks(comm: MPI.Intracomm, send: Buffer, recv: Array, counts: Sequence[int] | None) -> list[Array]:
    """Return this rank's input cut into one block per rank; ValueError if the counts do not fit it."""
    mine = recv if send is MPI.IN_PLACE else send
    if counts is None:
        return cut(mine, edges(len(mine), comm.size))
    if len(counts) != comm.size or sum(counts) != len(mine):
        raise ValueError(f"counts {list(counts)} do not cut {len(mine)} elements into {comm.size} blocks")
    return cut(mine, [0, *accumulate(counts)])
