"""Schedules: who does which iterations of a loop, over the loops of schedules.py and what they note of it. See clauses.py for an entry."""

from typing import Any

import numpy as np
from numba import get_thread_id, njit, prange

from parlab.openmp_like import schedules
from parlab.openmp_like.atomics import add
from parlab.openmp_like.clauses import Form, N, clause, expect, seen
from parlab.openmp_like.schedules import DYNAMIC, GUIDED, LOOPS, SHARES, STATIC
from parlab.openmp_like.stamps import FIRST, LAST, Log, empty_log, noted, once
from parlab.openmp_like.waiting import APART

CHUNK = 8  # iterations
NOTHING = np.zeros((N, 0), np.int32)  # a picture without columns: empty iterations


@njit(parallel=True, cache=True)
def _shared_out(who: Any) -> None:
    for i in prange(who.shape[0]):
        who[i] = get_thread_id()


@clause("schedule(static)", "#pragma omp for schedule(static)", "for i in prange(who.shape[0])", _shared_out, "lanes")
def static(threads: int) -> Form:
    """Each thread has one run of neighbours, none longer than another by more than 1."""
    who = np.empty(N, np.int64)

    def check() -> str | None:
        starts = np.flatnonzero(np.diff(who, prepend=-1))
        lengths = np.diff(starts, append=N)
        return expect(np.array([len(starts), len(set(who)), np.ptp(lengths) <= 1]), [threads, threads, True])

    return Form(lambda: _shared_out(who), check, [who])


@njit(parallel=True, cache=True)
def _dealt(owner: Any, lanes: int) -> None:
    n = owner.shape[0]
    for lane in prange(lanes):
        for first in range(lane * CHUNK, n, lanes * CHUNK):
            owner[first : first + CHUNK] = lane


@clause(
    "schedule(static, k)",
    "#pragma omp for schedule(static, k)",
    "for first in range(lane * CHUNK, n, lanes * CHUNK)",
    _dealt,
)
def static_chunks(threads: int) -> Form:
    """Chunk c is the work of lane c mod p."""
    owner = np.empty(N, np.int64)
    return Form(lambda: _dealt(owner, threads), lambda: expect(owner, np.arange(N) // CHUNK % threads), [owner])


@njit(parallel=True, cache=True)
def _first_come(owner: Any, times: Any, words: Any, lanes: int, proving: bool) -> int:
    """Note who does what. proving: lane 0, after its first chunk, waits for the others to do all the rest; returns 1 if they did not."""
    n = owner.shape[0]
    words[0] = words[APART] = 0
    left = 0
    for lane in prange(lanes):
        patient = proving and lane == 0
        first = add(words, 0, CHUNK)
        while first < n:
            for i in range(first, min(first + CHUNK, n)):
                owner[i] = lane
                times[i] += 1
            add(words, APART, CHUNK, "release")
            if patient:
                left += not seen(words, APART, n)
                patient = False
            first = add(words, 0, CHUNK)
    return left


@clause(
    "schedule(dynamic, k)",
    "#pragma omp for schedule(dynamic, k)",
    "first = add(words, 0, CHUNK); while first < n",
    _first_come,
    "waiting",
)
def dynamic(threads: int) -> Form:
    """Each iteration once, whole chunks for each lane; and while one lane is held up in its first, the others do all the rest."""
    owner, times, words = np.empty(N, np.int64), np.empty(N, np.int64), np.zeros(2 * APART, np.int64)

    def run(proving: bool = False) -> int:
        times.fill(0)
        return int(_first_come(owner, times, words, threads, proving))

    def check() -> str | None:
        if wrong := expect(times, 1) or expect(owner, np.repeat(owner[::CHUNK], CHUNK)):
            return wrong
        left = run(proving=True) if threads > 1 else 0
        return "while lane 0 was held up, the others did not do the rest" if left else expect(times, 1)

    return Form(run, check, [owner, times])


def _chosen(kind: int, chunk: int, lanes: int, log: Log) -> None:
    LOOPS[kind](NOTHING, 0, chunk, lanes, log)


def _done(kind: int, chunk: int, lanes: int) -> Log:
    """Do the loop, and return what was noted of it, chunk by chunk."""
    log = empty_log(lanes, N)
    _chosen(kind, chunk, lanes, log)
    return noted(log)


@clause(
    "schedule(guided, k)",
    "#pragma omp for schedule(guided, k)",
    "size = max(chunk, -(-(n - first) // (SHARES * lanes)))",
    schedules.guided,
)
def guided(threads: int) -> Form:
    """Chunks shrink: each is a share of what is left, rounded up, but not under k."""
    starts = [0]
    while (left := N - starts[-1]) > 0:
        starts.append(starts[-1] + min(left, max(CHUNK, -(-left // (SHARES * threads)))))

    def check() -> str | None:
        entries = _done(GUIDED, CHUNK, threads)
        return expect(np.array([*entries[:, FIRST], entries[-1, LAST]]), starts)

    return Form(lambda: _chosen(GUIDED, CHUNK, threads, empty_log(threads)), check)


@clause("schedule(runtime)", "#pragma omp for schedule(runtime)", "LOOPS[kind](NOTHING, 0, chunk, lanes, log)", _chosen)
def runtime(threads: int) -> Form:
    """Kind and chunk are values, as for omp_set_schedule; OMP_SCHEDULE is not read. Each of the schedules does every iteration once."""

    def check() -> str | None:
        wrong = [kind for kind in LOOPS if not once(_done(kind, CHUNK, threads), N)]
        return f"schedules {wrong} leave iterations out, or do them twice" if wrong else None

    def run() -> None:
        for kind in (STATIC, DYNAMIC, GUIDED):
            _chosen(kind, CHUNK, threads, empty_log(threads))

    return Form(run, check, units=3)


SCHEDULES = (static, static_chunks, dynamic, guided, runtime)
