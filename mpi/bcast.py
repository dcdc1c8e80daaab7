"""Broadcast: the root's array reaches every rank.

x: Array, the same shape and dtype on all ranks; the input at root, the output elsewhere. n is its size in bytes.
"""

from mpi4py import MPI

from parlab.mpi.allgather import pass_around
from parlab.mpi.buffers import Array, cut, edges
from parlab.mpi.patterns import binomial_tree


def linear(comm: MPI.Intracomm, x: Array, root: int = 0) -> None:
    """Send from the root to each rank in turn: p - 1 steps; the root sends (p - 1) n, the others nothing."""
    if comm.rank != root:
        comm.Recv(x, root)
        return
    for rank in range(comm.size):
        if rank != root:
            comm.Send(x, rank)


def binomial(comm: MPI.Intracomm, x: Array, root: int = 0) -> None:
    """Send down a binomial tree: in each step all ranks that have x send it on, so ceil(log2 p) steps.

    The root sends ceil(log2 p) n, the others n to each of their children.
    """
    p, v = comm.size, (comm.rank - root) % comm.size
    parent, children, _ = binomial_tree(v, p)
    if v > 0:
        comm.Recv(x, (parent + root) % p)
    for child, _ in reversed(children):  # the largest subtree first: it has the longest way to go
        comm.Send(x, (child + root) % p)


def scatter_allgather(comm: MPI.Intracomm, x: Array, root: int = 0) -> None:
    """Scatter x in p blocks down a binomial tree, then pass the blocks around a ring: ceil(log2 p) + p - 1 steps.

    The root sends 2 (p - 1) / p n instead of binomial's ceil(log2 p) n: better for long arrays.
    Source: van de Geijn's algorithm, as in Thakur, Rabenseifner and Gropp, "Optimization of Collective Communication
    Operations in MPICH", 2005.
    """
    p, v = comm.size, (comm.rank - root) % comm.size
    start = edges(len(x), p)
    parent, children, end = binomial_tree(v, p)
    if v > 0:
        comm.Recv(x[start[v] : start[end]], (parent + root) % p)
    for child, stop in reversed(children):
        comm.Send(x[start[child] : start[stop]], (child + root) % p)
    blocks = cut(x, start)
    pass_around(comm, blocks[p - root :] + blocks[: p - root])  # block v belongs to the rank (v + root) % p
