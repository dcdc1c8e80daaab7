"""Which ranks share memory."""

from mpi4py import MPI


def one_node(comm: MPI.Intracomm) -> bool:
    """Say whether all ranks of comm are on one node.  Collective."""
    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    whole = node.size == comm.size
    node.Free()
    return bool(whole)
