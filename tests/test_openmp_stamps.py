"""The clock of compiled code is Python's, and a log keeps what it has room for."""

import time
from typing import Any

import numpy as np
import pytest
from numba import njit

from parlab.openmp_like.stamps import BEGIN, END, FIRST, LAST, THREAD, Log, begin, empty_log, note, noted, now, once


@njit
def stamp() -> Any:
    return now()


@njit
def fill(log: Log, lane: int, turns: int) -> None:
    for turn in range(turns):
        began = begin(log, turn)
        note(log, lane, turn, 10 * turn, 10 * turn + 10, began)


def test_the_clock_is_that_of_pythons_monotonic_ns() -> None:
    for _ in range(100):
        before, inside, after = time.monotonic_ns(), stamp(), time.monotonic_ns()
        assert before <= inside <= after


def test_what_has_no_room_is_left_out() -> None:
    for room in (0, 2, 5):
        log = empty_log(2, room)
        fill(log, 0, 3)  # beyond its row lies that of lane 1
        entries = noted(log)
        assert entries[:, FIRST].tolist() == [0, 10, 20][:room]
        assert entries[:, LAST].tolist() == [10, 20, 30][:room]
        assert (entries[:, THREAD] == 0).all()
        times = entries[:, [BEGIN, END]].ravel()
        assert (np.diff(times) >= 0).all()
        assert (times > 0).all()


def test_entries_come_in_the_order_of_their_iterations_whichever_lane_did_them() -> None:
    log = empty_log(2, 2)
    log[0, 0, :2], log[1, 0, :2], log[1, 1, :2] = (5, 7), (0, 5), (7, 8)
    assert noted(log)[:, :2].tolist() == [[0, 5], [5, 7], [7, 8]]


@pytest.mark.parametrize(
    ("ranges", "n", "holds"),
    [
        ([], 0, True),
        ([(0, 3), (3, 4)], 4, True),
        ([], 1, False),  # nobody did it
        ([(0, 3), (4, 5)], 5, False),  # 3 is missing
        ([(0, 3), (2, 5)], 5, False),  # 2 was done twice
        ([(0, 3), (0, 3)], 3, False),  # all twice
        ([(1, 3)], 3, False),  # the first is missing
        ([(0, 3)], 4, False),  # the last is missing
        ([(0, 5)], 4, False),  # one too many
    ],
)
def test_once_sees_gaps_and_doubles(ranges: list[tuple[int, int]], n: int, holds: bool) -> None:
    entries = np.zeros((len(ranges), 5), np.int64)
    entries[:, :2] = np.reshape(ranges, (-1, 2))
    assert once(entries, n) is holds
