"""What all rungs of the ladder have in common: two ranks, a payload each way, a beginning and an end."""

import numpy as np
from mpi4py import MPI

from parlab.mpi.buffers import Array
from parlab.mpi.lent import Lent


class Rung(Lent):
    """A ping-pong of nbytes bytes between ranks 0 and 1 of comm.

    All ranks of comm construct it and free it; ranks 0 and 1 call it.
    outgoing, incoming: uint8 arrays of nbytes elements. Change outgoing between calls; read incoming before the other
    rank calls again: where it lies in a window, the next message arrives without being received.
    ValueError if comm has one rank.
    """

    def __init__(self, comm: MPI.Intracomm, nbytes: int) -> None:
        if comm.size < 2:
            raise ValueError("a ping-pong needs two ranks")
        self.nbytes = nbytes
        self.outgoing: Array = np.zeros(nbytes, np.uint8)
        self.incoming: Array = np.zeros(nbytes, np.uint8)
        self.pair = MPI.Intracomm(comm.Split(0 if comm.rank < 2 else MPI.UNDEFINED))
        if self.pair != MPI.COMM_NULL:
            self.first, self.peer = self.pair.rank == 0, 1 - self.pair.rank
            self._setup()

    def _setup(self) -> None:
        """Prepare what lasts from call to call, on the two ranks."""

    def __call__(self) -> None:
        """Make one round trip."""
        raise NotImplementedError

    def repeat(self, rounds: int) -> None:
        """Make `rounds` round trips, all with the same bytes."""
        for _ in range(rounds):
            self()

    def _teardown(self) -> None:
        """Undo setup."""

    def free(self) -> None:
        """Give back what MPI lent (collective); arrays that lie in a window go with it."""
        if self.pair != MPI.COMM_NULL:
            self._teardown()
            self.pair.Free()


class Loop(Rung):
    """A rung whose rounds all happen in compiled code: Python's own time is paid once."""

    def __call__(self) -> None:
        """Make one round trip."""
        self.repeat(1)

    def repeat(self, rounds: int) -> None:
        """Make `rounds` round trips, all with the same bytes."""
        raise NotImplementedError
