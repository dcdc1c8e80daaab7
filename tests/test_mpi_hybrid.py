"""Ranks of threads, and grids that rank 0 deals out and collects: the same bits as the serial program."""

import numpy as np
import pytest
from mpi4py import MPI

from parlab.mpi.deal import collect, deal
from parlab.mpi.halo import Persistent
from parlab.mpi.heat import Plate
from parlab.mpi.hybrid import Hybrid, shape

SIZES = [(4, 4), (5, 3), (17, 22), (64, 9)]


@pytest.mark.ranks(3)
def test_blocks_are_dealt_swept_by_threads_and_collected() -> None:
    import numba

    world = MPI.COMM_WORLD
    numba.set_num_threads(2)
    for count in (1, 2, 3):
        comm = world.Split(0 if world.rank < count else MPI.UNDEFINED)
        if not isinstance(comm, MPI.Intracomm) or comm == MPI.COMM_NULL:
            continue
        cart = comm.Create_cart(MPI.Compute_dims(count, 2))
        for n, m in SIZES:
            start = np.random.default_rng(n).random((n, m))
            plate = Plate(n, m)
            plate.points[:] = start
            for _ in range(5):
                plate.step()
            for kind in (Persistent, Hybrid):
                with kind(cart, n, m) as block:
                    deal(block, start if cart.rank == 0 else None)
                    assert np.array_equal(block.points, start[block.rows, block.cols])
                    assert not block.u[0, [0, -1]].any()  # the halo is left alone
                    for _ in range(5):
                        block.step()
                    found = np.full((n, m), np.nan) if cart.rank == 0 else None
                    collect(block, found)
                    assert found is None or np.array_equal(found, plate.points)


@pytest.mark.parametrize(
    ("cores", "expected"),
    [(1, None), (2, None), (3, None), (4, (2, 2)), (6, (2, 3)), (7, None), (8, (2, 4)), (16, (4, 4)), (32, (4, 8))],
)
def test_the_shape_is_the_squarest_with_two_of_both(cores: int, expected: tuple[int, int] | None) -> None:
    assert shape(cores) == expected
