"""The best checkpoint interval, against the exact expectation and against failures that are drawn at random."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from parlab.ddp.checkpoint_interval import daly, lost, young


@given(st.floats(1e-3, 10), st.floats(0, 1000), st.floats(20, 1e6))
def test_daly_is_the_best_of_all_intervals(save: float, restart: float, between: float) -> None:
    best = minimize_scalar(lambda t: lost(t, save, restart, between), bounds=(1e-3 * between / 100, 20 * between))
    found = lost(daly(save, between), save, restart, between)
    assert 1 + found <= (1 + float(best.fun)) * 1.001


@given(st.floats(1e-3, 1), st.floats(1e4, 1e6))
def test_young_is_daly_where_saves_are_short(save: float, between: float) -> None:
    assert young(save, between) == pytest.approx(daly(save, between), rel=0.02)


def test_where_failures_come_faster_than_saves_the_interval_is_the_time_between_them() -> None:
    assert daly(10, 4) == 4


def test_the_expectation_is_that_of_random_failures() -> None:
    save, restart, between, interval = 1.0, 3.0, 20.0, 6.0
    draw = random.Random(1)
    spent, pieces = 0.0, 20_000
    for _ in range(pieces):
        needed = interval + save  # all of it without a failure, or again after a restart that may fail too
        while (life := draw.expovariate(1 / between)) < needed:
            spent += life
            while (life := draw.expovariate(1 / between)) < restart:
                spent += life
            spent += restart
        spent += needed
    assert spent / (pieces * interval) - 1 == pytest.approx(lost(interval, save, restart, between), rel=0.03)
