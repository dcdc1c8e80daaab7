"""The two-level all-reduce on made-up nodes of one host, against the fold of all inputs in rank order."""

import time
from collections.abc import Callable

import numpy as np
import pytest
from mpi4py import MPI

from parlab.mpi import allreduce
from parlab.mpi.operation import MATMUL, MAX, SUM, Op
from parlab.mpi.two_level import TwoLevel

Between = Callable[..., None]
NODE_BY_NODE = {  # by number of ranks: the node of each rank
    4: [[0, 0, 1, 1], [0, 0, 0, 0], [0, 1, 2, 3], [0, 1, 1, 1]],
    5: [[0, 0, 0, 1, 1], [0, 1, 1, 2, 2]],
}
MIXED = {4: [[0, 1, 0, 1], [1, 0, 0, 1]], 5: [[0, 1, 0, 1, 0], [1, 0, 1, 1, 2]]}
CASES: list[tuple[Op, int, str, tuple[int, ...], Between]] = [
    *[(SUM, n, "f8", (), allreduce.rabenseifner) for n in (0, 1, 2, 7, 1000)],
    (SUM, 1000, "f4", (), allreduce.ring),
    (SUM, 31, "c16", (3,), allreduce.recursive_doubling),
    (MAX, 1000, "i8", (), allreduce.reduce_bcast),
]


def check(
    comm: MPI.Intracomm, node: int | None, op: Op, n: int, dtype: str, element: tuple[int, ...], f: Between
) -> None:
    numbers = np.random.default_rng([n, comm.size])
    xs = [numbers.integers(-2, 3, (n, *element)).astype(dtype) for _ in range(comm.size)]
    want = xs[0].copy()
    for x in xs[1:]:
        op.combine(want.copy(), x, want)
    with TwoLevel(comm, (n, *element), dtype, op, f, node) as two_level:
        recv = np.full((n, *element), -(2**62) if dtype == "i8" else np.nan, dtype)
        two_level(xs[comm.rank], recv)
        np.testing.assert_array_equal(recv, want)
        recv[...] = xs[comm.rank]
        two_level(MPI.IN_PLACE, recv)
        np.testing.assert_array_equal(recv, want)


@pytest.mark.parametrize("p", [pytest.param(p, marks=pytest.mark.ranks(p)) for p in NODE_BY_NODE])
def test_gives_the_fold_in_rank_order(p: int) -> None:
    comm = MPI.COMM_WORLD
    for nodes in NODE_BY_NODE[p] + MIXED[p]:
        for op, n, dtype, element, between in CASES:
            check(comm, nodes[comm.rank], op, n, dtype, element, between)
    for nodes in NODE_BY_NODE[p]:
        for n in (0, 1, 50):
            check(comm, nodes[comm.rank], MATMUL, n, "i8", (2, 2), allreduce.rabenseifner)
    for nodes in MIXED[p]:
        with pytest.raises(ValueError, match="numbered node by node"):
            TwoLevel(comm, (5, 2, 2), "i8", MATMUL, node=nodes[comm.rank])
    check(comm, None, *CASES[4])  # the nodes as they are

    late = np.random.default_rng(comm.rank)  # back to back, each rank late by its own time
    with TwoLevel(comm, (100,), "f8", node=comm.rank * 2 // p) as two_level:
        for call in range(100):
            time.sleep(late.choice((0, 0, 0.0003)))
            recv = np.full(100, np.nan)
            two_level(np.full(100, float(call + comm.rank)), recv)
            np.testing.assert_array_equal(recv, p * call + sum(range(p)))
