"""Computing while an all-reduce is on its way: a non-blocking collective moves only while the library is entered."""

from collections.abc import Callable

from mpi4py import MPI

from parlab.mpi.buffers import Array

Start = Callable[[], MPI.Request]  # starts an all-reduce and returns what to wait for


def nonblocking(comm: MPI.Intracomm, send: Array, recv: Array) -> tuple[Start, Callable[[], None]]:
    """An all-reduce (sum) that is set up anew in every call; and what frees it: nothing."""
    return lambda: comm.Iallreduce(send, recv), lambda: None


def persistent(comm: MPI.Intracomm, send: Array, recv: Array) -> tuple[Start, Callable[[], None]]:
    """An all-reduce (sum) that is set up once and only started in a call; and what frees it.

    NotImplementedError where the library has no persistent collectives (they came with MPI 4).
    """
    plan = comm.Allreduce_init(send, recv)

    def start() -> MPI.Request:
        plan.Start()
        return plan

    return start, plan.Free


def compute(piece: Callable[[], object], pieces: int) -> None:
    """Do the work alone."""
    for _ in range(pieces):
        piece()


def compute_while(start: Start, piece: Callable[[], object], pieces: int, test: bool) -> None:
    """Start an all-reduce, do `pieces` pieces of other work, and complete it; with `test`, call Test after each piece.

    The standard promises no progress outside of MPI calls: without Test a library may move nothing until Wait.
    Source: MPI standard, "Progress"; Hoefler, Lumsdaine and Rehm, 2007.
    """
    request = start()
    for _ in range(pieces):
        piece()
        if test:
            request.Test()
    request.Wait()
