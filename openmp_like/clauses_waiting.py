"""Synchronisation: waiting for all, one thread in place of all, one thread at a time. See clauses.py for what an entry is."""

from typing import Any

import numpy as np
from numba import njit, prange

from parlab.openmp_like.atomics import add, compare_exchange
from parlab.openmp_like.clauses import Form, N, clause, expect
from parlab.openmp_like.waiting import APART, BARRIER_WORDS, barrier, lock, pause, unlock

ROUNDS = 100
LATE = 1000  # pauses of a lane that comes late: some 10 us


@njit(parallel=True, cache=True)
def _separated(stamps: Any, state: Any, threads: int, rounds: int, late: int) -> int:
    """Let each lane, one of them late, leave a stamp in every round; return how many stamps were missing behind the barrier."""
    missing = 0
    for lane in prange(threads):
        for r in range(rounds):
            if lane == r % threads:
                for _ in range(late):
                    pause()
            stamps[lane, 0] = r
            barrier(state, threads)
            for other in range(threads):
                missing += stamps[other, 0] != r
            barrier(state, threads)
    return missing


@clause("barrier", "#pragma omp barrier", "barrier(state, threads)", _separated, "waiting")
def barrier_(threads: int) -> Form:
    """What all wrote before the barrier, all find behind it, whoever comes late."""
    stamps, state = np.full((threads, APART), -1), np.zeros(BARRIER_WORDS, np.int64)
    missing = np.empty(1, np.int64)

    def run(late: int = 0) -> None:
        missing[0] = _separated(stamps, state, threads, ROUNDS, late)

    def check() -> str | None:
        if wrong := expect(missing, 0):
            return wrong
        run(LATE)
        return expect(missing, 0)

    return Form(run, check, [missing], units=2 * ROUNDS)


@njit(parallel=True, cache=True)
def _by_one(claim: Any, times: Any, state: Any, threads: int) -> None:
    claim[0] = 0
    for _lane in prange(threads):
        for r in range(times.shape[0]):
            if compare_exchange(claim, 0, r, r + 1) == r:
                times[r] += 1
            barrier(state, threads)


@clause(
    "single",
    "#pragma omp single",
    "if compare_exchange(claim, 0, r, r + 1) == r; barrier(state, threads)",
    _by_one,
    "waiting",
)
def single(threads: int) -> Form:
    """The first to come does it, once; all wait."""
    claim, times, state = np.zeros(1, np.int64), np.empty(ROUNDS, np.int64), np.zeros(BARRIER_WORDS, np.int64)

    def run() -> None:
        times.fill(0)
        _by_one(claim, times, state, threads)

    return Form(run, lambda: expect(times, 1), [times], units=ROUNDS)


@njit(parallel=True, cache=True)
def _by_lane_0(times: Any, threads: int) -> None:
    for lane in prange(threads):
        if lane == 0:
            times[lane] += 1


@clause("master, masked", "#pragma omp masked", "if lane == 0", _by_lane_0)
def master(threads: int) -> Form:
    """Lane 0 does it, the others do not, and nobody waits."""
    times = np.empty(threads, np.int64)

    def run() -> None:
        times.fill(0)
        _by_lane_0(times, threads)

    return Form(run, lambda: expect(times, np.arange(threads) == 0), [times])


@njit(parallel=True, cache=True)
def _one_by_one(door: Any, total: Any, threads: int) -> None:
    total[0] = 0
    for _lane in prange(threads):
        for _ in range(N):
            lock(door, 0)
            total[0] += 1
            unlock(door, 0)


@clause("critical", "#pragma omp critical", "lock(door, 0); unlock(door, 0)", _one_by_one)
def critical(threads: int) -> Form:
    """A plain counter that all add to loses nothing."""
    door, total = np.zeros(1, np.int64), np.empty(1, np.int64)
    return Form(
        lambda: _one_by_one(door, total, threads), lambda: expect(total, threads * N), [total], units=threads * N
    )


@njit(parallel=True, cache=True)
def _counted(total: Any, threads: int) -> None:
    total[0] = 0
    for _lane in prange(threads):
        for _ in range(N):
            add(total, 0, 1)


@clause("atomic", "#pragma omp atomic", "add(total, 0, 1)", _counted)
def atomic(threads: int) -> Form:
    """The same without a lock: one instruction of the processor."""
    total = np.empty(1, np.int64)
    return Form(lambda: _counted(total, threads), lambda: expect(total, threads * N), [total], units=threads * N)


WAITING = (barrier_, single, master, critical, atomic)
