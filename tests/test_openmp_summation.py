"""Sums: exact where nothing is rounded, within their bounds where it is, and different for each number of threads."""

import math
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numba
import numpy as np
import pytest
from numba import jit

from parlab.openmp_like.assembly import inner_loops
from parlab.openmp_like.summation import (
    BLOCK,
    Vector,
    cancelling,
    error_bound,
    exact,
    fastmath,
    pairwise,
    race,
    reduction,
    strict,
)
from parlab.openmp_like.threads import pinned

SUMS: list[Callable[[Any], float]] = [strict, fastmath, pairwise, reduction, exact]
UNIT = 2.0**-53  # half the distance from 1 to the next float64


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = numba.get_num_threads()
    yield
    numba.set_num_threads(before)


def numbers(n: int = 1 << 14) -> Vector:
    return cancelling(n, np.random.default_rng(7))


@pytest.mark.parametrize("add", SUMS)
def test_whole_numbers_are_added_exactly_in_any_order(add: Callable[[Any], float]) -> None:
    for threads in (1, 2, 4):
        numba.set_num_threads(threads)
        for n in (0, 1, 2, 127, 128, 129, 1000, 4099):
            x = np.random.default_rng(n).integers(-1000, 1000, n).astype(np.float64)
            assert add(x) == x.astype(int).sum(), (threads, n)


@pytest.mark.parametrize("add", SUMS)
def test_the_error_is_within_the_bound_for_any_order(add: Callable[[Any], float]) -> None:
    x = numbers()
    for threads in (1, 2, 4):
        numba.set_num_threads(threads)
        assert abs(add(x) - exact(x)) <= error_bound(x)


def test_the_bound_would_notice_a_lost_share() -> None:
    x = numbers()
    assert abs(strict(x[: x.size // 2]) - exact(x)) > error_bound(x)


def test_exact_is_rounded_once() -> None:
    x = numbers(2000)
    assert exact(x) == float(sum(map(Fraction, x.tolist())))


def test_nearly_all_cancels() -> None:
    x = numbers()
    condition = np.abs(x).sum() / abs(exact(x))
    assert 1e6 < condition < 1e9
    assert x.size == 1 << 14
    np.testing.assert_array_equal(x, numbers())


def test_pairwise_keeps_what_one_after_the_other_loses() -> None:
    """Each of the small numbers is less than half a step of 1: added to it one by one they all vanish."""
    n = 1 << 16
    x = np.full(n, UNIT / 2)
    x[0] = 1.0
    bound = (BLOCK + math.log2(n)) * UNIT * exact(x)  # Higham, section 4.2
    assert strict(x) == 1.0
    assert abs(strict(x) - exact(x)) > bound
    assert abs(pairwise(x) - exact(x)) <= bound


def test_a_reduction_is_repeatable_with_equal_threads_and_differs_with_others() -> None:
    x = numbers()
    found = {}
    for threads in (1, 2, 4):
        numba.set_num_threads(threads)
        values = {reduction(x) for _ in range(5)}
        assert len(values) == 1
        found[threads] = values.pop()
    assert found[1] == strict(x)
    assert len(set(found.values())) == 3


def test_the_race_is_right_on_one_thread_and_loses_on_two() -> None:
    x = numbers(1 << 20)
    numba.set_num_threads(1)
    assert race(x) == strict(x)
    if len(os.sched_getaffinity(0)) >= 2:
        numba.set_num_threads(2)
        with pinned(2):  # free threads may share a core for many milliseconds, and there they do not meet
            errors = [abs(race(x) - exact(x)) for _ in range(30)]
        assert max(errors) > error_bound(x)


def test_fastmath_adds_in_vectors_and_strict_does_not() -> None:
    width = {}
    for add in (strict, fastmath):
        copy = jit(**add.targetoptions)(add.py_func)
        copy(np.ones(100))
        try:
            width[add] = max(loop.vector_bits for loop in inner_loops(copy))
        except NotImplementedError as error:
            pytest.skip(str(error))
    assert width[strict] == 0
    assert width[fastmath] >= 128
