"""No worker is further ahead of the slowest than the bound allows, nobody waits without need, and the laws follow from the rule."""

from collections import Counter
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlab.ddp.pace import Pace, duration, mean_stale, most_stale, rates, rounds

BOUNDS = st.sampled_from([0, 1, 2, 5, inf])


@given(st.integers(1, 6), BOUNDS, st.data())
def test_the_bound_holds_and_nobody_waits_without_need(workers: int, bound: float, data: st.DataObject) -> None:
    pace = Pace(workers, bound)
    begun = Counter(range(workers))  # gradients begun by each worker
    for _ in range(30):
        for w in pace.sent_by(data.draw(st.sampled_from(sorted(pace.computing)))):
            begun[w] += 1
        assert pace.computing  # no deadlock
        for w in range(workers):
            ahead = pace.sent[w] - min(pace.sent)
            assert ahead <= bound + 1
            assert (w in pace.computing) == (ahead <= bound)
            assert begun[w] == pace.sent[w] + (w in pace.computing)


@given(st.integers(2, 5), BOUNDS, st.data())
def test_staleness_stays_below_its_law(workers: int, bound: float, data: st.DataObject) -> None:
    pace, version, read = Pace(workers, bound), 0, [0] * workers
    for _ in range(60):
        worker = data.draw(st.sampled_from(sorted(pace.computing)))
        assert version - read[worker] <= most_stale(workers, bound)
        free = pace.sent_by(worker)
        version += bound > 0 or pace.level
        for w in free:
            read[w] = version


@given(st.integers(2, 5), st.data())
def test_the_mean_staleness_is_its_law_with_what_those_still_at_work_have_missed(
    workers: int, data: st.DataObject
) -> None:
    pace, read, missed = Pace(workers, inf), [0] * workers, 0
    for version in range(60):
        worker = data.draw(st.integers(0, workers - 1))
        missed += version - read[worker]
        assert pace.sent_by(worker) == [worker]
        read[worker] = version + 1
    assert missed + sum(60 - version for version in read) == 60 * mean_stale(workers)


def test_the_law_of_staleness_is_reached() -> None:
    """One worker of two reads when it is a gradient ahead, then computes while the other sends 2 * bound + 1."""
    pace, read = Pace(2, 1), [0, 0]
    for version, worker in enumerate((0, 1, 1, 1, 0)):
        stale = version - read[worker]
        for w in pace.sent_by(worker):
            read[w] = version + 1
    assert stale == most_stale(2, 1) == 3


def test_the_laws_of_time_are_what_the_rule_leads_to() -> None:
    seconds = [1.0, 1.0, 4.0]
    assert duration(lambda w, _: seconds[w], 3, 0, 12) == 12 * rounds(seconds) == 16
    assert duration(lambda w, _: seconds[w], 3, inf, 9) == 9 * rates(seconds) == 4
    # A worker that is always slow holds the others up in the end, whatever the bound ...
    long = [duration(lambda w, _: seconds[w], 3, 2, n) for n in (300, 600)]
    assert long[1] - long[0] == pytest.approx(300 * rounds(seconds), rel=0.02)
    # ... one that is slow now and then does not.
    in_turn = [duration(lambda w, k: 4.0 if k % 3 == w else 1.0, 3, bound, 90) for bound in (0, 3, inf)]
    assert in_turn[0] == 90 * 4 / 3
    assert in_turn[1] == in_turn[2] == 90 * 2 / 3
