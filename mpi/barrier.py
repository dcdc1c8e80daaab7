"""Barrier: no rank leaves before every rank has entered."""

import numpy as np
from mpi4py import MPI

from parlab.mpi.patterns import doubling


def dissemination(comm: MPI.Intracomm) -> None:
    """Tell the rank `distance` further, and hear from the one `distance` before, for distance 1, 2, 4 ...

    ceil(log2 p) steps of one empty message: after each, a rank has heard, directly or not, from twice as many.
    Source: Hensgen, Finkel and Manber, "Two algorithms for barrier synchronization", 1988.
    """
    p, rank = comm.size, comm.rank
    nothing = np.empty(0, np.uint8)
    for distance in doubling(p):
        comm.Sendrecv(nothing, (rank + distance) % p, recvbuf=nothing, source=(rank - distance) % p)
