"""Work sharing: loops and sections, their order, and what need not be waited for. See clauses.py for what an entry is."""

import platform
from functools import cache
from typing import Any

import numpy as np
from numba import get_thread_id, njit, prange

from parlab.openmp_like.assembly import inner_loops
from parlab.openmp_like.atomics import add, store
from parlab.openmp_like.clauses import Form, N, clause, expect, seen
from parlab.openmp_like.waiting import APART, end_turn, wait_turn


@njit(parallel=True, cache=True)
def _each(times: Any) -> None:
    for i in prange(times.shape[0]):
        times[i] += 1


@clause("for", "#pragma omp parallel for", "for i in prange(times.shape[0])", _each)
def for_(threads: int) -> Form:
    """Each iteration is done once."""
    times = np.empty(N, np.int64)

    def run() -> None:
        times.fill(0)
        _each(times)

    return Form(run, lambda: expect(times, 1), [times])


@njit(parallel=True, cache=True)
def _collapsed(times: Any, who: Any) -> None:
    n, m = times.shape
    for k in prange(n * m):
        i, j = k // m, k % m
        times[i, j] += 1
        who[i, j] = get_thread_id()


@clause(
    "collapse",
    "#pragma omp parallel for collapse(2)",
    "for k in prange(n * m); i, j = k // m, k % m",
    _collapsed,
    "lanes",
)
def collapse(threads: int) -> Form:
    """Each pair (i, j) once, and all threads have work though there is only one i."""
    times, who = np.zeros((1, N), np.int64), np.empty((1, N), np.int64)
    wide = np.zeros((7, 13), np.int64)

    def run() -> None:
        times.fill(0)
        _collapsed(times, who)

    def check() -> str | None:
        wide.fill(0)
        _collapsed(wide, np.empty_like(wide))
        return expect(times, 1) or expect(wide, 1) or expect(np.array([len(set(who[0]))]), threads)

    return Form(run, check, [times, who])


@njit(parallel=True, cache=True)
def _in_order(turn: Any, length: Any, written: Any, lanes: int) -> None:
    turn[0] = turn[APART] = length[0] = 0
    for _lane in prange(lanes):
        i = add(turn, APART, 1)
        while i < written.shape[0]:
            wait_turn(turn, i)
            written[length[0]] = i
            length[0] += 1
            end_turn(turn, i)
            i = add(turn, APART, 1)


@clause("ordered", "#pragma omp for ordered schedule(dynamic)", "wait_turn(turn, i); end_turn(turn, i)", _in_order)
def ordered(threads: int) -> Form:
    """Iterations on several threads append their number to one list, with plain stores: it comes out in order.

    The schedule is dynamic: an iteration that somebody waits for has been taken by a thread that runs, on every layer.
    """
    turn, length, written = np.zeros(2 * APART, np.int64), np.zeros(1, np.int64), np.empty(N, np.int64)
    return Form(
        lambda: _in_order(turn, length, written, threads), lambda: expect(written, np.arange(N)), [written], units=N
    )


@njit(parallel=True, cache=True)
def _unhindered(first: Any, second: Any, flag: Any, threads: int) -> int:
    """Two loops in one region; lane 0 stays in the first until the last lane has ended the second. Returns 1 if that never came."""
    n = first.shape[0]
    flag[0] = 0
    missed = 0
    for lane in prange(threads):
        for i in range(lane, n, threads):
            first[i] = i
        if lane == 0 and threads > 1:
            missed += not seen(flag, 0, 1)
        for i in range(lane, n, threads):
            second[i] = 2 * first[i]
        if lane == threads - 1:
            store(flag, 0, 1, "release")
    return missed


@clause(
    "nowait",
    "#pragma omp for nowait",
    "for lane in prange(threads); for i in range(lane, n, threads)",
    _unhindered,
    "waiting",
)
def nowait(threads: int) -> Form:
    """Two loops in one `prange` over the lanes: a lane ends the second while another is in the first. (Two `prange` have a barrier.)"""
    first, second, flag = np.empty(N, np.int64), np.empty(N, np.int64), np.zeros(1, np.int64)
    missed = np.empty(1, np.int64)

    def run() -> None:
        missed[0] = _unhindered(first, second, flag, threads)

    return Form(run, lambda: expect(second, 2 * np.arange(N)) or expect(missed, 0), [first, second, missed])


@njit(parallel=True, cache=True)
def _parts(next_one: Any, times: Any, threads: int) -> None:
    next_one[0] = 0
    for _lane in prange(threads):
        section = add(next_one, 0, 1)
        while section < 3:
            if section == 0:
                times[0] += 1
            elif section == 1:
                times[1] += 10
            else:
                times[2] += 100
            section = add(next_one, 0, 1)


@clause(
    "sections",
    "#pragma omp parallel sections",
    "section = add(next_one, 0, 1); if section == 0; elif section == 1",
    _parts,
)
def sections(threads: int) -> Form:
    """Each section is done once, by whichever thread is free."""
    next_one, times = np.zeros(1, np.int64), np.empty(3, np.int64)

    def run() -> None:
        times.fill(0)
        _parts(next_one, times, threads)

    return Form(run, lambda: expect(times, [1, 10, 100]), [times])


@njit(fastmath=True, cache=True)
def _packed(x: Any, y: Any) -> float:
    total = 0.0
    for i in range(x.shape[0]):
        total += x[i] * y[i]
    return total


@cache
def _vector_bits() -> int:
    """Width of the vectors that the loop computes with, read from its machine code; it does not change."""
    return max((loop.vector_bits for loop in inner_loops(_packed)), default=0)


@clause("simd", "#pragma omp simd reduction(+: total)", "@njit(fastmath=True, cache=True)", _packed)
def simd(threads: int) -> Form:
    """The machine code adds several elements at a time, in an order of its own: exact here, for the numbers are small integers."""
    x, y, total = np.arange(N, dtype=np.float64), np.full(N, 2.0), np.empty(1)

    def run() -> None:
        total[0] = _packed(x, y)

    def check() -> str | None:
        if platform.machine() == "x86_64" and _vector_bits() < 128:  # elsewhere the machine code cannot be read
            return "the loop does one element at a time"
        return expect(total, x @ y)

    return Form(run, check, [total])


LOOPS = (for_, ordered, collapse, nowait, sections, simd)
