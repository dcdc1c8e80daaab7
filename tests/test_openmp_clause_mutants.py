"""For each clause a form that looks like it and is not: the clause's own check must find it, on two threads."""

import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numba import get_thread_id, njit, prange, set_num_threads

from parlab.openmp_like import (
    clauses_loops,
    clauses_schedules,
    clauses_sharing,
    clauses_teams,
    clauses_waiting,
    schedules,
    updates,
)
from parlab.openmp_like.atomics import add, load, store
from parlab.openmp_like.clauses import N, seen
from parlab.openmp_like.clauses_table import CLAUSES
from parlab.openmp_like.schedules import STATIC
from parlab.openmp_like.waiting import APART, BARRIER_WORDS, barrier, pause

BY_NAME = {clause.name: clause for clause in CLAUSES}


def wrong(name: str) -> str | None:
    """Run a form and say what its check says."""
    form = BY_NAME[name].form(2)
    form.run()
    return form.check()


@njit(cache=True)
def region_of_one(who: Any, threads: int) -> None:
    for lane in range(threads):
        who[lane] = get_thread_id()


@njit(parallel=True, cache=True)
def always_parallel(who: Any, least: int) -> None:
    for i in prange(who.shape[0]):
        who[i] = get_thread_id()


def one_too_few(who: Any, threads: int) -> None:
    set_num_threads(threads - 1)
    always_parallel(who, 0)
    set_num_threads(threads)


FACTOR = 3.0


@njit(parallel=True, cache=True)
def with_a_global(x: Any, y: Any, factor: float) -> None:
    for i in prange(x.shape[0]):
        y[i] = FACTOR * x[i]


@njit(parallel=True, cache=True)
def shared_by_all(out: Any, state: Any, threads: int) -> None:
    xs = np.empty(2, np.int64)
    for lane in prange(threads):
        xs[0] = lane
        xs[1] = lane
        barrier(state, threads)
        out[lane] = lane + xs[0] + xs[1]


@njit(parallel=True, cache=True)
def not_copied(start: Any, out: Any, state: Any, threads: int) -> None:
    for lane in prange(threads):
        add(start, 0, lane)
        barrier(state, threads)
        out[lane] = load(start, 0, "relaxed")


@njit(parallel=True, cache=True)
def whoever_ends_last(values: Any, last: Any, ended: Any, proving: bool) -> None:
    n = values.shape[0]
    ended[0] = 0
    for i in prange(n):
        if i == 0 and proving:
            seen(ended, 0, 1)
        last[0] = 2 * values[i]
        if i == n - 1:
            store(ended, 0, 1, "release")


@njit(parallel=True, cache=True)
def kept_by_one(rows: Any, threads: int) -> None:
    for _lane in prange(threads):
        rows[0, 0] = 10 + get_thread_id()
    for _lane in prange(threads):
        rows[get_thread_id(), 1] = rows[0, 0]


@njit(parallel=True, cache=True)
def not_brought(rows: Any, threads: int) -> None:
    rows[0, 0] = 7
    for lane in prange(threads):
        rows[lane, 0] += lane


@njit(parallel=True, cache=True)
def each_its_own(slot: Any, out: Any, state: Any, threads: int) -> None:
    for lane in prange(threads):
        out[lane] = 100 + lane


@njit(parallel=True, cache=True)
def last_term(x: Any, out: Any) -> None:
    for i in prange(x.shape[0]):
        out[0] += x[i]
    out[1], out[2] = 2 ** np.count_nonzero(x == 5), x.max()


@njit(cache=True)
def added_twice(samples: Any, counts: Any, lanes: int) -> None:
    counts[:] = 0
    for i in range(samples.shape[0]):
        counts[samples[i]] += 2


@njit(parallel=True, cache=True)
def one_left_out(times: Any) -> None:
    for i in prange(times.shape[0] - 1):
        times[i] += 1


