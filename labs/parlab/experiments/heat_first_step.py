"""The whole program of each way, with one time step of a small grid in it:  python -m parlab.experiments.heat_first_step WAY THREADS

Of MPI it is what each rank runs. Each way imports what it needs and nothing else.
"""

import sys
from typing import Any

import numpy as np

from parlab.experiments.heat_names import GPU, HYBRID, MPI, PRANGE, SERIAL, TORCH

SIDE = 64


def main(way: str, threads: int) -> None:
    """Do the step."""
    start = np.ones((SIDE, SIDE))
    if way in (MPI, HYBRID):
        by_ranks(start, threads)
    elif way == GPU:
        on_gpu(start)
    else:
        in_memory(way, start, threads)


def in_memory(way: str, start: Any, threads: int) -> None:
    """By one process, on the cores."""
    plate: Any
    if way == TORCH:
        from parlab.ddp import heat as tensors

        tensors.start_threads(threads)
        plate = tensors.Plate(SIDE, SIDE)
    else:
        from parlab.openmp_like.plate import Plate

        plate = Plate(SIDE, SIDE)
    if way in (SERIAL, PRANGE):
        from parlab.openmp_like import heat

        plate = heat.Shared(SIDE, SIDE) if way == PRANGE else Plate(SIDE, SIDE, heat.by_loop)
    plate.load(start)
    plate.advance(1)


def by_ranks(start: Any, threads: int) -> None:
    """By one of the ranks."""
    from mpi4py import MPI as library

    from parlab.mpi.halo import Persistent
    from parlab.mpi.hybrid import Hybrid

    world = library.COMM_WORLD
    cart = world.Create_cart(library.Compute_dims(world.size, 2))
    with (Hybrid if threads > 1 else Persistent)(cart, SIDE, SIDE) as block:
        block.scatter(start)
        block.step()


def on_gpu(start: Any) -> None:
    """By a GPU: its driver starts, the kernels are compiled or found where they were kept."""
    from parlab.cuda.heat import Slab, serial

    slab = Slab(0, 1, SIDE, SIDE, SIDE)
    slab.take(start)
    serial(slab, 2)()
    slab.points()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
