"""What the lab of killed workers concludes from made-up records: both verdicts, and where it cannot tell."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from unittest.mock import ANY

import pytest

pytest.importorskip("torch")
from parlab.records import Comparison, Measurement, Record, Row
from parlab.stats import Interval, Verdict, verdict

LAB = "survive_a_kill"
Judged = Callable[[Sequence[Record]], list[tuple[str, bool | None]]]


def around(median: float, by: float = 0.02) -> Interval:
    return Interval(median, median * (1 - by), median * (1 + by), 24)


def recovery(lost: int, differ: int = 0) -> Measurement:
    facts = {"steps lost": lost, "saved every": 5.0, "numbers that differ": float(differ)}
    case = {"after": "a SIGKILL", "way": "torchrun"}
    return Measurement(
        LAB, case, 2, "processes", Interval(4.5, float("-inf"), float("inf"), 1), [4.5], {}, True, facts=facts
    )


def saving(beside: float, theirs: float, by: float = 0.02) -> list[Record]:
    """A save of 1 s and a step of 2 s; both at once take `beside`, torch's save takes `theirs`."""
    times = {"save": 1.0, "step": 2.0, "step beside a save": beside, "DCP of torch": theirs}
    cases = {way: {"checkpoint": "20 MiB", "way": way} for way in times}
    found: list[Record] = [
        Measurement(LAB, cases[way], 2, "processes", around(time, by), [time], {}, True) for way, time in times.items()
    ]
    ratio = around(1 / theirs, by)
    says: Verdict = verdict(ratio)
    return [*found, Comparison(LAB, cases["DCP of torch"], cases["save"], 2, ratio, says)]


def killed(way: str, cut: int, lost: int) -> Row:
    return Row(LAB, {"killed while saving": way, "kills": "9", "in a write": str(cut), "lost a saved state": str(lost)})


def test_no_more_steps_may_be_lost_than_lie_between_two_saves(judged: Judged) -> None:
    ((told, holds),) = judged([recovery(3)])
    assert told.startswith("torchrun: 4.5 s from the kill to the next step; 3 steps lost, saved every 5")
    assert holds
    assert told.endswith("0 numbers in the end differ from the undisturbed run's")
    assert judged([recovery(6), recovery(3, differ=1)]) == [(ANY, False), (ANY, False)]


def test_who_goes_on_without_the_dead_loses_no_step_and_ends_with_the_same_loss(judged: Judged) -> None:
    for lost, off, holds in ((0, 1e-7, True), (1, 1e-7, False), (0, 1e-2, False)):
        facts = {"steps lost": lost, "loss off by": off}
        assert judged([replace(recovery(0), facts=facts)]) == [(ANY, holds)]


def test_a_save_is_held_against_torchs_and_against_the_step_that_hides_it(judged: Judged) -> None:
    (ours, hidden) = judged(saving(beside=2.4, theirs=1.5))
    assert "a save of 20 MiB takes 1 s ±2%, 0.50 [0.48, 0.52] steps; torch's own takes 1.50" in ours[0]
    assert ours[1]
    assert hidden[0].startswith("in the background 0.60 [")
    assert hidden[1]
    assert [holds for _, holds in judged(saving(beside=3.6, theirs=0.5))] == [False, False]
    assert [holds for _, holds in judged(saving(beside=3.0, theirs=1.05, by=0.2))] == [None, None]


def test_kills_during_a_save_must_lose_nothing_and_must_have_hit_one(judged: Judged) -> None:
    rows = [killed("atomically", 5, 0), killed("atomically", 5, 1), killed("atomically", 0, 0)]
    assert [holds for _, holds in judged(rows)] == [True, False, None]
    assert [holds for _, holds in judged([killed("in place", 5, 5), killed("in place", 5, 0)])] == [True, None]


def test_the_best_interval_is_told_for_the_largest_job(judged: Judged) -> None:
    row = {"GPUs": "16,384", "a failure every": "3.1 h", "(Daly)": "40 s", "time lost": "0.5%"}
    ((told, holds),) = judged([Row(LAB, {**row, "lost if saved every 5 steps": "11%"})])
    assert told == "16,384 GPUs, a failure every 3.1 h: to save every 40 s loses 0.5% of the time, every 5 steps 11%"
    assert holds
    assert judged([Row(LAB, {**row, "lost if saved every 5 steps": "0.4%"})])[0][1] is False
