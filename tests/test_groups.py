"""Records fall into groups by what they share, and a group's shape follows from what it holds."""

import io

import pytest
from rich.console import Console

from parlab.catalogue import Lab
from parlab.groups import groups, verdicts
from parlab.judge import at_once, on_free_cores
from parlab.records import PROOF, Case, Comparison, Measurement, Record, Row
from parlab.sheet import Sheet
from parlab.stats import Interval
from parlab.table import printed
from parlab.tables import SHAPES, findings

LAB = Lab("x", "openmp_like", "?", "?", "way", along=["bytes"])


def timed(workers: int, seconds: float, **case: str | int) -> Measurement:
    how = {"oversubscribed": False, "disturbed": 0, "dropped": 0}
    return Measurement(
        "x", case, workers, "threads", Interval(seconds, seconds, seconds, 24), [seconds] * 24, {}, True, how=how
    )


def compared(workers: int, ratio: float, faster: Case, than: Case) -> Comparison:
    return Comparison(
        "x", faster, than, workers, Interval(ratio, ratio, ratio, 24), "slower" if ratio < 1 else "faster"
    )


RECORDS: list[Record] = [
    timed(2, 1.0, **{PROOF: "omp", "work": "together"}),
    timed(2, 1.0, kernel="a", way="serial"),
    timed(2, 0.5, kernel="a", way="prange"),
    timed(2, 1.0, kernel="b", way="one", bytes=8),
    timed(2, 2.0, kernel="b", way="one", bytes=16),
    timed(1, 2.0, kernel="c", way="one"),
    timed(2, 3.0, kernel="c", way="one"),
    timed(2, 1.5, kernel="c", way="two"),
    timed(2, 1.5, kernel="c", way="two again"),
    compared(2, 0.5, {"kernel": "c", "way": "one"}, {"kernel": "c", "way": "two"}),
]


def test_groups_share_all_but_the_columns_and_the_sweep_and_leave_proofs_and_controls_out() -> None:
    found = groups(LAB, RECORDS)
    assert [(g.title, g.shape, len(g.measured)) for g in found] == [
        ("kernel a", "scaling", 2),
        ("kernel b", "sweep", 2),
        ("kernel c", "bars", 3),
    ]
    assert found[1].tick(16) == "16 B"


def text(group_title: str) -> str:
    group = next(g for g in groups(LAB, RECORDS) if g.title == group_title)
    return text_of(SHAPES[group.shape](group, verdicts(RECORDS)))


def text_of(sheet: Sheet) -> str:
    out = io.StringIO()
    Console(file=out, width=140).print(printed(sheet))
    return out.getvalue()


def test_the_tables_show_what_was_measured() -> None:
    assert "2.00 [2.00, 2.00]" in text("kernel a")  # the speed-up against the serial program
    assert "16 B" in text("kernel b")
    line = next(line for line in text("kernel c").splitlines() if line.startswith("one"))
    assert "3 s" in line
    assert line.split()[-1] == "2"  # twice as long as the reference
    assert "of bound" not in text("kernel c")  # a column in which nothing is said is not there


def test_findings_with_the_same_columns_share_a_table_and_doubles_show_once() -> None:
    rows = [
        Row("x", {"clause": "if", "says": "[ok]"}),
        Row("x", {"clause": "if", "says": "[ok]"}),
        Row("x", {"layer": "omp"}),
    ]
    first, second = map(text_of, findings(rows))
    assert first.count("[ok]") == 1
    assert "layer" in second


ALONE, TOGETHER = {PROOF: "omp", "work": "alone"}, {PROOF: "omp", "work": "together"}


def proof(low: float, high: float, disturbed: int = 0, dropped: int = 0) -> list[Record]:
    ratio = Interval((low + high) / 2, low, high, 24)
    timed_together = timed(2, 1.0, **TOGETHER)
    timed_together.how.update(disturbed=disturbed, dropped=dropped)
    return [timed_together, Comparison("x", TOGETHER, ALONE, 2, ratio, "cannot tell")]


def test_a_missed_goal_needs_a_core_for_each_thread_before_and_after() -> None:
    assert on_free_cores([*proof(0.95, 1.0), *proof(0.92, 1.0)], 2, False) is False
    assert on_free_cores([*proof(0.95, 1.0), *proof(0.5, 0.55)], 2, False) is None
    assert on_free_cores(proof(0.5, 1.0), 2, False) is None  # by its whole interval
    assert on_free_cores([], 2, False) is None
    assert on_free_cores([], 1, False) is False


def test_a_goal_that_was_reached_speaks_for_itself_if_the_threads_ran_at_once() -> None:
    assert on_free_cores(proof(0.5, 0.55), 2, True) is True
    assert on_free_cores(proof(0.5, 0.55, disturbed=20), 2, True) is None
    assert on_free_cores([], 2, True) is None


@pytest.mark.parametrize(("disturbed", "dropped", "holds"), [(0, 0, True), (5, 5, True), (20, 0, None)])
def test_threads_that_took_turns_allow_no_claim(disturbed: int, dropped: int, holds: bool | None) -> None:
    assert at_once(proof(0.9, 1.0, disturbed, dropped), 2, True) is holds
    assert at_once([], 2, True) is None
    assert at_once([], 1, False) is False  # one thread has nobody to share with
