"""Which conclusions a run is told by: they hold, name a clear ratio, and are the strongest of their topics."""

from pathlib import Path

import pytest

from parlab import results, units
from parlab.catalogue import RECORDED
from parlab.records import Conclusion, Measurement, Record, Run
from parlab.stats import Interval
from parlab.telling import most_telling, strength

LABS = {"mpi": ["mpi_halo", "mpi_farm"], "threads": ["false_sharing", "shared_updates"], "ddp": ["data_parallel"]}


def said(lab: str, ratio: float, holds: bool | None = True) -> Conclusion:
    return Conclusion(
        lab, f"2 ranks: this is {units.span(Interval(ratio, 0.9 * ratio, 1.1 * ratio, 9))} times as fast", holds
    )


def ran(*conclusions: Conclusion) -> Run:
    """A run in which every lab measured something."""
    some = Interval(1.0, 0.9, 1.1, 9)
    measured: list[Record] = [
        Measurement(lab, {"case": "a"}, 2, "ranks", some, [1.0], {}, True) for labs in LABS.values() for lab in labs
    ]
    return Run({}, [*measured, *conclusions])


def told(run: Run) -> list[tuple[str, float]]:
    return [(c.lab, strength(c)) for c in most_telling(run)]


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("5.31 [4.90, 5.62] times as fast", 4.9),
        ("0.20 [0.18, 0.25] times as fast", 4.0),
        ("a 2.00 [1.90, 2.10] times, b 7.00 [6.00, 8.00] times as fast", 6.0),
        ("a takes 50 ms, 1.04 [0.99, 1.06] times as long (goal: control)", 0.0),  # the same
        ("9.00 [0.80, 19.00] times as fast", 0.0),  # not clear
        ("9.00 [?] times as fast", 0.0),
        ("0.00 [-0.10, 0.00] times as fast", 0.0),
        ("a share of 0.35 [0.30, 0.40] is hidden", 0.0),  # no ratio
        ("12 to 30 times as fast", 0.0),  # without an interval
    ],
)
def test_a_sentence_is_as_strong_as_what_is_certain_of_its_strongest_ratio(sentence: str, expected: float) -> None:
    assert strength(Conclusion("mpi_halo", sentence, True)) == pytest.approx(expected)


def test_ratios_are_read_as_they_are_written() -> None:
    for digits in (1, 2, 3):
        words = units.span(Interval(12.3456, 10.1, 15.2, 9), digits)
        assert strength(Conclusion("mpi_halo", f"{words} times as fast", True)) == pytest.approx(10.1)


def test_each_topic_is_told_once_by_its_strongest_and_the_strongest_first() -> None:
    run = ran(
        said("mpi_halo", 2),
        said("mpi_farm", 3),
        said("false_sharing", 90),
        said("shared_updates", 80),
        said("data_parallel", 5),
    )
    assert [lab for lab, _ in told(run)] == ["false_sharing", "data_parallel", "mpi_farm"]


def test_where_topics_are_few_further_labs_follow_but_no_lab_twice() -> None:
    run = ran(said("mpi_halo", 4), said("mpi_halo", 9), said("mpi_farm", 2), said("false_sharing", 6))
    assert [lab for lab, _ in told(run)] == ["mpi_halo", "false_sharing", "mpi_farm"]
    assert [strong for _, strong in told(run)] == pytest.approx([8.1, 5.4, 1.8])


def test_what_does_not_hold_or_cannot_be_told_or_is_of_no_lab_here_is_not_told() -> None:
    run = ran(
        said("mpi_halo", 9, False),
        said("mpi_farm", 9, None),
        said("gone", 9),
        said("stream_sync", 9),
        said("data_parallel", 2),
    )
    assert [lab for lab, _ in told(run)] == [
        "data_parallel"
    ]  # stream_sync measured nothing: its words are about another machine
    assert told(ran()) == []


@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in RECORDED.glob("*/results.jsonl")), ids=lambda path: path.name
)
def test_recorded_runs_tell_up_to_three_different_things(folder: Path) -> None:
    found = most_telling(results.read(folder))
    assert len({c.lab for c in found}) == len(found) <= 3
    assert [strength(c) for c in found] == sorted(map(strength, found), reverse=True)
