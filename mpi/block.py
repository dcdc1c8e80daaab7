"""One rank's block of the heat equation's grid, with a halo one point wide.  How the halo is filled is up to halo.py.

The ranks form a Cartesian grid without wrap-around, e.g. comm.Create_cart(MPI.Compute_dims(comm.size, 2)).  A block is
a small Plate whose boundary is a halo: copies of the neighbours' outermost points (their rims), and the true boundary,
zeros, where there is no neighbour.
"""

import numpy as np
from mpi4py import MPI

from parlab.mpi.heat import Grid, Plate
from parlab.mpi.lent import Lent

NORTH, SOUTH, WEST, EAST = SIDES = range(4)  # the order in which MPI numbers the neighbours in a Cartesian grid
OPPOSITE = (SOUTH, NORTH, EAST, WEST)


def part(n: int, p: int, k: int) -> slice:
    """The k-th of p parts of n rows (or columns); the parts differ by one row at most."""
    return slice(n * k // p, n * (k + 1) // p)


def edge(shape: tuple[int, ...], side: int, depth: int) -> MPI.Datatype:
    """The datatype that picks one edge out of a block: its halo (depth 0, to receive) or its rim (depth 1, to send).

    shape: (rows, columns) of the block, halo included.  It counts from the block's first byte, so that rows and columns
    are handled alike.  The caller frees it.  Source: MPI standard, MPI_Type_create_subarray.
    """
    rows, cols = shape
    first = {
        NORTH: (depth, 1),
        SOUTH: (rows - 1 - depth, 1),
        WEST: (1, depth),
        EAST: (1, cols - 1 - depth),
    }
    size = (1, cols - 2) if side in (NORTH, SOUTH) else (rows - 2, 1)
    return MPI.DOUBLE.Create_subarray(shape, size, first[side]).Commit()


class Block(Lent, Plate):
    """The part of an n x m grid that this rank of `cart` sweeps.

    Use it in a `with` statement: leaving it frees what MPI lent, and with it the arrays.  Every method is collective.
    rows, cols: slices of the n x m grid, this rank's part.
    neighbours: four ranks in the order of SIDES, MPI.PROC_NULL where the boundary is.
    ValueError on every rank if there are fewer rows or columns than ranks to share them.
    """

    def __init__(self, cart: MPI.Cartcomm, n: int, m: int) -> None:
        (p, q), (x, y) = cart.dims, cart.coords
        if n < p or m < q:
            raise ValueError(f"{n} x {m} points cannot be cut into {p} x {q} blocks: each needs a row and a column")
        self.cart, self.n, self.m = cart, n, m
        self.rows, self.cols = part(n, p, x), part(m, q, y)
        self.neighbours = (*cart.Shift(0, 1), *cart.Shift(1, 1))
        self.lent: list[MPI.Datatype | MPI.Request | MPI.Win] = []
        super().__init__(self.rows.stop - self.rows.start, self.cols.stop - self.cols.start)

    def exchange(self) -> None:
        """Fill the halo of u[now] with the neighbours' present rims."""
        raise NotImplementedError

    def step(self) -> None:
        """Advance by one time step: the serial step with an exchange in front of it."""
        self.exchange()
        super().step()

    def scatter(self, grid: Grid) -> None:
        """Take this rank's part of the whole grid, shape (n, m), which every rank has."""
        self.points[:] = grid[self.rows, self.cols]

    def gather(self) -> Grid | None:
        """The whole grid, shape (n, m), on rank 0; None elsewhere."""
        parts = self.cart.gather((self.rows, self.cols, self.points.copy()))
        if parts is None:
            return None
        grid = np.full((self.n, self.m), np.nan)
        for rows, cols, points in parts:
            grid[rows, cols] = points
        return grid

    def free(self) -> None:
        """Give back what MPI lent (collective), and with it the arrays."""
        del self.u  # it may lie in a window
        for handle in reversed(self.lent):
            handle.Free()


class TypedBlock(Block):
    """A block whose edges are MPI datatypes, in the order of SIDES: rims to send from, halos to receive into."""

    def __init__(self, cart: MPI.Cartcomm, n: int, m: int) -> None:
        super().__init__(cart, n, m)
        self.halos = [edge(self.u.shape[1:], side, depth=0) for side in SIDES]
        self.rims = [edge(self.u.shape[1:], side, depth=1) for side in SIDES]
        self.lent += self.halos + self.rims
