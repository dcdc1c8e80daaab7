"""Scatter: each rank gets its block of the root's array.

send: Array of shape (p, *block), read at root only (None elsewhere).
recv: Array of shape block, or MPI.IN_PLACE at root: its block stays where it is. n is the size of one block in bytes.
"""

import numpy as np
from mpi4py import MPI

from parlab.mpi.buffers import Buffer
from parlab.mpi.patterns import binomial_tree


def binomial(comm: MPI.Intracomm, send: Buffer, recv: Buffer, root: int = 0) -> None:
    """Send each subtree of a binomial tree its blocks in one message: ceil(log2 p) steps.

    The root sends (p - 1) n, another rank (s - 1) n, where s is the number of ranks in its subtree.
    A root other than 0 first turns a copy of its array, so that every subtree's blocks are contiguous.
    Source: Thakur, Rabenseifner and Gropp, 2005.
    """
    p, v = comm.size, (comm.rank - root) % comm.size
    parent, children, end = binomial_tree(v, p)
    if v > 0 and not children:  # a leaf
        comm.Recv(recv, (parent + root) % p)
        return
    if v == 0:
        held = np.roll(send, -root, axis=0) if root > 0 else send
    else:
        held = np.empty((end - v, *recv.shape), recv.dtype)
        comm.Recv(held, (parent + root) % p)
    for child, stop in reversed(children):  # the largest subtree first: it has the longest way to go
        comm.Send(held[child - v : stop - v], (child + root) % p)
    if recv is not MPI.IN_PLACE:
        recv[...] = held[0]
