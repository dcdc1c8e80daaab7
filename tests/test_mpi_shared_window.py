"""All three all-reduces in a shared window against the library's, or against the fold of all inputs in rank order."""

import time
from itertools import product

import numpy as np
import pytest
from mpi4py import MPI

from parlab.mpi.buffers import Array
from parlab.mpi.operation import MATMUL, MAX, SUM, Op
from parlab.mpi.shared_window import CHUNK, Copied, InWindow

COUNTS = (0, 1, 5, 8, 1003)
DTYPES = ("f4", "i8", "c16")
LARGE = 40_000  # float64 elements; with three ranks and more this is sliced, not redundant


def cases() -> list[tuple[Op, tuple[int, ...], str]]:
    plain = [(SUM, (n,), "f8") for n in (*COUNTS, LARGE)] + [(SUM, (1003,), dtype) for dtype in DTYPES]
    return [*plain, (MAX, (1003,), "f8"), (SUM, (30, 3), "f8"), *[(MATMUL, (n, 2, 2), "i8") for n in (0, 1, 7, 9000)]]


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


def run_case(comm: MPI.Intracomm, op: Op, shape: tuple[int, ...], dtype: str) -> None:
    xs = inputs(op, shape, dtype, comm.size)
    want, mine = expected(op, xs), xs[comm.rank]
    before = mine.copy()
    for chunk in (24 if shape[0] < 10 else 4096, CHUNK):  # bytes; chunks that do not divide the count, and one chunk
        with Copied(comm, shape, dtype, op, chunk) as copied:
            recv = poison(shape, dtype)
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


@pytest.mark.parametrize("p", [pytest.param(p, marks=pytest.mark.ranks(p)) for p in (1, 2, 3, 4, 5, 8)])
def test_all_forms_give_the_fold_in_rank_order(p: int) -> None:
    comm = MPI.COMM_WORLD
    assert comm.size == p
    for op, shape, dtype in cases():
        run_case(comm, op, shape, dtype)


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
