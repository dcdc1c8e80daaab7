"""How many threads run a region, and where. See clauses.py for what an entry is."""

from typing import Any

import numpy as np
from numba import get_thread_id, njit, prange, set_num_threads

from parlab.openmp_like.clauses import Form, N, clause, expect
from parlab.openmp_like.threads import masks


@njit(parallel=True, cache=True)
def _region(who: Any, threads: int) -> None:
    for lane in prange(threads):
        who[lane] = get_thread_id()


@clause("parallel", "#pragma omp parallel", "for lane in prange(threads)", _region, "lanes")
def parallel(threads: int) -> Form:
    """Each thread runs one lane."""
    who = np.empty(threads, np.int64)
    return Form(lambda: _region(who, threads), lambda: expect(np.sort(who), np.arange(threads)), [who])


@njit(parallel=True, cache=True)
def _branch(who: Any, least: int) -> None:
    n = who.shape[0]
    if n >= least:
        for i in prange(n):
            who[i] = get_thread_id()
    else:
        for i in range(n):
            who[i] = get_thread_id()


@clause(
    "if",
    "#pragma omp parallel for if(n >= least)",
    "if n >= least; prange(n); else; range(n)",
    _branch,
    "lanes",
)
def if_(threads: int) -> Form:
    """A long loop is shared among all threads, a short one stays on one."""
    who = np.empty(N, np.int64)

    def check() -> str | None:
        few = np.full(N - 1, -1)
        _branch(few, N)
        short = f"{len(set(few))} threads did the short loop" if len(set(few)) != 1 else None
        return (
            short or expect(np.unique(who), np.arange(threads)) if len(set(who)) == threads else "threads were left out"
        )

    return Form(lambda: _branch(who, N), check, [who])


def _sized(who: Any, threads: int) -> None:
    set_num_threads(threads)
    _branch(who, 0)


@clause("num_threads", "#pragma omp parallel num_threads(threads)", "set_num_threads(threads)", _sized, "lanes")
def num_threads(threads: int) -> Form:
    """So many threads, no more and no fewer, do the loop."""
    who = np.empty(N, np.int64)
    return Form(lambda: _sized(who, threads), lambda: expect(np.array([len(set(who))]), threads), [who])


@clause("proc_bind", "#pragma omp parallel proc_bind(close)", "with pinned(threads)", None, "lanes")
def proc_bind(threads: int) -> Form:
    """Inside `with pinned(threads)` each thread may run on one core, its own; where there are fewer cores nothing is promised."""
    found: list[set[int]] = []

    def run() -> None:
        found[:] = masks(threads)

    def check() -> str | None:
        cores = set().union(*found)
        return None if len(cores) < threads or all(len(mask) == 1 for mask in found) else f"threads may move: {found}"

    return Form(run, check)


TEAMS = (parallel, if_, num_threads, proc_bind)
