"""Runs side by side: known ratios are found with their interval, and what cannot be told is not claimed."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest
from tests import made_up

from parlab import catalogue, compare, tables
from parlab.records import PROOF, Case, Measurement, Record

RING: Case = {"op": "allreduce", "bytes": 8, "algorithm": "ring"}


def one(samples: list[float], **case: str | int) -> Measurement:
    return replace(made_up.timed("mpi_collectives", {**RING, **case}, 2, 1.0), samples=samples)


def of(lab: str, records: list[Record]) -> list[Record]:
    return [r for r in records if getattr(r, "lab", "") == lab]


def match(base: list[float], other: list[float]) -> compare.Match:
    (found,) = compare.matches([one(base)], [one(other)]).values()
    return found


def around(median: float, spread: float, n: int = 48) -> list[float]:
    return [median * (1 + spread * x) for x in np.linspace(-1, 1, n)]


@pytest.mark.parametrize(
    ("base", "other", "ratio", "says"),
    [
        (around(2.0, 0.01), around(1.0, 0.01), 2.0, "faster"),
        (around(1.0, 0.01), around(2.0, 0.01), 0.5, "slower"),
        (around(1.0, 0.01), around(1.0, 0.01), 1.0, "same"),
        (around(1.0, 0.8), around(1.1, 0.8), 1 / 1.1, "cannot tell"),
        (around(2.0, 0.01), [1.0] * 5, 2.0, "cannot tell"),  # five samples have no interval
    ],
)
def test_known_ratios_are_found(base: list[float], other: list[float], ratio: float, says: str) -> None:
    found = match(base, other)
    assert found.ratio.median == pytest.approx(ratio, rel=1e-6)
    assert found.ratio.low <= ratio <= found.ratio.high
    assert found.says == says


def test_the_interval_of_a_ratio_is_wider_than_that_of_either_run_and_turns_round() -> None:
    base, other = around(2.0, 0.2), around(1.0, 0.1)
    there, back = match(base, other).ratio, match(other, base).ratio
    still = match(base, [1.0] * 48).ratio  # the other run without scatter
    assert there.high / there.low > still.high / still.low
    assert (1 / back.high, 1 / back.low) == pytest.approx((there.low, there.high))


def test_the_interval_covers_the_true_ratio_as_often_as_it_says() -> None:
    """Two runs of skewed times whose medians have the ratio 1.5: at least 93 of 100 intervals hold it."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        base, other = 1.5 + 1.5 * rng.lognormal(0, 0.5, 24), 1 + rng.lognormal(0, 0.5, 24)
        ratio = match(base.tolist(), other.tolist()).ratio
        hits += ratio.low <= 1.5 <= ratio.high
    assert hits >= 0.93 * 400


def test_only_the_same_case_on_the_same_workers_of_the_same_kind_is_compared() -> None:
    here = one(around(1.0, 0.01))
    others: list[Record] = [replace(here, workers=4), replace(here, kind="threads"), one(here.samples, bytes=16)]
    assert compare.matches([here], others) == {}
    assert len(compare.matches([here], [*others, here])) == 1
    shuffled = replace(here, case=dict(reversed(list(here.case.items()))))
    assert len(compare.matches([here], [shuffled])) == 1  # whatever the order of the parameters


def test_proofs_and_controls_are_about_one_run() -> None:
    again = one([1.0] * 24, algorithm="library again")
    proof = replace(again, case={PROOF: "omp", "work": "alone"})
    assert compare.matches([again, proof], [again, proof]) == {}


def test_the_tables_show_times_of_the_first_and_ratios_of_the_others() -> None:
    lab = catalogue.labs()["mpi_collectives"]
    usual, faster, slower = (of(lab.id, made_up.every_kind(factor)) for factor in (1.0, 0.5, 2.0))
    (sheet,) = compare.sheets(lab, ("a", usual), [("b", faster), ("c", slower)])
    assert [column.name for column in sheet.columns] == ["ranks", "algorithm", "run", "8 B", "1 KiB", "1 MiB"]
    names = [[cell.text for cell in row[:3]] for row in sheet.rows[:3]]
    assert names == [["2", "library", "a"], ["", "", "b"], ["", "", "c"]]
    assert [row[3].says for row in sheet.rows[:3]] == [None, "faster", "slower"]
    assert [row[3].text for row in sheet.rows[:3]] == ["1.02 us", "2", "0.5"]
    counted = compare.counts(compare.matches(usual, faster))
    assert counted == {"faster": 6, "slower": 0, "same": 0, "cannot tell": 0}


def test_of_what_only_one_run_measured_there_is_no_row() -> None:
    lab = catalogue.labs()["mpi_halo"]
    records = of(lab.id, made_up.every_kind())
    fewer = [r for r in records if not isinstance(r, Measurement) or r.workers == 1]
    (sheet,) = compare.sheets(lab, ("a", records), [("b", fewer)])
    assert [column.name for column in sheet.columns] == ["variant", "run", "1 rank", "2 ranks", "4 ranks"]
    assert [cell.text for cell in sheet.rows[1]][3:] == ["", ""]
    assert list(compare.sheets(lab, ("a", records), [("b", [])])) == []
    assert list(tables.sheets(lab, [])) == []


def test_too_few_samples_leave_the_interval_open() -> None:
    assert match([1.0] * 5, [1.0] * 24).ratio.high == inf
