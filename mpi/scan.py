"""Scan: rank i gets the combination of the arrays of the ranks 0 .. i (inclusive prefix).

send: Array, the same shape and dtype on all ranks, left unchanged; or MPI.IN_PLACE: the input stands in recv.
recv: Array of that shape. n is its size in bytes.
"""

import numpy as np
from mpi4py import MPI

from parlab.mpi.buffers import Array, Buffer
from parlab.mpi.operation import SUM, Op
from parlab.mpi.patterns import doubling


def recursive_doubling(comm: MPI.Intracomm, send: Buffer, recv: Array, op: Op = SUM) -> None:
    """Combine with what the rank `distance` before has, for distance 1, 2, 4 ...: ceil(log2 p) steps.

    A rank sends n in each step in which there is a rank `distance` further. Keeps the order of the ranks.
    Source: Hillis and Steele, "Data Parallel Algorithms", 1986.
    """
    p, rank = comm.size, comm.rank
    if send is not MPI.IN_PLACE:
        recv[...] = send
    incoming = np.empty_like(recv)
    for distance in doubling(p):
        to = rank + distance if rank + distance < p else MPI.PROC_NULL
        source = rank - distance if rank >= distance else MPI.PROC_NULL
        comm.Sendrecv(recv, to, recvbuf=incoming, source=source)
        if source != MPI.PROC_NULL:
            op.combine(incoming, recv, out=recv)
