"""Predictions are held against intervals: near enough, too far, or not to be told."""

from dataclasses import replace
from math import inf

import pytest

from parlab.predictions import best_along, how_best, how_near, over
from parlab.records import Limit, Measurement
from parlab.stats import Interval


def at(n: int, time: float, guess: float | None, width: float = 0.01) -> Measurement:
    interval = Interval(time, time * (1 - width), time * (1 + width), 24)
    told = None if guess is None else Limit("model", guess)
    return Measurement("lab", {"way": "w", "chunks": n}, 1, "GPUs", interval, [], {}, True, prediction=told)


def test_a_ratio_takes_both_intervals_at_their_worst() -> None:
    assert over(Interval(4, 3, 6, 24), Interval(2, 1, 3, 12)) == Interval(2, 1, 6, 12)
    assert over(Interval(4, -inf, inf, 3), Interval(2, 1, 3, 12)) == Interval(2, -inf, inf, 3)


def test_a_model_is_near_in_the_median_and_at_most() -> None:
    words, holds = how_near([at(1, 1.0, 1.01), at(2, 1.0, 0.98), at(4, 1.0, 1.09)], 0.05, 0.10, ["chunks"]) or (
        "",
        None,
    )
    assert holds is True
    assert "misses 3 times by 2.0% in the median (goal: at most 5%) and by 9.0% at most (goal: 10%): chunks 4" in words


@pytest.mark.parametrize(
    ("guesses", "width", "holds"),
    [
        ([1.0, 1.0, 1.2], 0.01, False),  # one is too far
        ([1.08, 1.08, 1.0], 0.01, False),  # the median is
        ([1.0, 1.0, 1.12], 0.05, None),  # within what was measured it may be near
        ([1.0, 1.0, 1.0], 0.05, True),
        ([0.7, 1.0, 1.0], inf, None),  # too few samples for an interval
    ],
)
def test_a_miss_counts_where_no_time_of_the_interval_is_near(
    guesses: list[float], width: float, holds: bool | None
) -> None:
    found = how_near([at(n, 1.0, guess, width) for n, guess in enumerate(guesses)], 0.05, 0.10, ["chunks"])
    assert found is not None
    assert found[1] is holds


def test_without_predictions_there_is_nothing_to_say() -> None:
    assert how_near([at(1, 1.0, None)], 0.05, 0.1, []) is None
    assert best_along([at(1, 1.0, None), at(2, 1.0, 1.0)], "chunks") is None


def test_the_best_value_as_predicted_and_as_measured() -> None:
    found = best_along([at(4, 3.0, 3.0), at(8, 2.0, 2.1), at(16, 2.5, 2.0), at(32, 4.0, 4.0)], "chunks")
    assert found is not None
    assert (found.predicted, found.measured, found.factor) == (16, 8, 2)
    assert found.cost.median == pytest.approx(1.25)
    assert found.reaches(2, 1.3) is True
    assert found.reaches(2, 1.03) is False
    assert found.reaches(1.5, 1.3) is False


def test_the_factor_between_two_places_is_above_one_on_either_side() -> None:
    found = best_along([at(4, 3.0, 2.0), at(16, 2.0, 3.0)], "chunks")
    assert found is not None
    assert (found.predicted, found.measured, found.factor) == (4, 16, 4)


def test_values_that_cannot_be_told_from_the_best_are_as_good() -> None:
    found = best_along([at(4, 2.0, 3.0), at(64, 2.01, 2.0), at(256, 2.02, 1.9)], "chunks")
    assert found is not None
    assert (found.predicted, found.measured, found.factor) == (256, 4, 1)
    assert found.reaches(2, 1.0) is None
    assert found.reaches(2, 1.1) is True
    same = best_along([at(4, 2.0, 2.0, 0.2), at(8, 3.0, 3.0, 0.2)], "chunks")
    assert same is not None
    assert same.cost == Interval(1.0, 1.0, 1.0, 24)


def test_the_best_values_of_several_curves_in_a_sentence() -> None:
    near = [at(4, 3.0, 3.0), at(8, 2.0, 2.0), at(16, 2.5, 2.5)]
    far = [replace(m, case={**m.case, "way": "v"}) for m in (at(4, 2.0, 3.0), at(32, 3.0, 2.0))]
    words = "best numbers of chunks: w 8 (predicted 8)"
    goals = "(goals: factor 2, 3 %)"
    assert how_best(near, "chunks", "way", 2.0, 1.03) == (
        f"{words}; following the prediction costs 0.0% at most {goals}",
        True,
    )
    assert how_best([*near, *far], "chunks", "way", 2.0, 1.03) == (
        f"{words}; v 4 (predicted 32); following the prediction costs 50.0% at most {goals}",
        False,
    )
    assert how_best([at(1, 1.0, None)], "chunks", "way", 2.0, 1.03)[1] is None
