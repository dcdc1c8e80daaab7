"""Findings along a number are recorded by worker 0 alone, read back, and drawn: points with intervals, a band, or a model's line."""

from collections.abc import Sequence
from math import inf
from pathlib import Path

import pytest

from parlab import catalogue, plots, results
from parlab.bench import Bench
from parlab.options import BUDGETS
from parlab.records import Curve
from parlab.stats import Interval, point

LAB = "mpi_halo"
MEASURED = [(2**k, 100 / 2**k, 90 / 2**k, 120 / 2**k) for k in range(5)]
MANY = [(k, 1 + 1 / k, 1 + 1 / k, 1 + 2 / k) for k in range(1, 200)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(LAB, None, 1, [1], BUDGETS["smoke"], 0, tmp_path)
    made.writer.begin({"machine": {"cpu": "x", "cores": 1, "python": "3"}})
    return made


@pytest.mark.parametrize("logarithmic", [True, False])
def test_curves_are_read_back_and_drawn(bench: Bench, tmp_path: Path, logarithmic: bool) -> None:
    lines: dict[str, Sequence[Sequence[float]]]
    lines = {"measured": MEASURED, "many": MANY, "model": [(1, 100), (16, 6)], "nothing": []}
    bench.curve("steps to the goal", "batch", "steps", lines, logx=logarithmic, logy=logarithmic)
    run = results.read(tmp_path)
    (kept,) = [r for r in run.of(LAB) if isinstance(r, Curve)]
    assert list(kept.lines) == ["measured", "many", "model"]  # one without points is left out
    assert kept.lines["measured"][1] == (2.0, 50.0, 45.0, 60.0)
    assert kept.measured("measured")[2] == Interval(50.0, 45.0, 60.0, 0)
    assert kept.measured("nothing") == {}
    (picture,) = plots.draw(catalogue.labs()[LAB], run, tmp_path)
    assert picture.name == f"{LAB}-curves.svg"
    assert all(f">{told}<" in picture.read_text() for told in ("measured", "many", "model", "batch", "steps"))


def test_a_point_ends_where_nothing_more_can_be_told() -> None:
    assert point(3, range(1, 8), 0, 100) == (3, 4, 1, 7)
    assert point(3, [5, inf, inf], 0, 100) == (3, 100, 0, 100)  # too few to have an interval, and most of them endless


def test_only_the_first_worker_writes_and_an_empty_picture_is_none(bench: Bench, tmp_path: Path) -> None:
    bench.curve("", "x", "y", {"a": []})
    bench.first = False
    bench.curve("", "x", "y", {"a": MEASURED})
    assert results.read(tmp_path).records == []
