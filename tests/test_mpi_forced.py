"""The library's own algorithms by name: is the one asked for in use, is its result right, is nothing else changed?"""

import numpy as np
import pytest
from mpi4py import MPI

from parlab.mpi.buffers import Array, cut, edges
from parlab.mpi.collectives import COLLECTIVES
from parlab.mpi.forced import TUNED, forced

OPEN_MPI = MPI.get_vendor()[0] == "Open MPI"
needs_open_mpi = pytest.mark.skipif(not OPEN_MPI, reason="only Open MPI lets a program choose its algorithms by name")
COUNT = 1000  # float64 elements whose sum depends on the order: they differ by 16 powers of ten


def numbers(p: int) -> Array:
    draw = np.random.default_rng(p)
    return draw.standard_normal((p, COUNT)) * 10.0 ** draw.integers(-8, 8, (p, COUNT))


def library_sum(comm: MPI.Intracomm) -> Array:
    recv = np.full(COUNT, np.nan)
    comm.Allreduce(numbers(comm.size)[comm.rank], recv)
    return recv


def summed_around_a_ring(xs: Array) -> Array:
    """Block b starts at rank b and goes up."""
    p, start = len(xs), edges(COUNT, len(xs))
    blocks = []
    for b in range(p):
        total = cut(xs[b], start)[b].copy()
        for step in range(1, p):
            total += cut(xs[(b + step) % p], start)[b]
        blocks.append(total)
    return np.concatenate(blocks)


def summed_by_doubling(xs: Array) -> Array:
    """Neighbours first, then pairs; of five ranks the first two are folded into one before."""
    first = [xs[0] + xs[1], *xs[2:]] if len(xs) == 5 else list(xs)
    return np.asarray((first[0] + first[1]) + (first[2] + first[3]))


ORDER = {"ring": summed_around_a_ring, "recursive_doubling": summed_by_doubling, "rabenseifner": summed_by_doubling}


@needs_open_mpi
@pytest.mark.parametrize("p", [pytest.param(p, marks=pytest.mark.ranks(p)) for p in (4, 5)])
def test_the_order_of_the_sum_is_the_algorithms(p: int) -> None:
    """Rounding gives the order away: two algorithms that add in another order give results that differ in some bits."""
    comm = MPI.COMM_WORLD
    before, xs = library_sum(comm), numbers(p)
    assert not np.array_equal(summed_around_a_ring(xs), summed_by_doubling(xs))
    for algorithm, in_order in ORDER.items():
        own = forced(comm, "allreduce", algorithm)
        np.testing.assert_array_equal(library_sum(own), in_order(xs), algorithm)
        after = comm.Dup()
        np.testing.assert_array_equal(library_sum(after), before, f"a communicator made after forcing {algorithm}")
        np.testing.assert_array_equal(library_sum(comm), before, f"the communicator that {algorithm} was asked for")
        after.Free()
        own.Free()


def library(comm: MPI.Intracomm, operation: str, x: Array) -> Array:
    """Do the operation on this rank's x, shape (p, 3); return what this rank gets, flat."""
    recv = np.full((comm.size, 3), np.nan)
    match operation:
        case "bcast":
            recv[...] = x
            comm.Bcast(recv)
        case "scatter":
            comm.Scatter(x, recv[0])
        case "gather":
            comm.Gather(x[0], recv)
        case "allgather":
            comm.Allgather(x[0], recv)
        case "reduce":
            comm.Reduce(x, recv)
        case "allreduce":
            comm.Allreduce(x, recv)
        case "reduce_scatter":
            comm.Reduce_scatter(x, recv[0], [3] * comm.size)
        case "alltoall":
            comm.Alltoall(x, recv)
        case "barrier":
            comm.Barrier()
        case _:
            raise NotImplementedError(operation)
    return recv


@needs_open_mpi
@pytest.mark.ranks(3)
def test_every_algorithm_of_the_table_can_be_forced() -> None:
    comm = MPI.COMM_WORLD
    x = np.arange(comm.size * 3.0).reshape(-1, 3) + 100 * comm.rank
    for operation, names in TUNED.items():
        assert names.keys() <= COLLECTIVES[operation].keys(), "each has a hand-written twin"
        for algorithm in names:
            own = forced(comm, operation, algorithm)
            np.testing.assert_array_equal(library(own, operation, x), library(comm, operation, x))
            own.Free()


@needs_open_mpi
@pytest.mark.ranks(1)
def test_what_is_not_there_is_a_lookup_error() -> None:
    for operation, algorithm in (("allreduce", "nonsense"), ("scan", "recursive_doubling"), ("nonsense", "ring")):
        with pytest.raises(LookupError, match=f"{operation} by {algorithm}"):
            forced(MPI.COMM_WORLD, operation, algorithm)


@pytest.mark.skipif(OPEN_MPI, reason="there it works")
def test_another_library_is_told_apart() -> None:
    with pytest.raises(LookupError, match="MPICH"):
        forced(MPI.COMM_WORLD, "allreduce", "ring")
