"""An all-reduce behind a computation: the result is right, and every piece is done, with and without Test."""

import numpy as np
import pytest
from mpi4py import MPI

from parlab.mpi.overlap import compute, compute_while, nonblocking, persistent


@pytest.mark.ranks(3)
def test_the_sum_and_the_work_are_complete() -> None:
    comm = MPI.COMM_WORLD
    send, recv = np.empty(1000), np.empty(1000)
    for make in (nonblocking, persistent):
        try:
            start, free = make(comm, send, recv)
        except NotImplementedError:
            continue
        for test in (False, True):
            for round_ in range(3):  # a persistent request is started again and again
                done: list[int] = []
                send[:] = comm.rank + round_
                recv[:] = np.nan
                compute_while(start, lambda done=done: done.append(1), 5, test)  # type: ignore[misc]
                np.testing.assert_array_equal(recv, 3 + 3.0 * round_)
                assert len(done) == 5
        free()


def test_compute_does_every_piece() -> None:
    done: list[int] = []
    compute(lambda: done.append(1), 7)
    assert len(done) == 7
