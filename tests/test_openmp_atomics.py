"""Atomic operations under stress: no update is lost, orders are those of C11, and what the processor cannot do is refused."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from numba import njit, prange
from numba.core.errors import TypingError

from parlab.openmp_like.atomics import add, compare_exchange, exchange, load, store
from parlab.openmp_like.threads import pinned

UPDATES = 10_000_000  # by two threads together
ORDERS = ("relaxed", "acquire", "release", "acq_rel", "seq_cst")


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = numba.get_num_threads()
    numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))
    with pinned(
        2
    ):  # free threads may share a core for many milliseconds, and there even `inc` without lock is not interrupted
        yield
    numba.set_num_threads(before)


@njit(parallel=True)
def count(words: Any, each: int) -> None:
    for _lane in prange(2):
        for _ in range(each):
            add(words, 0, 1)


@njit(parallel=True)
def count_apart(words: Any, each: int) -> None:
    """The mutant: the same, but between the load and the store another thread may come."""
    for _lane in prange(2):
        for _ in range(each):
            store(words, 0, load(words, 0, "relaxed") + 1, "relaxed")


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.float64])
def test_no_contended_update_is_lost(kind: type) -> None:
    words: Any = np.zeros(1, kind)
    count(words, UPDATES // 2)
    assert words[0] == UPDATES


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="on one core threads hardly meet")
def test_a_load_and_a_store_in_place_of_the_add_lose_updates() -> None:
    left = []
    for _ in range(20):  # on a busy machine the two may miss each other now and then
        words = np.zeros(1, np.int64)
        count_apart(words, UPDATES // 2)
        left.append(int(words[0]))
    assert 0 < min(left) < UPDATES


@pytest.mark.parametrize("kind", [np.int32, np.uint32, np.int64, np.uint64, np.float32, np.float64])
def test_add_and_exchange_return_what_was_there_before(kind: type) -> None:
    @njit
    def both(words: Any) -> Any:
        return add(words, 1, 3), exchange(words, 1, 40), load(words, 1, "acquire")

    words: Any = np.array([7, 5, 9], kind)
    assert both(words) == (5, 8, 40)
    assert words.tolist() == [7, 40, 9]


def test_compare_exchange_changes_only_what_it_expects() -> None:
    @njit
    def twice(words: Any) -> Any:
        return compare_exchange(words, 0, 4, 10), compare_exchange(words, 0, 5, 20)

    words = np.array([5])
    assert twice(words) == (5, 5)
    assert words[0] == 20


@njit(parallel=True)
def draw(ticket: Any, drawn: Any) -> None:
    """Each draws numbers from one dispenser, by compare-and-swap."""
    for lane in prange(2):
        for i in range(drawn.shape[1]):
            mine = load(ticket, 0, "relaxed")
            while compare_exchange(ticket, 0, mine, mine + 1) != mine:
                mine = load(ticket, 0, "relaxed")
            drawn[lane, i] = mine


def test_every_ticket_is_drawn_once_and_in_rising_order() -> None:
    ticket, drawn = np.zeros(1, np.int64), np.full((2, 200_000), -1)
    draw(ticket, drawn)
    assert np.array_equal(np.sort(drawn, axis=None), np.arange(drawn.size))
    assert (np.diff(drawn, axis=1) > 0).all()


@njit(parallel=True)
def push_all(head: Any, below: Any) -> None:
    """Put elements 0 .. n - 1 on one stack: below[i] is the one under element i, head[0] the top; -1 ends it (Treiber's stack)."""
    each = below.shape[0] // 2
    for lane in prange(2):
        for i in range(lane * each, (lane + 1) * each):
            below[i] = load(head, 0, "relaxed")
            while compare_exchange(head, 0, below[i], i, "release") != below[i]:
                below[i] = load(head, 0, "relaxed")


def test_a_stack_keeps_all_that_two_threads_put_on_it() -> None:
    head, below = np.array([-1]), np.full(200_000, -2)
    push_all(head, below)
    found, top = [], head[0]
    while top >= 0:
        found.append(int(top))
        top = below[top]
    assert sorted(found) == list(range(200_000))
    of_the_first = [i for i in found if i < 100_000]
    assert of_the_first == sorted(of_the_first, reverse=True)


@njit(parallel=True)
def hand_round(cups: Any, tokens: Any) -> None:
    """Each exchanges its token with the cup's, again and again: tokens move, none is doubled or lost."""
    for lane in prange(2):
        for _ in range(200_000):
            tokens[lane] = exchange(cups, 0, tokens[lane], "acq_rel")


def test_exchange_neither_doubles_nor_loses() -> None:
    cups, tokens = np.array([100]), np.array([101, 102])
    hand_round(cups, tokens)
    assert sorted([*cups, *tokens]) == [100, 101, 102]


ALLOWED = {
    "load": ("relaxed", "acquire", "seq_cst"),
    "store": ("relaxed", "release", "seq_cst"),
    "add": ORDERS,
    "exchange": ORDERS,
    "compare_exchange": ORDERS,
}
CALLS = {
    "load": "load(words, 0, order)",
    "store": "store(words, 0, 1, order)",
    "add": "add(words, 0, 1, order)",
    "exchange": "exchange(words, 0, 1, order)",
    "compare_exchange": "compare_exchange(words, 0, 0, 1, order)",
}


@pytest.mark.parametrize("order", [*ORDERS, "consume"])
@pytest.mark.parametrize("operation", CALLS)
def test_orders_are_accepted_and_refused_as_in_c11(operation: str, order: str) -> None:
    scope: dict[str, Any] = {**globals(), "order": order}
    exec(f"def call(words): {CALLS[operation]}", scope)
    call = njit(scope["call"])
    if order in ALLOWED[operation]:
        call(np.zeros(1, np.int64))
        assert {"acquire": "acquire", "relaxed": "monotonic"}.get(order, order) in next(
            iter(call.inspect_llvm().values())
        )
    else:
        with pytest.raises(TypingError, match="memory order must be one of"):
            call(np.zeros(1, np.int64))


def test_an_order_that_is_known_only_at_run_time_is_refused() -> None:
    @njit
    def late(words: Any, order: str) -> Any:
        return load(words, 0, order)

    with pytest.raises(TypingError, match="constant string"):
        late(np.zeros(1, np.int64), "acquire")


def test_elements_of_more_dimensions_and_of_strided_views() -> None:
    @njit
    def touch(grid: Any, i: int, j: int) -> Any:
        add(grid, (i, j), 5)
        store(grid, (j, i), 7, "release")
        return exchange(grid, (i, j), 9), load(grid, (j, i), "acquire")

    grid = np.zeros((3, 4), np.int64)
    assert touch(grid, 1, 2) == (5, 7)
    expected = np.zeros((3, 4))
    expected[1, 2], expected[2, 1] = 9, 7
    assert np.array_equal(grid, expected)
    wide = np.zeros((6, 8), np.int64)
    assert touch(wide[::2, ::2], 1, 2) == (5, 7)
    assert wide[2, 4] == 9
    assert np.count_nonzero(wide) == 2


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.float16, np.bool_, np.complex128])
def test_elements_without_an_atomic_operation_are_refused(kind: type) -> None:
    @njit
    def one(words: Any) -> None:
        add(words, 0, 1)

    with pytest.raises(TypingError, match="of 4 or 8 bytes"):
        one(np.zeros(1, kind))


def test_lists_and_numbers_are_refused_and_so_is_comparing_floats() -> None:
    @njit
    def one(words: Any) -> None:
        add(words, 0, 1)

    @njit
    def swap(words: Any) -> None:
        compare_exchange(words, 0, 0.0, 1.0)

    with pytest.raises(TypingError, match="elements of arrays"):
        one((1, 2))
    with pytest.raises(TypingError, match="view a float array as int64"):
        swap(np.zeros(1))


CACHED = """
from numba import njit, prange
from parlab.openmp_like.atomics import add, load
import numpy as np

@njit(parallel=True, cache=True)
def count(words):
    for lane in prange(2):
        add(words, 0, 1)
    return load(words, 0, "acquire")

print(count(np.zeros(1, np.int64)), sum(count.stats.cache_hits.values()))
"""


def test_a_second_process_takes_the_kernel_from_the_cache(tmp_path: Path) -> None:
    script = tmp_path / "counts.py"
    script.write_text(CACHED)
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    told = [
        subprocess.run([sys.executable, script], env=env, capture_output=True, text=True, timeout=60, check=True).stdout
        for _ in range(2)
    ]
    assert told == ["2 0\n", "2 1\n"]
