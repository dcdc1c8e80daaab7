"""Histograms by many threads: every way but the race is exact, and the race only loses."""

import os
from collections.abc import Callable, Iterator
from ctypes import c_int, c_long, c_void_p
from typing import Any

import numba
import numpy as np
import pytest
from numba import njit, prange

from parlab.openmp_like import gcc
from parlab.openmp_like.assembly import Loop, inner_loops
from parlab.openmp_like.threads import pinned
from parlab.openmp_like.updates import (
    Counts,
    atomic,
    collect,
    count,
    critical,
    interleaved,
    padded,
    race,
    reduction,
    rows_apart,
    serial,
    share,
)
from parlab.openmp_like.waiting import APART, lock, unlock

Samples = np.ndarray[Any, np.dtype[np.uint16]]
POISON = 77

WAYS: dict[str, Callable[[Samples, Counts, int], object]] = {
    "serial": lambda samples, counts, lanes: serial(samples, counts),
    "atomic": atomic,
    "critical": critical,
    "interleaved": lambda samples, counts, lanes: interleaved(
        samples, counts, lanes, np.full((counts.size, lanes), POISON)
    ),
    "padded": lambda samples, counts, lanes: padded(
        samples, counts, lanes, np.full_like(rows_apart(lanes, counts.size), POISON)
    ),
    "reduction": reduction,
}


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = numba.get_num_threads()
    yield
    numba.set_num_threads(before)


def drawn(n: int, bins: int) -> Samples:
    return np.random.default_rng((n, bins)).integers(0, bins, n, np.uint16)


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
@pytest.mark.parametrize("way", WAYS)
def test_no_sample_is_lost(way: str, threads: int) -> None:
    numba.set_num_threads(threads)
    for n, bins in ((0, 1), (1, 3), (2, 8), (7, 8), (30_000, 1), (30_000, 8), (30_000, 256), (30_000, 65_536)):
        samples = drawn(n, bins)
        counts = np.full(bins, POISON)
        WAYS[way](samples, counts, threads)
        np.testing.assert_array_equal(counts, np.bincount(samples, minlength=bins), err_msg=f"{n} samples, {bins} bins")


def test_the_race_is_right_on_one_thread_only_and_never_finds_more_than_there_was() -> None:
    samples, counts = drawn(1 << 20, 8), np.full(8, POISON)
    numba.set_num_threads(1)
    race(samples, counts, 1)
    np.testing.assert_array_equal(counts, np.bincount(samples))
    numba.set_num_threads(2)
    lost = []
    with pinned(2):  # free threads may share a core for many milliseconds, and there they do not meet
        for _ in range(30):
            counts.fill(POISON)
            race(samples, counts, 2)
            lost.append(samples.size - int(counts.sum()))
    assert all(0 <= one < samples.size for one in lost)
    if len(os.sched_getaffinity(0)) >= 2:  # on a busy machine the two may miss each other now and then, not always
        assert any(lost)


@njit(parallel=True)
def collected(rows: Any, counts: Any, locks: Any, locked: bool) -> None:
    """The last step of `padded`, a hundred times; not locked, it is a mutant."""
    for lane in prange(rows.shape[0]):
        for _ in range(100):
            if locked:
                lock(locks, 0)
            collect(rows[lane], counts)
            if locked:
                unlock(locks, 0)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="on one core threads hardly meet")
@pytest.mark.parametrize("locked", [True, False])
def test_without_the_lock_private_counters_are_lost_too(locked: bool) -> None:
    numba.set_num_threads(2)
    right, rows = [], np.ones((2, 10_000), np.int64)
    with pinned(2):
        for _ in range(20):
            counts = np.zeros(10_000, np.int64)
            collected(rows, counts, np.zeros(APART, np.int64), locked)
            right.append(bool((counts == 200).all()))
    assert all(right) == locked


def test_shares_cover_the_samples_in_order() -> None:
    for n in (0, 1, 5, 100):
        for lanes in (1, 2, 3, 7):
            samples = np.arange(n).astype(np.uint16)
            assert np.concatenate([share(samples, lane, lanes) for lane in range(lanes)]).tolist() == list(range(n))


def test_rows_apart_share_no_line_and_no_pair_of_lines() -> None:
    for bins in (1, 8, 16, 17, 256):
        rows = rows_apart(3, bins)
        gap = rows[1].ctypes.data - (rows[0].ctypes.data + 8 * bins)
        assert gap >= 8 * APART
        assert rows.flags.c_contiguous


def test_gcc_counts_the_same() -> None:
    try:
        library = gcc.load("updates.c")
    except RuntimeError as error:
        pytest.skip(str(error))
    for function in (library.atomic, library.critical, library.reduction):
        function.argtypes = [c_void_p, c_long, c_void_p, c_long, c_int]
        for threads in (1, 2):
            numba.set_num_threads(threads)
            samples, counts = drawn(1 << 19, 8), np.full(8, POISON)
            with pinned(threads):
                function(samples.ctypes.data, samples.size, counts.ctypes.data, counts.size, threads)
            np.testing.assert_array_equal(counts, np.bincount(samples))


def compiled(kernel: Any, kind: type) -> list[Loop]:
    """The inner loops of a fresh copy of a kernel for samples of this kind."""
    copy = njit(kernel.py_func)
    copy(np.zeros(3, kind), np.zeros(3, np.int64))
    try:
        return inner_loops(copy)
    except NotImplementedError as error:
        pytest.skip(str(error))


def test_every_update_is_stored_and_unsigned_samples_spare_the_test_for_negative_ones() -> None:
    unsigned, signed = compiled(count, np.uint16), compiled(count, np.int16)
    assert all(loop.stores >= 1 for loop in (*unsigned, *signed))
    instructions = [min(len(loop.lines) / loop.stores for loop in found) for found in (unsigned, signed)]
    assert instructions[0] < instructions[1]
