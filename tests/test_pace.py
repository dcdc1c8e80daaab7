"""How long a run takes: what a lab may measure, what is left, what is left out. Pure functions of a clock that the test turns."""

from itertools import pairwise

import pytest

from parlab.catalogue import labs, topics
from parlab.options import BUDGETS, minutes
from parlab.pace import LEAST, PREDICTED, Pace, Usual, in_turns, usual

LIMIT = 360.0
LABS = [usual("ranks", 3, BUDGETS["quick"])] * 4 + [usual("threads", 2, BUDGETS["quick"])] * 8 + [PREDICTED] * 7
LABS += [usual("processes", 3, BUDGETS["quick"])] * 7 + [usual("torchrun", 1, BUDGETS["quick"])]


def test_without_a_limit_every_lab_has_its_time_and_the_rest_is_what_lies_ahead() -> None:
    pace = Pace([Usual(2, 8), Usual(5, 5)], ending=3)
    assert pace.left(0) == 23
    assert pace.begin(0) == 1
    assert pace.left(4) == 19
    assert pace.end(10) == 10
    assert pace.left(10) == pytest.approx(13)


def test_what_is_left_shrinks_with_the_clock_and_grows_where_a_lab_passes_its_time() -> None:
    pace = Pace([Usual(10, 10), Usual(10, 10)])
    pace.begin(0)
    left = [pace.left(now) for now in range(60)]
    assert all(later < sooner for sooner, later in pairwise(left[:20]))  # in time: it runs down
    assert all(later > sooner for sooner, later in pairwise(left[20:]))  # beyond: all is slower here
    assert min(left) > 0


def test_a_machine_that_is_twice_as_slow_is_found_out() -> None:
    pace = Pace([Usual(10, 10)] * 11)
    now = 0.0
    for done in range(10):
        pace.begin(now)
        now += 40
        pace.end(now)
        ahead = 20.0 * (10 - done)
        assert ahead < pace.left(now) < 2 * ahead
    assert pace.left(now) == pytest.approx(40, rel=0.15)


@pytest.mark.parametrize("slowness", [0.5, 0.9, 1.0, 1.2, 1.5, 2.0, 4.0, 20.0])
def test_a_run_with_a_limit_ends_in_time_however_slow_the_machine_is(slowness: float) -> None:
    pace = Pace(list(LABS), LIMIT, ending=10)
    now, ran, shares = 0.0, 0, []
    for lab in LABS:
        assert now + pace.left(now) <= 1.05 * LIMIT
        if not pace.fits(now):
            pace.skip()
            continue
        shares.append(pace.begin(now))
        now += slowness * lab.at(shares[-1])
        pace.end(now)
        ran += 1
    assert now + 10 <= 1.05 * LIMIT  # the first lab that is slower than thought has begun before that is known
    assert ran == len(LABS) or slowness > 1.2  # labs are left out only where shorter contrasts do not suffice
    assert all(LEAST <= share <= 1 for share in shares)
    assert shares[-1] == 1 or slowness > 0.5


def test_with_little_time_the_topics_take_turns() -> None:
    order = in_turns(labs().values())
    assert sorted(lab.id for lab in order) == sorted(labs())
    assert {lab.topic for lab in order[: len(topics())]} == set(topics())
    for topic in topics():
        assert [lab.id for lab in order if lab.topic == topic] == [
            lab.id for lab in labs().values() if lab.topic == topic
        ]


def test_a_budget_within_minutes_measures_its_share_and_never_more() -> None:
    quick = BUDGETS["quick"]
    assert quick.within(None) == quick
    assert quick.within(10) == quick
    most, least = (quick.within(share * quick.lab_seconds / 60) for share in (0.8, 0.2))
    assert most.case_seconds == pytest.approx(0.8 * quick.case_seconds)
    assert least.case_seconds == pytest.approx(0.2 * quick.case_seconds)
    assert (most.name, most.every, least.every) == ("quick", quick.every, 2 * quick.every)


def test_a_longer_budget_is_planned_for_longer() -> None:
    smoke, quick, full = (usual("threads", 2, BUDGETS[name]) for name in ("smoke", "quick", "full"))
    assert smoke.measuring < quick.measuring / 10
    assert full.measuring > quick.measuring * 10
    assert usual("threads", 6, BUDGETS["quick"]).at(1) == pytest.approx(3 * quick.at(1))  # more numbers of workers, too
    assert usual("threads", 1, BUDGETS["quick"]) == quick


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon"])
def test_minutes_must_be_some(text: str) -> None:
    with pytest.raises(Exception, match="is not a number of minutes above 0"):
        minutes(text)
