"""All three all-reduces in a shared window against the library's, or against the fold of all inputs in rank order."""

import time
from itertools import product

import numpy as np
import pytest
from mpi4py import MPI

from parlab.mpi.buffers import Array
from parlab.mpi.operation import MATMUL, MAX, SUM, Op
from parlab.mpi.shared_window import CHUNK, Copied, InWindow

COUNTS = (0, 1, 2, 3, 7, 8, 64, 1000, 12345)
DTYPES = ("f4", "f8", "i8", "c16")
CHUNKS = (1, 24, 4096, CHUNK)  # bytes; one element at a time, chunks that do not divide the count, all at once
LARGE = 40_000  # float64 elements; with three ranks and more this is sliced, not redundant


def cases() -> list[tuple[Op, tuple[int, ...], str]]:
    plain = [(op, (n,), dtype) for op in (SUM, MAX) for n in COUNTS for dtype in DTYPES if (op, dtype) != (MAX, "c16")]
    return [*plain, (SUM, (LARGE,), "f8"), (SUM, (30, 3), "f8"), *[(MATMUL, (n, 2, 2), "i8") for n in (0, 1, 7, 9000)]]


def inputs(op: Op, shape: tuple[int, ...], dtype: str, p: int, seed: int = 0) -> list[Array]:
    """The inputs of all ranks: small integers, so that a sum is exact in every dtype and order."""
    numbers = np.random.default_rng([seed, p, len(shape)])
    return [
        numbers.integers(-2 if op is MATMUL else -99, 3 if op is MATMUL else 99, shape).astype(dtype) for _ in range(p)
    ]


def expected(op: Op, xs: list[Array]) -> Array:
    total = xs[0].copy()
    for x in xs[1:]:
        op.combine(total.copy(), x, total)
    return total


def poison(shape: tuple[int, ...], dtype: str) -> Array:
    return np.full(shape, -(2**62) if dtype == "i8" else np.nan, dtype)


def run_cases(comm: MPI.Intracomm) -> None:
    for op, shape, dtype in cases():
        xs = inputs(op, shape, dtype, comm.size)
        want, mine = expected(op, xs), xs[comm.rank]
        for chunk in CHUNKS if shape[0] < 1000 else CHUNKS[2:]:
            with Copied(comm, shape, dtype, op, chunk) as copied:
                recv, before = poison(shape, dtype), mine.copy()
                copied(mine, recv)
                np.testing.assert_array_equal(recv, want, f"copied {op.name} {shape} {dtype} {chunk}")
                np.testing.assert_array_equal(mine, before)
                recv[...] = mine
                copied(MPI.IN_PLACE, recv)
                np.testing.assert_array_equal(recv, want, f"copied in place {op.name} {shape} {dtype} {chunk}")
        with InWindow(comm, shape, dtype, op) as window:
            recv = poison(shape, dtype)
            window.input[...] = mine
            window(recv)
            np.testing.assert_array_equal(recv, want, f"in window {op.name} {shape} {dtype}")
            np.testing.assert_array_equal(window.reduce(), want, f"shared result {op.name} {shape} {dtype}")
            np.testing.assert_array_equal(window.input, mine)


@pytest.mark.ranks(8, timeout=100)
def test_all_forms_give_the_fold_in_rank_order() -> None:
    world = MPI.COMM_WORLD
    for p in range(1, world.size + 1):
        comm = world.Split(0 if world.rank < p else MPI.UNDEFINED)
        if comm != MPI.COMM_NULL:
            run_cases(comm)
            comm.Free()
        while not (request := world.Ibarrier()).Test():  # the ranks that sit out leave the two cores to the others
            time.sleep(0.001)
        request.Wait()


@pytest.mark.ranks(4)
def test_calls_back_to_back_with_late_ranks() -> None:
    """200 calls, no barrier between them, a new input each time, every rank late by its own random time."""
    comm = MPI.COMM_WORLD
    late = np.random.default_rng(comm.rank)
    for n, chunk in product((5, 3000), (8000, CHUNK)):
        with Copied(comm, (n,), "f8", SUM, chunk) as redundant, InWindow(comm, (n,), "f8") as window:
            for call in range(200):
                time.sleep(late.choice((0, 0, 0.0003)))
                x = np.arange(n) + 1000.0 * call + comm.rank
                want = (np.arange(n) + 1000.0 * call) * comm.size + sum(range(comm.size))
                recv = np.full(n, np.nan)
                redundant(x, recv)
                np.testing.assert_array_equal(recv, want)
                time.sleep(late.choice((0, 0, 0.0003)))
                window.input[...] = x
                result = window.reduce()
                time.sleep(late.choice((0, 0, 0.0003)))
                np.testing.assert_array_equal(result, want)
    with Copied(comm, (LARGE,), "f8", SUM) as sliced:
        for call in range(200):
            x = np.full(LARGE, call + comm.rank, float)
            time.sleep(late.choice((0, 0, 0.0003)))
            recv = np.full(LARGE, np.nan)
            sliced(x, recv)
            np.testing.assert_array_equal(recv, comm.size * call + sum(range(comm.size)))
