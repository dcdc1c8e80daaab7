"""Ping-pong by messages, from pickled objects to persistent requests, and many messages in flight for the bandwidth."""

import numpy as np
from mpi4py import MPI

from parlab.mpi.rung import Rung


class Pickled(Rung):
    """The array goes through pickle, and arrives as a new array."""

    def __call__(self) -> None:
        """Two messages of pickled bytes."""
        if self.first:
            self.pair.send(self.outgoing, self.peer)
            self.incoming = self.pair.recv(source=self.peer)
        else:
            self.incoming = self.pair.recv(source=self.peer)
            self.pair.send(self.outgoing, self.peer)


class Buffered(Rung):
    """The library reads and writes the arrays themselves; buffer, count and type are spelled out once.

    Given the array alone, mpi4py works them out in every call, which costs about 0.1 us each time.
    """

    def _setup(self) -> None:
        self.out = [memoryview(self.outgoing), self.nbytes, MPI.BYTE]
        self.into = [memoryview(self.incoming), self.nbytes, MPI.BYTE]

    def __call__(self) -> None:
        """Two messages, the arrays' own bytes."""
        if self.first:
            self.pair.Send(self.out, self.peer)
            self.pair.Recv(self.into, self.peer)
        else:
            self.pair.Recv(self.into, self.peer)
            self.pair.Send(self.out, self.peer)


class Persistent(Rung):
    """Two requests, made once and started in every call."""

    def _setup(self) -> None:
        self.send = self.pair.Send_init(self.outgoing, self.peer)
        self.recv = self.pair.Recv_init(self.incoming, self.peer)

    def __call__(self) -> None:
        """Two messages; each rank starts to receive at once."""
        self.recv.Start()
        if self.first:
            self.send.Start()
            self.recv.Wait()
            self.send.Wait()
        else:
            self.recv.Wait()
            self.send.Start()
            self.send.Wait()

    def _teardown(self) -> None:
        self.send.Free()
        self.recv.Free()


class Windowed(Rung):
    """Not a ping-pong: rank 0 has `width` messages in flight, rank 1 answers with 0 bytes when all are there.

    On rank 0 outgoing, on rank 1 incoming has the shape (width, nbytes), one row a message.
    """

    def __init__(self, comm: MPI.Intracomm, nbytes: int, width: int) -> None:
        self.width = width
        super().__init__(comm, nbytes)

    def _setup(self) -> None:
        rows = np.zeros((self.width, self.nbytes), np.uint8)
        self.nothing = np.empty(0, np.uint8)
        if self.first:
            self.outgoing = rows
        else:
            self.incoming = rows

    def __call__(self) -> None:
        """Isends, Irecvs, and one answer of 0 bytes."""
        if self.first:
            MPI.Request.Waitall([self.pair.Isend(row, self.peer) for row in self.outgoing])
            self.pair.Recv(self.nothing, self.peer)
        else:
            MPI.Request.Waitall([self.pair.Irecv(row, self.peer) for row in self.incoming])
            self.pair.Send(self.nothing, self.peer)
