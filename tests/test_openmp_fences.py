"""What another thread wrote is read anew after a wait, though Numba promises LLVM that the arrays of a prange do not overlap.

A compiler that takes a barrier on one array for no business of another's goes on with the value that it has in a register: without the
fences of parlab.openmp_like.fences, or with waiting functions that are not inlined by Numba, these tests fail.
"""

from typing import Any

import numpy as np
import pytest
from numba import njit, prange

from parlab.openmp_like.atomics import load, store
from parlab.openmp_like.waiting import APART, BARRIER_WORDS, barrier, lock, unlock, wait_until


@njit(parallel=True)
def last_word(said: Any, heard: Any, state: Any, threads: int) -> None:
    """All write to one element; behind the barrier all must find the same there."""
    for lane in prange(threads):
        said[0] = lane
        barrier(state, threads)
        heard[lane] = said[0]


@njit(parallel=True)
def news(data: Any, heard: Any, flag: Any, at: int) -> None:
    """Lane 1 reads an element, waits until lane 0 has changed it, reads it again."""
    flag[0] = flag[APART] = 0
    for lane in prange(2):
        if lane == 1:
            heard[0] = data[at]
            store(flag, APART, 1, "release")
            wait_until(flag, 0, 1)
            heard[1] = data[at]
        else:
            wait_until(flag, APART, 1)
            data[at] += 1
            store(flag, 0, 1, "release")


@njit(parallel=True)
def news_by_load(data: Any, heard: Any, flag: Any, at: int) -> None:
    """The same with nothing but atomic operations."""
    flag[0] = flag[APART] = 0
    for lane in prange(2):
        if lane == 1:
            heard[0] = data[at]
            store(flag, APART, 1, "release")
            while load(flag, 0, "acquire") == 0:
                pass
            heard[1] = data[at]
        else:
            while load(flag, APART, "acquire") == 0:
                pass
            data[at] += 1
            store(flag, 0, 1, "release")


@njit(parallel=True)
def swapped(data: Any, locks: Any, threads: int, each: int) -> int:
    """Under the lock two elements are equal; each thread changes both, and looks at them before and after."""
    wrong = 0
    for lane in prange(threads):
        bad = 0
        for _ in range(each):
            lock(locks, 0)
            bad += data[lane - lane] != data[threads]
            data[lane - lane] += 1
            data[threads] += 1
            unlock(locks, 0)
        wrong += bad
    return wrong


def test_behind_a_barrier_an_element_is_read_anew(threads: int) -> None:
    for _ in range(50):
        said, heard = np.full(1, -1), np.full(threads, -2)
        last_word(said, heard, np.zeros(BARRIER_WORDS, np.int64), threads)
        assert (heard == said[0]).all()


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("kernel", [news, news_by_load])
def test_behind_a_wait_an_element_is_read_anew(kernel: Any) -> None:
    data, heard = np.zeros(4, np.int64), np.zeros(2, np.int64)
    for i in range(50):
        kernel(data, heard, np.zeros(2 * APART, np.int64), 3)
        assert heard.tolist() == [i, i + 1]


def test_under_a_lock_elements_are_read_anew(threads: int) -> None:
    data = np.zeros(threads + 1, np.int64)
    assert swapped(data, np.zeros(1, np.int64), threads, 20_000) == 0
    assert data[0] == data[threads] == 20_000 * threads
