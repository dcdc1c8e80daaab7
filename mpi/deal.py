"""Hand a whole grid out from rank 0 to the blocks of all ranks, and collect it again: each part by one message.

What a program needs whose data begin and end in one place. Datatypes pick a part out of the grid and the points out of a block, so nothing
is copied in between. Both are collective.
"""

from collections.abc import Sequence

from mpi4py import MPI

from parlab.mpi.block import Block, part
from parlab.mpi.heat import Grid


def deal(block: Block, grid: Grid | None) -> None:
    """Fill the present values of every block. grid: float64, shape (n, m), C order, on rank 0; None elsewhere."""
    points = _points(block)
    requests = [block.cart.Irecv([block.u[block.now], 1, points], 0)]
    parts = _parts(block) if grid is not None else []
    requests += [block.cart.Isend([grid, 1, one], rank) for rank, one in enumerate(parts)]
    _finish(requests, [points, *parts])


def collect(block: Block, grid: Grid | None) -> None:
    """Fill the grid on rank 0 with the present values of all blocks; shapes as in `deal`."""
    points = _points(block)
    requests = [block.cart.Isend([block.u[block.now], 1, points], 0)]
    parts = _parts(block) if grid is not None else []
    requests += [block.cart.Irecv([grid, 1, one], rank) for rank, one in enumerate(parts)]
    _finish(requests, [points, *parts])


def _points(block: Block) -> MPI.Datatype:
    """The datatype that picks the points out of this rank's block, its halo left out."""
    return MPI.DOUBLE.Create_subarray(block.u.shape[1:], block.points.shape, (1, 1)).Commit()


def _parts(block: Block) -> list[MPI.Datatype]:
    """The datatypes that pick each rank's part out of the whole grid."""
    (p, q), whole, found = block.cart.dims, (block.n, block.m), []
    for rank in range(block.cart.size):
        x, y = block.cart.Get_coords(rank)
        rows, cols = part(block.n, p, x), part(block.m, q, y)
        size = rows.stop - rows.start, cols.stop - cols.start
        found.append(MPI.DOUBLE.Create_subarray(whole, size, (rows.start, cols.start)).Commit())
    return found


def _finish(requests: Sequence[MPI.Request], kinds: Sequence[MPI.Datatype]) -> None:
    MPI.Request.Waitall(list(requests))
    for kind in kinds:
        kind.Free()
