"""Halo exchange without messages, over MPI windows: rims are put into the neighbours' halos, or read where they are.

onesided   each rank puts its rims into its neighbours' memory, between two fences
shared     no halo at all: the grid lies in shared memory as a whole, and a sweep reads beyond its block
"""

from math import prod

import numpy as np
from mpi4py import MPI

from parlab.mpi.block import OPPOSITE, Block, TypedBlock, edge
from parlab.mpi.heat import Grid

DOUBLE = MPI.DOUBLE.Get_size()  # bytes


class OneSided(TypedBlock):
    """Put with fences.  The sender says where a rim lands, in a block that may have another shape than its own.

    One window holds both arrays of a rank, the second right behind the first.
    """

    def __init__(self, cart: MPI.Cartcomm, n: int, m: int) -> None:
        super().__init__(cart, n, m)
        shapes = cart.allgather(self.u.shape[1:])
        self.targets = []
        for side, rank in enumerate(self.neighbours):
            if rank != MPI.PROC_NULL:
                halo = edge(shapes[rank], OPPOSITE[side], depth=0)
                self.targets.append((rank, self.rims[side], halo, prod(shapes[rank])))
                self.lent.append(halo)

    def allocate(self, shape: tuple[int, int, int]) -> Grid:
        """Zeros, in a window."""
        self.window = MPI.Win.Allocate(prod(shape) * DOUBLE, DOUBLE, comm=self.cart)
        self.lent.append(self.window)
        u = np.frombuffer(self.window.tomemory(), np.float64).reshape(shape)
        u[:] = 0
        return u

    def exchange(self) -> None:
        """One epoch: all rims are under way after the first fence, all halos filled after the second."""
        u = self.u[self.now]
        self.window.Fence(MPI.MODE_NOPRECEDE)
        for rank, rim, halo, size in self.targets:
            self.window.Put([u, 1, rim], rank, (self.now * size, 1, halo))
        self.window.Fence(MPI.MODE_NOSUCCEED)


class Shared(Block):
    """Reading in place: no byte is copied.  ValueError on every rank unless all ranks are on one node.

    Rank 0 lends the memory, yet a page lies near the rank that writes it first.  Where blocks meet at a column, two
    ranks write to the same cache lines.
    """

    def __init__(self, cart: MPI.Cartcomm, n: int, m: int) -> None:
        node = cart.Split_type(MPI.COMM_TYPE_SHARED)
        one_node = node.size == cart.size
        node.Free()
        if not one_node:
            raise ValueError(f"the variant shared needs all {cart.size} ranks on one node")
        super().__init__(cart, n, m)
        self.area = (self.rows.start + 1, self.rows.stop + 1, self.cols.start + 1, self.cols.stop + 1)

    def allocate(self, shape: tuple[int, int, int]) -> Grid:
        """Both arrays of the whole grid, whatever the shape of this rank's block."""
        whole = (2, self.n + 2, self.m + 2)
        nbytes = prod(whole) * DOUBLE if self.cart.rank == 0 else 0
        self.window = MPI.Win.Allocate_shared(nbytes, DOUBLE, comm=self.cart)
        self.lent.append(self.window)
        memory, _ = self.window.Shared_query(0)
        u = np.frombuffer(memory, np.float64).reshape(whole)
        if self.cart.rank == 0:
            u[:, [0, -1], :] = u[:, :, [0, -1]] = 0
        return u

    def exchange(self) -> None:
        """Wait until all have swept; from then on all see what was swept."""
        self.window.Fence()
