"""All-reduce: every rank gets the combination of all ranks' arrays.

send: Array, the same shape and dtype on all ranks, left unchanged; or MPI.IN_PLACE: the input stands in recv.
recv: Array of that shape. n is its size in bytes.

No algorithm begins by copying send to recv: the first step sends from send, and combines into recv. From then on the
partial result stands in recv.
"""

import numpy as np
from mpi4py import MPI

from parlab.mpi import bcast, reduce
from parlab.mpi.allgather import pass_around
from parlab.mpi.buffers import Array, Buffer, cut, edges
from parlab.mpi.operation import SUM, Op, require_commutative
from parlab.mpi.patterns import doubling, power_of_two_members
from parlab.mpi.reduce_scatter import combine_around


def reduce_bcast(comm: MPI.Intracomm, send: Buffer, recv: Array, op: Op = SUM) -> None:
    """Reduce to rank 0, then broadcast, both on a binomial tree: 2 ceil(log2 p) steps; keeps the order of the ranks.

    Rank 0 sends ceil(log2 p) n, the others n and n to each of their children.
    """
    at_other_ranks = recv if send is MPI.IN_PLACE else send  # MPI's reduce knows IN_PLACE at the root only
    reduce.binomial(comm, send if comm.rank == 0 else at_other_ranks, recv, op)
    bcast.binomial(comm, recv)


def ring(comm: MPI.Intracomm, send: Buffer, recv: Array, op: Op = SUM) -> None:
    """Reduce-scatter, then allgather, both around a ring: 2 (p - 1) steps; each rank sends about 2 (p - 1) / p n.

    No algorithm sends less, and only neighbours talk. Commutative operations only. Source: Patarasuk and Yuan, 2009.
    """
    require_commutative(op, "the ring all-reduce")
    if comm.size == 1:
        _copy(send, recv)
        return
    start = edges(len(recv), comm.size)
    result = cut(recv, start)
    if send is MPI.IN_PLACE:
        scratch = np.empty_like(result[0])
        combine_around(comm, result, [scratch[: len(block)] for block in result], result, op)
    else:
        combine_around(comm, cut(send, start), result, result, op)
    pass_around(comm, result)


def recursive_doubling(comm: MPI.Intracomm, send: Buffer, recv: Array, op: Op = SUM) -> None:
    """Exchange the whole partial result with a partner at distance 1, 2, 4 ...: log2 p steps, log2(p) n sent by each.

    Fewest steps, so best for short arrays. Keeps the order of the ranks. p not a power of two: see _fold.
    Source: Thakur, Rabenseifner and Gropp, 2005.
    """
    members, partial = _fold(comm, send, recv, op)
    if comm.rank in members:
        me = members.index(comm.rank)
        for distance in doubling(len(members)):
            partner = members[me ^ distance]
            incoming = np.empty_like(recv) if partial is recv else recv
            comm.Sendrecv(partial, partner, recvbuf=incoming, source=partner)
            if me & distance:
                op.combine(incoming, partial, recv)
            else:
                op.combine(partial, incoming, recv)
            partial = recv
    _unfold(comm, members, recv)


def rabenseifner(comm: MPI.Intracomm, send: Buffer, recv: Array, op: Op = SUM) -> None:
    """Halve the array with a partner at distance 1, 2, 4 ... until each rank has combined its block, then go back.

    2 log2 p steps; each rank sends about 2 (p - 1) / p n: the ring's bytes in recursive doubling's number of steps.
    Keeps the order of the ranks, because the distance doubles while the array halves. p not a power of two: see _fold.
    Source: Rabenseifner, "Optimization of Collective Reduction Operations", 2004.
    """
    members, partial = _fold(comm, send, recv, op)
    if comm.rank in members:
        me = members.index(comm.rank)
        start, stop = 0, len(recv)
        way_back = []
        for distance in doubling(len(members)):  # reduce-scatter
            partner = members[me ^ distance]
            lower, upper = slice(start, (start + stop) // 2), slice((start + stop) // 2, stop)
            keep, give = (upper, lower) if me & distance else (lower, upper)
            incoming = np.empty_like(recv[keep]) if partial is recv else recv[keep]
            comm.Sendrecv(partial[give], partner, recvbuf=incoming, source=partner)
            if me & distance:
                op.combine(incoming, partial[keep], recv[keep])
            else:
                op.combine(partial[keep], incoming, recv[keep])
            partial = recv
            way_back.append((partner, keep, give))
            start, stop = keep.start, keep.stop
        for partner, keep, give in reversed(way_back):  # allgather: what was given away comes back complete
            comm.Sendrecv(recv[keep], partner, recvbuf=recv[give], source=partner)
    _unfold(comm, members, recv)


def _copy(send: Buffer, recv: Array) -> None:
    """Give one rank alone its result."""
    if send is not MPI.IN_PLACE:
        recv[...] = send


def _fold(comm: MPI.Intracomm, send: Buffer, recv: Array, op: Op) -> tuple[list[int], Array]:
    """Leave a power of two of ranks, the members; return them and the array in which the partial result stands.

    The odd ones of the first 2 (p - 2**k) ranks send their input to their even neighbour, which combines: 1 step, n.
    """
    members = power_of_two_members(comm.size)
    partial = recv if send is MPI.IN_PLACE else send
    if comm.size == 1:
        _copy(send, recv)
    if comm.rank >= 2 * (comm.size - len(members)):
        return members, partial
    if comm.rank % 2 == 1:
        comm.Send(partial, comm.rank - 1)
        return members, partial
    incoming = np.empty_like(recv) if partial is recv else recv
    comm.Recv(incoming, comm.rank + 1)
    op.combine(partial, incoming, recv)
    return members, recv


def _unfold(comm: MPI.Intracomm, members: list[int], recv: Array) -> None:
    """Send the result to the ranks that were folded away: 1 step, n."""
    if comm.rank >= 2 * (comm.size - len(members)):
        return
    if comm.rank % 2 == 0:
        comm.Send(recv, comm.rank + 1)
    else:
        comm.Recv(recv, comm.rank - 1)
