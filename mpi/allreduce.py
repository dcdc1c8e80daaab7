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
    start = edges(len(recv), comm.size)
    result = cut(recv, start)
    if send is MPI.IN_PLACE:
        scratch = np.empty_like(result[0])
        combine_around(comm, result, [scratch[: len(block)] for block in result], result, op)
    elif comm.size == 1:
        recv[...] = send
    else:
        combine_around(comm, cut(send, start), result, result, op)
    pass_around(comm, result)


def recursive_doubling(comm: MPI.Intracomm, send: Buffer, recv: Array, op: Op = SUM) -> None:
    """Exchange the whole partial result with a partner at distance 1, 2, 4 ...: log2 p steps, log2(p) n sent by each.

    Fewest steps, so best for short arrays. Keeps the order of the ranks.
    p not a power of two: 2 steps more, because the ranks too many fold into their neighbours (power_of_two_members).
    Source: Thakur, Rabenseifner and Gropp, 2005.
    """
    p, rank = comm.size, comm.rank
    members = power_of_two_members(p)
    partial = recv if send is MPI.IN_PLACE else send
    if p == 1:
        recv[...] = partial
    if rank < 2 * (p - len(members)):
        partial = _fold(comm, partial, recv, op)
    if rank in members:
        me = members.index(rank)
        for distance in doubling(len(members)):
            partner = members[me ^ distance]
            incoming = np.empty_like(recv) if partial is recv else recv
            comm.Sendrecv(partial, partner, recvbuf=incoming, source=partner)
            if me & distance:
                op.combine(incoming, partial, out=recv)
            else:
                op.combine(partial, incoming, out=recv)
            partial = recv
    if rank < 2 * (p - len(members)):
        _unfold(comm, recv)


def rabenseifner(comm: MPI.Intracomm, send: Buffer, recv: Array, op: Op = SUM) -> None:
    """Halve the array with a partner at distance 1, 2, 4 ... until each rank has combined its block, then go back.

    2 log2 p steps; each rank sends about 2 (p - 1) / p n: the ring's bytes in recursive doubling's number of steps.
    Keeps the order of the ranks, because the distance doubles while the array halves.
    p not a power of two: 2 steps more, because the ranks too many fold into their neighbours (power_of_two_members).
    Source: Rabenseifner, "Optimization of Collective Reduction Operations", 2004.
    """
    p, rank = comm.size, comm.rank
    members = power_of_two_members(p)
    partial = recv if send is MPI.IN_PLACE else send
    if p == 1:
        recv[...] = partial
    if rank < 2 * (p - len(members)):
        partial = _fold(comm, partial, recv, op)
    if rank in members:
        me = members.index(rank)
        start, stop = 0, len(recv)
        way_back = []
        for distance in doubling(len(members)):  # reduce-scatter
            partner, middle = members[me ^ distance], (start + stop) // 2
            lower, upper = slice(start, middle), slice(middle, stop)
            keep, give = (upper, lower) if me & distance else (lower, upper)
            incoming = np.empty_like(recv[keep]) if partial is recv else recv[keep]
            comm.Sendrecv(partial[give], partner, recvbuf=incoming, source=partner)
            if me & distance:
                op.combine(incoming, partial[keep], out=recv[keep])
            else:
                op.combine(partial[keep], incoming, out=recv[keep])
            partial = recv
            way_back.append((partner, keep, give))
            start, stop = keep.start, keep.stop
        for partner, keep, give in reversed(way_back):  # allgather: what was given away comes back complete
            comm.Sendrecv(recv[keep], partner, recvbuf=recv[give], source=partner)
    if rank < 2 * (p - len(members)):
        _unfold(comm, recv)


def _fold(comm: MPI.Intracomm, partial: Array, recv: Array, op: Op) -> Array:
    """Let an odd rank send its input to the even rank before it, which combines: 1 step, n.

    Return the array in which the partial result stands.
    """
    if comm.rank % 2 == 1:
        comm.Send(partial, comm.rank - 1)
        return partial
    incoming = np.empty_like(recv) if partial is recv else recv
    comm.Recv(incoming, comm.rank + 1)
    op.combine(partial, incoming, out=recv)
    return recv


def _unfold(comm: MPI.Intracomm, recv: Array) -> None:
    """Let the even rank send the result to the odd rank after it: 1 step, n."""
    if comm.rank % 2 == 1:
        comm.Recv(recv, comm.rank - 1)
    else:
        comm.Send(recv, comm.rank + 1)
