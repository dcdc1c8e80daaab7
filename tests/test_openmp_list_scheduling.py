"""What is handed out, by the formulas of OpenMP's libraries, and how long list scheduling takes for it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parlab.openmp_like.list_scheduling import handed_out, makespan
from parlab.openmp_like.schedules import DYNAMIC, GUIDED, STATIC

SIZES = st.integers(0, 300)
THREADS = st.integers(1, 9)
COSTS = st.lists(st.integers(0, 1000), min_size=1, max_size=80)


@pytest.mark.parametrize(
    ("kind", "chunk", "shares", "sizes"),
    [
        (STATIC, 0, 2, [50, 50]),
        (STATIC, 40, 2, [40, 40, 20]),
        (DYNAMIC, 30, 2, [30, 30, 30, 10]),
        (GUIDED, 1, 2, [25, 19, 14, 11, 8, 6, 5, 3, 3, 2, 1, 1, 1, 1]),
        (GUIDED, 10, 2, [25, 19, 14, 11, 10, 10, 10, 1]),
        (GUIDED, 1, 1, [50, 25, 13, 6, 3, 2, 1]),
    ],
)
def test_a_hundred_iterations_for_two_threads(kind: int, chunk: int, shares: int, sizes: list[int]) -> None:
    assert [last - first for first, last in handed_out(kind, chunk, 100, 2, shares)] == sizes


@settings(deadline=None)
@given(st.sampled_from([STATIC, DYNAMIC, GUIDED]), SIZES, st.integers(1, 400), THREADS, st.sampled_from([1, 2]))
def test_every_iteration_is_handed_out_once_in_order(kind: int, n: int, chunk: int, threads: int, shares: int) -> None:
    chunks = handed_out(kind, chunk, n, threads, shares)
    assert [i for first, last in chunks for i in range(first, last)] == list(range(n))
    assert all(last - first >= chunk for first, last in chunks[:-1])


@given(SIZES, THREADS)
def test_blocks_differ_by_one_at_most(n: int, threads: int) -> None:
    sizes = [last - first for first, last in handed_out(STATIC, 0, n, threads)]
    assert len(sizes) == threads
    assert sum(sizes) == n
    assert max(sizes) - min(sizes) <= 1


def test_the_examples_of_the_lab() -> None:
    costs = [8, 4, 2, 1, 1, 0, 0, 0]
    assert makespan(STATIC, costs, handed_out(STATIC, 0, 8, 2), 2) == 15  # the first half
    assert makespan(STATIC, costs, handed_out(STATIC, 1, 8, 2), 2) == 11  # every second
    assert makespan(DYNAMIC, costs, handed_out(DYNAMIC, 1, 8, 2), 2) == 8  # the costly one, and all others
    assert makespan(DYNAMIC, costs, handed_out(DYNAMIC, 4, 8, 2), 2) == 15
    assert makespan(GUIDED, costs, handed_out(GUIDED, 1, 8, 2), 2) == 12  # the first chunk holds 8 and 4


@given(COSTS, THREADS)
def test_dynamic_is_within_grahams_bound(costs: list[int], threads: int) -> None:
    ends = makespan(DYNAMIC, costs, handed_out(DYNAMIC, 1, len(costs), threads), threads)
    least = max(sum(costs) / threads, max(costs))
    assert least <= ends <= sum(costs) / threads + (1 - 1 / threads) * max(costs) + 1e-9


@given(st.sampled_from([STATIC, DYNAMIC, GUIDED]), COSTS, st.integers(1, 20))
def test_one_thread_takes_the_sum(kind: int, costs: list[int], chunk: int) -> None:
    assert makespan(kind, costs, handed_out(kind, chunk, len(costs), 1), 1) == sum(costs)
