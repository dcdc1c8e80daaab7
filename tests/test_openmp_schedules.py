"""Schedules as they were carried out: every iteration once, each where its schedule says, in chunks of the sizes that it says."""

import os
import subprocess
import sys
from collections.abc import Iterator
from ctypes import c_int, c_long, c_void_p
from math import ceil
from typing import Any

import numba
import numpy as np
import pytest
from numba import njit, prange

from parlab import launch
from parlab.openmp_like import gcc
from parlab.openmp_like.atomics import compare_exchange, load, store
from parlab.openmp_like.escape import LEFT, RIGHT, TOP
from parlab.openmp_like.list_scheduling import handed_out
from parlab.openmp_like.schedules import DYNAMIC, GUIDED, LOOPS, SHARES, STATIC, _do, numba_loop, serial
from parlab.openmp_like.stamps import FIRST, LAST, THREAD, Log, empty_log, noted, once
from parlab.openmp_like.threads import pinned
from parlab.openmp_like.waiting import APART

ROWS = (0, 1, 2, 3, 7, 64, 1000)
CHUNKS = {STATIC: (0, 1, 3, 16, 2000), DYNAMIC: (1, 3, 16, 2000), GUIDED: (1, 3, 16, 2000)}
LIMIT = 50


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = numba.get_num_threads()
    yield
    numba.set_num_threads(before)


def carried_out(kind: int, chunk: int, rows: int, threads: int) -> Log:
    """The log (lanes, rows, fields) of a loop over rows without points."""
    numba.set_num_threads(threads)
    log = empty_log(threads, rows)
    LOOPS[kind](np.empty((rows, 0), np.int32), LIMIT, chunk, threads, log)
    return log


def ranges(entries: Log) -> list[tuple[int, int]]:
    return [(int(e[FIRST]), int(e[LAST])) for e in entries if e[LAST] > e[FIRST]]


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", LOOPS)
def test_every_iteration_is_done_once_in_the_chunks_of_the_schedule(kind: int, threads: int) -> None:
    for rows in ROWS:
        for chunk in CHUNKS[kind]:
            entries = noted(carried_out(kind, chunk, rows, threads))
            where = f"{rows} rows, chunk {chunk}"
            assert once(entries, rows), where
            assert ranges(entries) == [c for c in handed_out(kind, chunk, rows, threads) if c[1] > c[0]], where
            assert set(entries[:, THREAD].tolist()) <= set(range(threads)), where


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_static_schedules_give_each_lane_its_own(threads: int) -> None:
    for rows in ROWS:
        for lane, entries in enumerate(carried_out(STATIC, 0, rows, threads)):
            block = rows * lane // threads, rows * (lane + 1) // threads
            assert ranges(entries) == ([block] if block[1] > block[0] else [])
        for chunk in (1, 3, 16, 2000):
            for lane, entries in enumerate(carried_out(STATIC, chunk, rows, threads)):
                dealt = range(lane * chunk, rows, threads * chunk)
                assert ranges(entries) == [(first, min(first + chunk, rows)) for first in dealt]


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_size_of_a_guided_chunk_is_its_share_of_what_is_left(threads: int) -> None:
    for chunk in (1, 5):
        for first, last in ranges(noted(carried_out(GUIDED, chunk, 1000, threads))):
            assert last - first == min(max(ceil((1000 - first) / (SHARES * threads)), chunk), 1000 - first)


@pytest.mark.parametrize("kind", [DYNAMIC, GUIDED])
def test_a_lane_goes_forward_only(kind: int) -> None:
    for entries in carried_out(kind, 1, 1000, 2):
        first = entries[entries[:, LAST] > 0, FIRST]
        assert (np.diff(first) > 0).all()


def test_all_draw_the_serial_picture() -> None:
    expected = np.empty((96, 40), np.int32)
    serial(expected, LIMIT)
    numba.set_num_threads(2)
    for kind, loop in LOOPS.items():
        for chunk in CHUNKS[kind]:
            picture = np.full_like(expected, -1)
            loop(picture, LIMIT, chunk, 2, empty_log(2))
            np.testing.assert_array_equal(picture, expected)
    picture = np.full_like(expected, -1)
    log = empty_log(96, 1)
    numba_loop(picture, LIMIT, log)
    np.testing.assert_array_equal(picture, expected)
    assert once(noted(log), 96)


