"""A communicator that counts what an algorithm sends through it."""

from typing import Self

from mpi4py import MPI

from parlab.mpi.buffers import Array


class Counting(MPI.Intracomm):
    """The communicator `comm` itself, which also counts the messages and the bytes that this rank sends.

    It counts Send and Sendrecv, the two calls by which the algorithms send; a message to MPI.PROC_NULL is none.
    All else is the communicator's own.
    """

    messages: int
    bytes: int

    def __new__(cls, comm: MPI.Intracomm) -> Self:
        """Give the handle of `comm` (no duplicate is made) and start from zero."""
        self = super().__new__(cls, comm)
        self.messages = self.bytes = 0
        return self

    def Send(self, buf: Array, dest: int, tag: int = 0) -> None:  # type: ignore[override]  # arrays only: .nbytes
        """Send as comm.Send does, and count."""
        self._count(buf, dest)
        super().Send(buf, dest, tag)

    def Sendrecv(  # type: ignore[override]
        self, sendbuf: Array, dest: int, *, recvbuf: Array, source: int
    ) -> None:
        """Send and receive as comm.Sendrecv does, and count what is sent."""
        self._count(sendbuf, dest)
        super().Sendrecv(sendbuf, dest, recvbuf=recvbuf, source=source)

    def _count(self, x: Array, dest: int) -> None:
        if dest != MPI.PROC_NULL:
            self.messages += 1
            self.bytes += x.nbytes
