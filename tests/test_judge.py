"""Words of conclusions on curves and times that are known."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlab.judge import crossing, every, hidden_share, within
from parlab.stats import Interval

SIZES = [2.0**k for k in range(3, 24, 4)]


@given(st.floats(10.0, 5e5))
def test_the_crossing_of_two_power_laws_is_found(at: float) -> None:
    found = crossing(SIZES, [n / at for n in SIZES], [(n / at) ** 0.5 for n in SIZES])
    assert found == pytest.approx(at, rel=1e-6)


def test_curves_that_keep_their_order_do_not_cross() -> None:
    assert crossing(SIZES, SIZES, [2 * n for n in SIZES]) is None
    assert (
        crossing(SIZES, [2 * n for n in SIZES], SIZES) is None
    )  # it is the smaller from the start: nothing is overtaken
    assert crossing([], [], []) is None


def exact(seconds: float) -> Interval:
    return Interval(seconds, seconds, seconds, 24)


def test_all_of_a_communication_is_hidden_or_none() -> None:
    assert hidden_share(exact(2.0), exact(3.0), exact(3.0)) == exact(1.0)
    assert hidden_share(exact(2.0), exact(3.0), exact(5.0)) == exact(0.0)
    assert hidden_share(exact(2.0), exact(3.0), exact(6.0)).median == -0.5  # the two hinder each other


def test_the_interval_holds_every_combination_of_the_three() -> None:
    told = hidden_share(Interval(2.0, 1.9, 2.1, 24), Interval(3.0, 2.9, 3.1, 24), Interval(4.0, 3.9, 4.1, 24))
    assert told.low <= (1.9 + 2.9 - 4.1) / 2.1
    assert told.high >= (2.1 + 3.1 - 3.9) / 1.9
    assert told.low < told.median < told.high


@pytest.mark.parametrize(
    ("value", "bounds", "holds"),
    [
        (Interval(1.0, 0.9, 1.1, 24), {"low": 0.9}, True),
        (Interval(1.0, 0.9, 1.1, 24), {"low": 1.05}, None),
        (Interval(1.0, 0.9, 1.1, 24), {"low": 1.2}, False),
        (Interval(1.0, 0.9, 1.1, 24), {"high": 1.1}, True),
        (Interval(1.0, 0.9, 1.1, 24), {"high": 0.8}, False),
        (Interval(1.0, 0.9, 1.1, 24), {"low": 0.95, "high": 1.2}, None),
        (Interval(1.0, -inf, inf, 3), {"low": 0.1}, None),
        (Interval(1.0, -inf, inf, 3), {"high": 9.0}, None),
    ],
)
def test_a_goal_is_judged_by_the_whole_interval(value: Interval, bounds: dict[str, float], holds: bool | None) -> None:
    assert within(value, **bounds) is holds


@pytest.mark.parametrize(
    ("verdicts", "holds"),
    [([True, True], True), ([True, None], None), ([None, False], False), ([True, False], False), ([], None)],
)
def test_all_hold_where_none_fails_and_all_can_be_told(verdicts: list[bool | None], holds: bool | None) -> None:
    assert every(verdicts) is holds