def test_the_picture_is_the_mandelbrot_set_and_its_first_half_holds_95_percent_of_the_work() -> None:
    rows, points, limit = 256, 192, 250
    counts = np.empty((rows, points), np.int32)
    serial(counts, limit)
    c = (LEFT + (RIGHT - LEFT) * (np.arange(points) + 0.5) / points) + 1j * (TOP * (np.arange(rows) + 0.5) / rows)[
        :, None
    ]
    cardioid = np.abs(1 - np.sqrt(1 - 4 * c)) < 0.999
    disc = np.abs(c + 1) < 0.2499
    assert (counts[cardioid | disc] == limit).all()
    assert (counts[np.abs(c) > 2] == 1).all()
    z, expected = np.zeros_like(c), np.zeros(c.shape, int)
    for _ in range(12):
        inside = np.abs(z) <= 2
        expected += inside
        z[inside] = z[inside] ** 2 + c[inside]
    np.testing.assert_array_equal(np.minimum(counts, 12), expected)
    assert 0.945 < counts[: rows // 2].sum() / counts.sum() < 0.955


def test_gcc_draws_the_same_picture_and_does_every_row_once() -> None:
    try:
        loop = gcc.load("schedules.c", "-ffp-contract=off").loop
    except RuntimeError as error:
        pytest.skip(str(error))
    loop.argtypes = [c_void_p, c_long, c_long, c_long, c_int, c_int, c_int, c_void_p]
    expected = np.empty((96, 40), np.int32)
    serial(expected, LIMIT)
    for kind, chunk in ((STATIC, 0), (STATIC, 3), (DYNAMIC, 1), (GUIDED, 1)):
        picture, log = np.full_like(expected, -1), empty_log(96, 1)
        loop(picture.ctypes.data, 96, 40, LIMIT, kind, chunk, 2, log.ctypes.data)
        np.testing.assert_array_equal(picture, expected)
        entries = noted(log)
        assert once(entries, 96)
        if kind == STATIC:
            owner = np.arange(96) // (chunk or 48) % 2
            np.testing.assert_array_equal(entries[:, THREAD], owner)


ON_A_LAYER = """
import numba, numpy as np
from parlab.openmp_like.list_scheduling import handed_out
from parlab.openmp_like.schedules import LOOPS, STATIC, numba_loop
from parlab.openmp_like.stamps import empty_log, noted, once
for threads in (1, 2, 4):
    numba.set_num_threads(threads)
    for kind, loop in LOOPS.items():
        for chunk in (0, 1, 7) if kind == STATIC else (1, 7):
            for _ in range(20):
                log = empty_log(threads, 500)
                loop(np.empty((500, 0), np.int32), 0, chunk, threads, log)
                entries = noted(log)
                assert once(entries, 500), (threads, kind, chunk)
                assert [tuple(e) for e in entries[:, :2].tolist()] == handed_out(kind, chunk, 500, threads)
                assert set(entries[:, 4].tolist()) <= set(range(threads))
    for chunk in (0, 1, 7):
        with numba.parallel_chunksize(chunk):
            log = empty_log(500, 1)
            numba_loop(np.empty((500, 0), np.int32), 0, log)
        entries = noted(log)
        assert once(entries, 500)
        turns = np.count_nonzero(np.diff(entries[:, 4]))
        assert numba.threading_layer() != 'omp' or turns <= threads - 1, 'set_parallel_chunksize had an effect on omp'
print(numba.threading_layer())
"""


@pytest.mark.parametrize("layer", ["omp", "tbb", "workqueue"])
def test_every_iteration_is_done_once_on_every_layer(layer: str) -> None:
    command = launch.threads(4, [], layer=layer)
    env = {**os.environ, **command.env}
    done = subprocess.run([sys.executable, "-c", ON_A_LAYER], env=env, capture_output=True, text=True, timeout=100)
    if "threading layer" in done.stderr:
        pytest.skip(f"the layer {layer} is not here")
    assert done.stdout.strip() == layer, done.stderr


@njit(parallel=True)
def dynamic_apart(counts: Any, lanes: int, log: Any) -> None:
    """A mutant: between the load and the store another thread may come."""
    n = counts.shape[0]
    counter = np.zeros(APART, np.int64)
    for lane in prange(lanes):
        turn, first = 0, load(counter, 0, "relaxed")
        store(counter, 0, first + 1, "relaxed")
        while first < n:
            turn = _do(counts, 0, first, first + 1, log, lane, turn)
            first = load(counter, 0, "relaxed")
            store(counter, 0, first + 1, "relaxed")


@njit(parallel=True)
def guided_unasked(counts: Any, lanes: int, log: Any) -> None:
    """A mutant: it takes its chunk even where another thread was first."""
    n = counts.shape[0]
    counter = np.zeros(APART, np.int64)
    for lane in prange(lanes):
        turn, first = 0, load(counter, 0, "relaxed")
        while first < n:
            last = min(first + 1, n)
            compare_exchange(counter, 0, first, last, "relaxed")
            turn = _do(counts, 0, first, last, log, lane, turn)
            first = load(counter, 0, "relaxed")


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="on one core threads hardly meet")
@pytest.mark.parametrize("mutant", [dynamic_apart, guided_unasked])
def test_a_counter_that_is_not_atomic_hands_out_iterations_twice(mutant: Any) -> None:
    numba.set_num_threads(2)
    seen = []
    with pinned(2):  # free threads may share a core for many milliseconds, and there they do not meet
        for _ in range(30):
            log = empty_log(2, 100_000)
            mutant(np.empty((50_000, 0), np.int32), 2, log)
            seen.append(once(noted(log), 50_000))
    assert not all(seen)
