"""Reduce: the root gets the combination of all ranks' arrays.

send: Array, the same shape and dtype on all ranks, left unchanged; or MPI.IN_PLACE at root: the input stands in recv.
recv: Array of that shape, written at root only (None elsewhere). n is its size in bytes.
"""

import numpy as np
from mpi4py import MPI

from parlab.mpi.buffers import Buffer
from parlab.mpi.operation import SUM, Op
from parlab.mpi.patterns import binomial_tree


def binomial(comm: MPI.Intracomm, send: Buffer, recv: Buffer, op: Op = SUM, root: int = 0) -> None:
    """Combine up a binomial tree: ceil(log2 p) steps; every rank but the root sends n.

    The order of the ranks is kept: a tree from rank 0 combines neighbouring ranks only. A tree from another root
    begins in the middle, so for a non-commutative operation rank 0 reduces, and sends to the root: one step more.
    Source: Thakur, Rabenseifner and Gropp, 2005.
    """
    p, rank = comm.size, comm.rank
    top = root if op.commutative else 0
    v = (rank - top) % p
    parent, children, _ = binomial_tree(v, p)
    partial = recv if send is MPI.IN_PLACE else send
    if children:
        result = recv if rank == root else np.empty_like(partial)
        incoming = np.empty_like(partial)
    for child, _ in children:
        comm.Recv(incoming, (child + top) % p)
        op.combine(partial, incoming, out=result)
        partial = result
    if v > 0:
        comm.Send(partial, (parent + top) % p)
    if top != root:
        if rank == top:
            comm.Send(partial, root)
        elif rank == root:
            comm.Recv(recv, top)
    elif p == 1 and partial is not recv:
        recv[...] = partial
