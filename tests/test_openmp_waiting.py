"""Waiting under stress: one owner of a lock at a time, no barrier passed early, turns in order; and each property broken once."""

from typing import Any

import numpy as np
import pytest
from numba import njit, prange
from numba.core.errors import TypingError

from parlab.openmp_like.atomics import add, load, store
from parlab.openmp_like.waiting import (
    APART,
    BARRIER_WORDS,
    barrier,
    end_turn,
    lock,
    unlock,
    wait_turn,
    wait_until,
)

TRIES = 20  # for a mutant: on a busy machine the threads may miss each other now and then


@njit(parallel=True)
def guarded(locks: Any, total: Any, inside: Any, threads: int, each: int) -> int:
    """Count with plain additions, each under the lock; return how often a thread inside saw another's mark."""
    broken = 0
    for lane in prange(threads):
        seen = 0
        for _ in range(each):
            lock(locks, 0)
            store(inside, 0, lane, "relaxed")
            total[0] += 1
            seen += load(inside, 0, "relaxed") != lane
            unlock(locks, 0)
        broken += seen
    return broken


@njit(parallel=True)
def unguarded(locks: Any, total: Any, inside: Any, threads: int, each: int) -> int:
    """The mutant: who finds the lock free takes it, but finding and taking are two steps."""
    broken = 0
    for lane in prange(threads):
        seen = 0
        for _ in range(each):
            while load(locks, 0, "acquire") != 0:
                pass
            store(locks, 0, 1, "relaxed")
            store(inside, 0, lane, "relaxed")
            total[0] += 1
            seen += load(inside, 0, "relaxed") != lane
            unlock(locks, 0)
        broken += seen
    return broken


def test_a_lock_has_one_owner(threads: int) -> None:
    locks, total, inside = np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1, np.int64)
    assert guarded(locks, total, inside, threads, 100_000) == 0
    assert total[0] == threads * 100_000
    assert locks[0] == 0


@pytest.mark.usefixtures("two")
def test_a_lock_taken_in_two_steps_has_two() -> None:
    seen = 0
    for _ in range(TRIES):
        seen += unguarded(np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1, np.int64), 2, 100_000)
    assert seen > 0


@njit(parallel=True)
def generations(state: Any, reached: Any, threads: int, most: int, waiting: bool) -> int:
    """Walk through `most` generations; return how often a thread saw another too early or too late for its own.

    reached: int64[threads, APART]. After the barrier of generation g all have reached g, and none can be beyond g + 1, for its barrier
    needs me.
    """
    broken = 0
    for lane in prange(threads):
        seen = 0
        for g in range(1, most + 1):
            store(reached, (lane, 0), g, "relaxed")
            if waiting:
                barrier(state, threads)
            for other in range(threads):
                now = load(reached, (other, 0), "relaxed")
                seen += now < g or now > g + 1
        broken += seen
    return broken


def test_nobody_passes_a_barrier_early_for_many_generations(threads: int) -> None:
    state, reached = np.zeros(BARRIER_WORDS, np.int64), np.zeros((threads, APART), np.int64)
    assert generations(state, reached, threads, 10_000, True) == 0
    assert generations(state, reached, threads, 100, True) >= 0  # usable again: it came back
    assert state[0] == 0
    assert state[APART] == 10_100


@pytest.mark.usefixtures("two")
def test_without_the_barrier_generations_mix() -> None:
    state, reached = np.zeros(BARRIER_WORDS, np.int64), np.zeros((2, APART), np.int64)
    assert sum(generations(state, reached, 2, 20_000, False) for _ in range(TRIES)) > 0


@njit(parallel=True)
def in_turn(turn: Any, length: Any, written: Any, threads: int) -> None:
    """Append i to a list of which plain stores change the length, in the order of i."""
    for lane in prange(threads):
        for i in range(lane, written.shape[0], threads):
            wait_turn(turn, i)
            written[length[0]] = i
            length[0] += 1
            end_turn(turn, i)


@njit(parallel=True)
def in_turn_relaxed(turn: Any, length: Any, written: Any, threads: int) -> None:
    """The mutant: the same with relaxed order, which lets the length stay in a register."""
    for lane in prange(threads):
        for i in range(lane, written.shape[0], threads):
            while load(turn, 0, "relaxed") != i:
                pass
            written[length[0]] = i
            length[0] += 1
            store(turn, 0, i + 1, "relaxed")


def test_turns_come_in_order(threads: int) -> None:
    turn, length, written = np.zeros(1, np.int64), np.zeros(1, np.int64), np.full(20_000, -1)
    in_turn(turn, length, written, threads)
    assert np.array_equal(written, np.arange(20_000))


@pytest.mark.usefixtures("two")
def test_relaxed_turns_do_not() -> None:
    turn, length, written = np.zeros(1, np.int64), np.zeros(1, np.int64), np.full(20_000, -1)
    in_turn_relaxed(turn, length, written, 2)
    assert not np.array_equal(written, np.arange(20_000))


@njit(parallel=True)
def messages(data: Any, flags: Any, rounds: int) -> int:
    """Send `rounds` messages of plain stores from one thread to another, each answered; return how many came in wrong."""
    wrong = 0
    for lane in prange(2):
        bad = 0
        for i in range(1, rounds + 1):
            if lane == 0:
                data[:] = i
                store(flags, 0, i, "release")
                wait_until(flags, APART, i)
            else:
                wait_until(flags, 0, i, "seq_cst")
                bad += (data != i).any()
                store(flags, APART, i, "release")
        wrong += bad
    return wrong


@pytest.mark.usefixtures("two")
def test_what_was_written_before_the_release_is_seen_by_who_waited() -> None:
    assert messages(np.zeros(16, np.int64), np.zeros(2 * APART, np.int64), 50_000) == 0


@pytest.mark.parametrize("order", ["relaxed", "release", "acq_rel", "consume"])
def test_a_wait_that_does_not_acquire_is_refused_by_design(order: str) -> None:
    scope: dict[str, Any] = {"wait_until": wait_until, "order": order}
    exec("def hasty(words): wait_until(words, 0, 1, order)", scope)
    with pytest.raises(TypingError, match="must acquire"):
        njit(scope["hasty"])(np.ones(1, np.int64))


def test_a_wait_outside_of_compiled_code_says_so() -> None:
    with pytest.raises(NotImplementedError, match="compiled code"):
        wait_until(np.ones(1, np.int64), 0, 1)


@njit(parallel=True)
def doubled(state: Any, reached: Any, threads: int) -> None:
    for lane in prange(threads):
        for _ in range(1000):
            add(reached, (lane, 0), 1)
            barrier(state, threads)
            barrier(state, threads)


def test_two_barriers_in_a_row_do_not_trap_a_slow_thread(threads: int) -> None:
    state, reached = np.zeros(BARRIER_WORDS, np.int64), np.zeros((threads, APART), np.int64)
    doubled(state, reached, threads)
    assert (reached[:, 0] == 1000).all()
    assert state[APART] == 2000
