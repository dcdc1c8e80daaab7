"""Gather: the root gets every rank's block.

send: Array of shape block, or MPI.IN_PLACE at root: its block stands in recv[root].
recv: Array of shape (p, *block), written at root only (None elsewhere). n is the size of one block in bytes.
"""

import numpy as np
from mpi4py import MPI

from parlab.mpi.buffers import Buffer
from parlab.mpi.patterns import binomial_tree


def binomial(comm: MPI.Intracomm, send: Buffer, recv: Buffer, root: int = 0) -> None:
    """Collect each subtree of a binomial tree in one message: ceil(log2 p) steps, the scatter backwards.

    The root sends nothing, another rank s n, where s is the number of ranks in its subtree.
    A root other than 0 collects in a second array and turns it at the end.
    Source: Thakur, Rabenseifner and Gropp, 2005.
    """
    p, v = comm.size, (comm.rank - root) % comm.size
    parent, children, end = binomial_tree(v, p)
    if v > 0 and not children:  # a leaf
        comm.Send(send, (parent + root) % p)
        return
    mine = recv[root] if send is MPI.IN_PLACE else send
    held = recv if comm.rank == root == 0 else np.empty((end - v, *mine.shape), mine.dtype)
    held[0] = mine
    for child, stop in children:
        comm.Recv(held[child - v : stop - v], (child + root) % p)
    if v > 0:
        comm.Send(held, (parent + root) % p)
    elif held is not recv:
        recv[...] = np.roll(held, root, axis=0)
