"""Tasks: none is lost or done twice, whoever takes it; the results are those of the serial programs; and on every threading layer."""

import os
import subprocess
import sys
from typing import Any

import numba
import numpy as np
import pytest
from numba import njit, prange

from parlab.openmp_like import gcc, tasks
from parlab.openmp_like.atomics import add, load, store
from parlab.openmp_like.clauses_tasks import Recursion, Wavefront
from parlab.openmp_like.tasks import LOCK, NEXT, NONE, OLDEST, empty_stacks, put, take
from parlab.openmp_like.threads import pinned
from parlab.openmp_like.waiting import unlock


def test_the_owner_takes_the_newest_and_a_thief_the_oldest() -> None:
    stacks, ends = empty_stacks(2, 4)
    for task in (5, 6, 7):
        put(stacks, ends, 0, task)
    assert [take(stacks, ends, 0), take(stacks, ends, 1), take(stacks, ends, 1), take(stacks, ends, 1)] == [
        7,
        5,
        6,
        NONE,
    ]
    assert take(stacks, ends, 0) == NONE


def test_a_stack_is_used_round_and_round() -> None:
    stacks, ends = empty_stacks(2, 3)
    for task in range(20):
        put(stacks, ends, 0, task)
        put(stacks, ends, 0, 100 + task)
        assert take(stacks, ends, 1) == task
        assert take(stacks, ends, 0) == 100 + task


@njit(parallel=True, cache=True)
def hand_over(stacks: Any, ends: Any, times: Any, left: Any) -> None:
    """Lane 0 makes all tasks, both do them; times[task, 0] counts how often each was done."""
    for lane in prange(2):
        made = 0
        while load(left, 0, "acquire") > 0:
            # not a plain ends[0, NEXT]: Numba sees nobody write it in this prange, and would read it once, before the loop
            waiting = load(ends, (0, NEXT), "relaxed") - load(ends, (0, OLDEST), "relaxed")
            if lane == 0 and made < times.shape[0] and waiting < 32:
                put(stacks, ends, 0, made)
                made += 1
                continue
            task = take(stacks, ends, lane)
            if task != NONE:
                add(times, task, 1)
                add(left, 0, -1, "release")


def test_no_task_is_lost_or_done_twice() -> None:
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("one thread meets nobody")
    numba.set_num_threads(2)
    with pinned(2):
        stacks, ends = empty_stacks(2, 64)
        times, left = np.zeros(300_000, np.int64), np.array([300_000])
        hand_over(stacks, ends, times, left)
    assert (times == 1).all()


@njit(parallel=True, cache=True)
def take_unlocked(stacks: Any, ends: Any, times: Any) -> None:
    """The mutant: two lanes take from one stack, and none asks for the lock."""
    for lane in prange(2):
        for _ in range(times.shape[0]):
            oldest = load(ends, (0, OLDEST), "relaxed")
            if oldest < load(ends, (0, NEXT), "relaxed"):
                times[stacks[0, oldest], lane] += 1
                store(ends, (0, OLDEST), oldest + 1, "relaxed")


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="on one core threads hardly meet")
def test_without_the_lock_a_task_is_done_twice() -> None:
    numba.set_num_threads(2)
    twice = 0
    with pinned(2):
        for _ in range(20):  # on a busy machine the two may miss each other now and then
            stacks, ends = empty_stacks(2, 100_000)
            stacks[0], ends[0, NEXT] = np.arange(100_000), 100_000
            times = np.zeros((100_000, 2), np.int64)
            take_unlocked(stacks, ends, times)
            twice += int(np.count_nonzero(times.sum(axis=1) > 1))
    assert twice > 0


@pytest.mark.parametrize(("n", "cutoff"), [(0, 2), (1, 2), (2, 2), (17, 2), (17, 9), (17, 99)])
def test_the_recursion_gives_the_fibonacci_numbers(threads: int, n: int, cutoff: int) -> None:
    program = Recursion(threads, n, cutoff)
    for _ in range(3):  # its arrays can be used again
        program.run()
        assert program.all_done() is None


def test_the_number_of_tasks_follows_from_the_cutoff() -> None:
    assert [tasks.tasks_of(n, 2) for n in range(7)] == [1, 1, 3, 5, 9, 15, 25]
    assert tasks.tasks_of(30, 31) == 1


@pytest.mark.parametrize(("n", "side"), [(1, 1), (1, 5), (40, 7), (64, 64), (200, 10)])
def test_the_wavefront_fills_the_table_as_one_thread_does(threads: int, n: int, side: int) -> None:
    program = Wavefront(threads, n, side)
    for _ in range(3):
        program.table.fill(-1)
        program.run()
        assert program.check() is None
        assert (program.missing == 0).all()


def test_the_table_is_that_of_the_textbook() -> None:
    a, b = np.array([0, 1, 2, 1, 3, 0, 1]), np.array([1, 3, 2, 0, 1, 0])  # ABCBDAB and BDCABA: BCBA, BDAB or BCAB
    table = np.zeros((8, 7), np.int32)
    tasks.common(a, b, table, 0, 0, 8)
    assert table[-1, -1] == 4
    assert table[:, -1].tolist() == [0, 1, 2, 2, 3, 3, 4, 4]


def test_blocks_in_a_wrong_order_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant: the first block is the last."""
    program = Wavefront(1, 40, 20)

    def backwards(a: Any, b: Any, table: Any, *_: Any) -> None:
        for top, left in ((20, 20), (20, 0), (0, 20), (0, 0)):
            tasks.common(a, b, table, top, left, 20)

    monkeypatch.setattr("parlab.openmp_like.clauses_tasks.common_by_tasks", backwards)
    program.run()
    assert program.check() is not None


def test_gccs_tasks_give_the_same(threads: int) -> None:
    try:
        library = gcc.load("tasks.c")
    except RuntimeError as error:
        pytest.skip(str(error))
    recursion, wavefront = Recursion(threads, 15, 5), Wavefront(threads, 90, 20)
    for cutoff in (5, 16):
        recursion.result.fill(-1)
        recursion.in_c(library, cutoff)
        assert recursion.check() is None
    wavefront.table.fill(-1)
    wavefront.in_c(library)
    assert wavefront.check() is None


def test_a_lock_of_a_stack_is_free_in_the_end() -> None:
    stacks, ends = empty_stacks(1, 2)
    put(stacks, ends, 0, 1)
    take(stacks, ends, 0)
    assert ends[0, LOCK] == 0
    unlock(ends, (0, LOCK))


LAYERED = """
import sys, numba
from parlab.openmp_like import layers, threads
from parlab.openmp_like.clauses_tasks import Recursion, Wavefront
try:
    layers.use(sys.argv[1])
except layers.Refused as error:
    sys.exit(f"SKIP {error}")
for lanes in (1, 2, 4):
    numba.set_num_threads(lanes)
    for program in (Recursion(lanes, 15, 2), Wavefront(lanes, 90, 8)):
        for _ in range(50):
            program.run()
            if wrong := program.check():
                sys.exit(wrong)
print(threads.layer())
"""


@pytest.mark.parametrize("layer", ["tbb", "omp", "workqueue"])
def test_tasks_are_right_on_every_layer_with_more_lanes_than_cores_too(layer: str) -> None:
    env = {**os.environ, "NUMBA_NUM_THREADS": "4"}
    done = subprocess.run([sys.executable, "-c", LAYERED, layer], env=env, capture_output=True, text=True, timeout=60)
    if done.stderr.startswith("SKIP"):
        pytest.skip(done.stderr[5:])
    assert done.stdout.strip() == layer, done.stderr
