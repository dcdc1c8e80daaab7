"""Halo exchange by messages: five ways to move the same four edges.

    sendrecv        blocking, one shift after the other; edges are derived datatypes
    packed          the same shifts, but the strided columns are copied to and from contiguous buffers by hand
    overlapped      non-blocking: the interior, which needs no halo, is swept while the messages fly, the rim after them
    persistent      non-blocking, but each message is set up once, for either array, and only started in a step
    neighbourhood   one collective call on the Cartesian communicator

Two ranks share one side at most, so that no tags are needed.  Ways without messages are in halo_onesided.py.
VARIANTS names them all: VARIANTS[name](cart, n, m) is a Block.
"""

import numpy as np
from mpi4py import MPI

from parlab.mpi.block import OPPOSITE, SIDES, Block, TypedBlock
from parlab.mpi.halo_onesided import OneSided, Shared
from parlab.mpi.heat import Grid, sweep


class Sendrecv(TypedBlock):
    """Blocking messages and derived datatypes."""

    def exchange(self) -> None:
        """Four shifts: each sends one rim one way and receives the opposite halo from the other way."""
        u = self.u[self.now]
        for to, source in zip(SIDES, OPPOSITE, strict=True):
            rim, halo = [u, 1, self.rims[to]], [u, 1, self.halos[source]]
            self.cart.Sendrecv(rim, self.neighbours[to], recvbuf=halo, source=self.neighbours[source])


class Packed(Block):
    """Blocking messages without datatypes: a row is contiguous already, a column is copied."""

    def __init__(self, cart: MPI.Cartcomm, n: int, m: int) -> None:
        super().__init__(cart, n, m)
        self.outgoing, self.incoming = np.empty((2, len(self.points)))

    def exchange(self) -> None:
        """The four shifts of Sendrecv, written out."""
        u = self.u[self.now]
        north, south, west, east = self.neighbours
        self.cart.Sendrecv(u[1, 1:-1], north, recvbuf=u[-1, 1:-1], source=south)
        self.cart.Sendrecv(u[-2, 1:-1], south, recvbuf=u[0, 1:-1], source=north)
        self._shift_column(u[1:-1, 1], west, u[1:-1, -1], east)
        self._shift_column(u[1:-1, -2], east, u[1:-1, 0], west)

    def _shift_column(self, rim: Grid, to: int, halo: Grid, source: int) -> None:
        self.outgoing[:] = rim
        self.cart.Sendrecv(self.outgoing, to, recvbuf=self.incoming, source=source)
        if source != MPI.PROC_NULL:  # at the boundary nothing came in, and the halo stays 0
            halo[:] = self.incoming


class Overlapped(TypedBlock):
    """Communication during computation, as far as the MPI library makes progress outside of its calls."""

    def step(self) -> None:
        """Start the messages, sweep the interior, wait, sweep the rim (in a thin block some of it twice: no harm)."""
        old, new = self.u[self.now], self.u[1 - self.now]
        n, m = self.points.shape
        ends = list(zip(self.neighbours, self.halos, self.rims, strict=True))
        requests = [self.cart.Irecv([old, 1, halo], source) for source, halo, _ in ends]
        requests += [self.cart.Isend([old, 1, rim], to) for to, _, rim in ends]
        sweep(old, new, 2, n, 2, m)
        MPI.Request.Waitall(requests)
        for strip in ((1, 2, 1, m + 1), (n, n + 1, 1, m + 1), (2, n, 1, 2), (2, n, m, m + 1)):
            sweep(old, new, *strip)
        self.now = 1 - self.now


class Persistent(TypedBlock):
    """Non-blocking messages whose arguments are checked once, and not in each step."""

    def __init__(self, cart: MPI.Cartcomm, n: int, m: int) -> None:
        super().__init__(cart, n, m)
        ends = list(zip(self.neighbours, self.halos, self.rims, strict=True))
        self.requests = [
            [cart.Recv_init([u, 1, halo], source) for source, halo, _ in ends]
            + [cart.Send_init([u, 1, rim], to) for to, _, rim in ends]
            for u in self.u
        ]
        self.lent += self.requests[0] + self.requests[1]

    def exchange(self) -> None:
        """Start the eight messages of this array and wait for them."""
        MPI.Prequest.Startall(self.requests[self.now])
        MPI.Request.Waitall(self.requests[self.now])


class Neighbourhood(TypedBlock):
    """A collective that knows all messages at once.  Source: MPI standard, MPI_Neighbor_alltoallw."""

    def exchange(self) -> None:
        """One edge to and from each neighbour; the datatypes say where it lies, the displacements are 0."""
        u = self.u[self.now]
        ones, zeros = [1] * len(SIDES), [0] * len(SIDES)
        self.cart.Neighbor_alltoallw([u, ones, zeros, self.rims], [u, ones, zeros, self.halos])


VARIANTS: dict[str, type[Block]] = {
    "sendrecv": Sendrecv,
    "packed": Packed,
    "overlapped": Overlapped,
    "persistent": Persistent,
    "neighbourhood": Neighbourhood,
    "onesided": OneSided,
    "shared": Shared,
}