@njit(parallel=True, cache=True)
def any_order(turn: Any, length: Any, written: Any, lanes: int) -> None:
    turn[APART] = 0
    n = written.shape[0]
    for _lane in prange(lanes):
        i = add(turn, APART, 1)
        while i < n:
            if i == 0:  # whoever has the first waits for the others to take all the rest
                seen(turn, APART, n + lanes - 1)
            written[add(turn, 0, 1) % n] = i
            i = add(turn, APART, 1)


@njit(parallel=True, cache=True)
def rows_only(times: Any, who: Any) -> None:
    n, m = times.shape
    for i in prange(n):
        for j in range(m):
            times[i, j] += 1
            who[i, j] = get_thread_id()


@njit(parallel=True, cache=True)
def square(times: Any, who: Any) -> None:
    """As PyOMP 0.6 does it: the first bound for both loops."""
    n, m = times.shape
    for k in prange(n * n):
        times[k // n, (k % n) % m] += 1


@njit(parallel=True, cache=True)
def hindered(state: Any, first: Any, second: Any, flag: Any, threads: int) -> int:
    n = first.shape[0]
    flag[0] = 0
    missed = 0
    for lane in prange(threads):
        for i in range(lane, n, threads):
            first[i] = i
        if lane == 0 and threads > 1:
            missed += not seen(flag, 0, 1)
        barrier(state, threads)
        for i in range(lane, n, threads):
            second[i] = 2 * first[i]
        if lane == threads - 1:
            store(flag, 0, 1, "release")
    return missed


def waiting_between(first: Any, second: Any, flag: Any, threads: int) -> Any:
    return hindered(np.zeros(BARRIER_WORDS, np.int64), first, second, flag, threads)


@njit(parallel=True, cache=True)
def by_every_lane(next_one: Any, times: Any, threads: int) -> None:
    for _lane in prange(threads):
        add(times, 0, 1)
        add(times, 1, 10)
        add(times, 2, 100)


@njit(cache=True)
def in_program_order(x: Any, y: Any) -> float:
    total = 0.0
    for i in range(x.shape[0]):
        total += x[i] * y[i]
    return total


@njit(parallel=True, cache=True)
def dealt(who: Any, lanes: int = 2) -> None:
    for lane in prange(lanes):
        for i in range(lane, who.shape[0], lanes):
            who[i] = lane


@njit(parallel=True, cache=True)
def fixed_shares(owner: Any, times: Any, words: Any, lanes: int, proving: bool) -> int:
    n = owner.shape[0]
    words[APART] = 0
    left = 0
    for lane in prange(lanes):
        patient = proving and lane == 0
        for first in range(8 * lane, n, 8 * lanes):
            for i in range(first, min(first + 8, n)):
                owner[i] = lane
                times[i] += 1
            add(words, APART, 8, "release")
            if patient:
                left += not seen(words, APART, n)
                patient = False
    return left


def one_block_each(owner: Any, lanes: int) -> None:
    owner[:] = np.arange(N) * lanes // N


def in_blocks(counts: Any, limit: int, chunk: int, lanes: int, log: Any) -> None:
    schedules.LOOPS[STATIC](counts, limit, 0, lanes, log)


@njit(parallel=True, cache=True)
def no_barrier(stamps: Any, state: Any, threads: int, rounds: int, late: int) -> int:
    missing = 0
    for lane in prange(threads):
        for r in range(rounds):
            if lane == r % threads:
                for _ in range(late):
                    pause()
            store(stamps, (lane, 0), r, "relaxed")
            for other in range(threads):
                missing += load(stamps, (other, 0), "relaxed") != r
    return missing


@njit(parallel=True, cache=True)
def by_all(claim: Any, times: Any, state: Any, threads: int) -> None:
    for _lane in prange(threads):
        for r in range(times.shape[0]):
            add(times, r, 1)


@njit(parallel=True, cache=True)
def by_all_lanes(times: Any, threads: int) -> None:
    for lane in prange(threads):
        times[lane] += 1


@njit(parallel=True, cache=True)
def in_two_steps(total: Any, threads: int) -> None:
    """Lane 0 reads; the others add; lane 0 writes."""
    flags = np.zeros(2 * APART, np.int64)
    store(total, 0, 0, "relaxed")
    for lane in prange(threads):
        if lane == 0:
            before = load(total, 0, "acquire")
            store(flags, 0, 1, "release")
            seen(flags, APART, threads - 1)
            store(total, 0, before + N, "relaxed")
        else:
            seen(flags, 0, 1)
            add(total, 0, N, "acq_rel")
            add(flags, APART, 1, "release")


def without_the_door(door: Any, total: Any, threads: int) -> None:
    in_two_steps(total, threads)


MUTANTS: list[tuple[str, ModuleType, str, Callable[..., Any]]] = [
    ("parallel", clauses_teams, "_region", region_of_one),
    ("if", clauses_teams, "_branch", always_parallel),
    ("num_threads", clauses_teams, "_sized", one_too_few),
    ("default(none)", clauses_sharing, "_scaled", with_a_global),
    ("private", clauses_sharing, "_own", shared_by_all),
    ("firstprivate", clauses_sharing, "_copied", not_copied),
    ("lastprivate", clauses_sharing, "_latest", whoever_ends_last),
    ("threadprivate", clauses_sharing, "_kept", kept_by_one),
    ("copyin", clauses_sharing, "_brought", not_brought),
    ("copyprivate", clauses_sharing, "_handed_out", each_its_own),
    ("reduction", clauses_sharing, "_reduced", last_term),
    ("reduction, array", updates, "reduction", added_twice),
    ("for", clauses_loops, "_each", one_left_out),
    ("ordered", clauses_loops, "_in_order", any_order),
    ("collapse", clauses_loops, "_collapsed", rows_only),
    ("collapse", clauses_loops, "_collapsed", square),
    ("nowait", clauses_loops, "_unhindered", waiting_between),
    ("sections", clauses_loops, "_parts", by_every_lane),
    ("simd", clauses_loops, "_packed", in_program_order),
    ("schedule(static)", clauses_schedules, "_shared_out", dealt),
    ("schedule(static, k)", clauses_schedules, "_dealt", one_block_each),
    ("schedule(dynamic, k)", clauses_schedules, "_first_come", fixed_shares),
    ("barrier", clauses_waiting, "_separated", no_barrier),
    ("single", clauses_waiting, "_by_one", by_all),
    ("master, masked", clauses_waiting, "_by_lane_0", by_all_lanes),
    ("critical", clauses_waiting, "_one_by_one", without_the_door),
    ("atomic", clauses_waiting, "_counted", in_two_steps),
]


@pytest.mark.parametrize(("name", "module", "kernel", "mutant"), MUTANTS, ids=lambda x: getattr(x, "__name__", None))
def test_a_form_that_only_looks_like_the_clause_is_found(
    name: str, module: ModuleType, kernel: str, mutant: Callable[..., Any], two: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hasattr(module, kernel)
    monkeypatch.setattr(module, kernel, mutant)
    if name == "simd":
        if sys.platform != "linux" or os.uname().machine != "x86_64":
            pytest.skip("the machine code is read on x86-64 only")
        clauses_loops._vector_bits.cache_clear()
    found = any(wrong(name) for _ in range(5))  # on a busy machine the two may miss each other now and then
    if name == "simd":
        clauses_loops._vector_bits.cache_clear()
    assert found


def test_one_block_each_is_not_guided(two: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clauses_schedules, "LOOPS", dict.fromkeys(schedules.LOOPS, in_blocks))
    assert wrong("schedule(guided, k)") is not None


def test_a_schedule_that_does_nothing_is_none(two: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clauses_schedules, "LOOPS", dict.fromkeys(schedules.LOOPS, lambda *_: None))
    assert wrong("schedule(runtime)") is not None
