"""Every schedule does every row exactly once and gives the serial picture bit for bit."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpi4py import MPI

from parlab.mpi.farm import SCHEDULES, Counts, Share, farm, gather, imbalance
from parlab.mpi.mandelbrot import escape_counts

COMM = MPI.COMM_WORLD
CASES = [
    (1, 1),
    (2, 1),
    (3, 5),
    (37, 1),
    (37, 4),
    (37, 100),
    (64, 8),
]  # rows, chunk: fewer rows than ranks, one big chunk


def on(*ranks: int) -> pytest.MarkDecorator:
    """Run the test in one launch for each number of ranks; the first one in a fresh clone compiles."""
    return pytest.mark.parametrize("p", [pytest.param(p, marks=pytest.mark.ranks(p, timeout=120)) for p in ranks])


@on(1, 2, 3, 4)
def test_every_schedule_gives_the_serial_picture_and_does_each_row_once(p: int) -> None:
    assert p == COMM.size
    for rows, chunk in CASES:
        serial = escape_counts(0, rows, rows, 33, 100)

        def work(first: int, last: int, rows: int = rows) -> Counts:
            counts: Counts = escape_counts(first, last, rows, 33, 100)
            return counts

        for name, schedule in SCHEDULES.items():
            share = farm(schedule, COMM, rows, chunk, work)
            picture = gather(COMM, share)
            ratio = imbalance(COMM, share)
            done = COMM.gather(share.rows)
            works = COMM.gather(share.work)
            where = f"{name}, {rows} rows in chunks of {chunk}"
            assert share.work == sum(int(serial[first:last].sum()) for first, last in share.rows), where
            if done is None or works is None:
                assert picture is None
                continue
            np.testing.assert_array_equal(picture, serial, err_msg=where)
            assert picture is not None
            assert picture.dtype == np.int32
            assert sorted(i for rank in done for one in rank for i in range(*one)) == list(range(rows)), where
            assert all(last - first <= chunk for rank in done for first, last in rank) or name == "block", where
            assert all(rank == sorted(rank) for rank in done), where
            assert sum(works) == serial.sum(), where
            assert ratio == pytest.approx(max(works) / (sum(works) / p)), where
            assert done[0] == [] or name != "master_worker" or p == 1, where


@on(3)
def test_a_farm_of_nothing_is_refused_on_every_rank(p: int) -> None:
    for schedule in SCHEDULES.values():
        for rows, chunk in ((0, 1), (5, 0), (5, -2)):
            with pytest.raises(ValueError, match=f"at least 1 row, not {rows} and {chunk}"):
                farm(schedule, COMM, rows, chunk, lambda first, last: np.zeros((last - first, 1), np.int32))


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 400), st.integers(1, 17))
def test_static_schedules_cover_each_row_once(rows: int, chunk: int, p: int) -> None:
    for name in ("block", "cyclic"):
        ranks: list[Any] = [SimpleNamespace(rank=k, size=p) for k in range(p)]
        shares = [list(SCHEDULES[name](rank, rows, chunk)) for rank in ranks]
        assert sorted(i for share in shares for one in share for i in range(*one)) == list(range(rows))
        if name == "cyclic":
            assert all(first % (p * chunk) == k * chunk for k, share in enumerate(shares) for first, _ in share)
        else:
            sizes = [last - first for share in shares for first, last in share]
            assert len(sizes) == p
            assert max(sizes) - min(sizes) <= 1


def test_work_is_the_sum_of_the_counts() -> None:
    share = Share([(0, 1), (1, 3)], [np.array([[3, 4]], np.int32), np.full((2, 2), 2**31 - 1, np.int32)])
    assert share.work == 7 + 4 * (2**31 - 1)
