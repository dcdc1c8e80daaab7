"""Which ranks share memory, and whether they must share cores."""

import os

from mpi4py import MPI


def one_node(comm: MPI.Intracomm) -> bool:
    """Say whether all ranks of comm are on one node.  Collective."""
    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    whole = node.size == comm.size
    node.Free()
    return bool(whole)


def crowded(comm: MPI.Intracomm) -> bool:
    """Say whether comm, all on one node, has more ranks than its ranks may use cores (known on Linux).  Collective."""
    if not hasattr(os, "sched_getaffinity"):
        return False
    return comm.size > len(set().union(*comm.allgather(os.sched_getaffinity(0))))
