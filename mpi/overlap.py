"""Computing while an all-reduce is on its way: a non-blocking collective moves only while the library is entered."""

from collections.abc import Callable

from mpi4py import MPI

from parlab.mpi.buffers import Array


def allreduce_while(
    comm: MPI.Intracomm, send: Array, recv: Array, piece: Callable[[], object], pieces: int, test: bool
) -> None:
    """Start an all-reduce (sum), do `pieces` pieces of other work, and complete it; with `test`, call Test after each piece.

    The standard promises no progress outside of MPI calls: without Test a library may move nothing until Wait.
    Source: MPI standard, "Progress"; Hoefler, Lumsdaine and Rehm, 2007.
    """
    request = comm.Iallreduce(send, recv)
    for _ in range(pieces):
        piece()
        if test:
            request.Test()
    request.Wait()
