"""What the lab of cuts concludes from made-up records: both verdicts, and where it cannot tell."""

from collections.abc import Callable, Sequence

import pytest

pytest.importorskip("torch")
from parlab.records import Case, Comparison, Limit, Measurement, Record
from parlab.stats import Interval, verdict

LAB = "graph_partition"
Judged = Callable[[Sequence[Record]], list[tuple[str, bool | None]]]


def around(median: float, by: float = 0.01) -> Interval:
    return Interval(median, median * (1 - by), median * (1 + by), 24)


def measurement(case: Case, seconds: float, predicted: float, workers: int = 2, by: float = 0.01) -> Measurement:
    limit = Limit("virtual time", predicted)
    return Measurement(LAB, case, workers, "processes", around(seconds, by), [seconds], {}, True, prediction=limit)


def cuts(timed: float, by: float = 0.01) -> list[Record]:
    """Equal layers take 2 s, equal weights 1.6 s, and the cut by time what is asked; 2, 1.6 and 1 s were predicted."""
    times = {"equal layers": (2.0, 2.0), "equal weights": (1.6, 1.6), "least slowest stage": (timed, 1.0)}
    cases = {way: {"of": "stages", "way": way} for way in times}
    found: list[Record] = [measurement(cases[way], *told, by=by) for way, told in times.items()]
    ratio = around(2.0 / timed, by)
    return [*found, Comparison(LAB, cases["least slowest stage"], cases["equal layers"], 2, ratio, verdict(ratio))]


def test_the_cut_by_time_must_be_faster_and_as_fast_as_predicted(judged: Judged) -> None:
    gain, near = judged(cuts(timed=1.05))
    assert gain[0].startswith(
        "2 stages, cut by the layers' times: a step is 1.90 [1.89, 1.92] times as fast as with equal"
    )
    assert "(predicted 2.00), 1.52 [" in gain[0]
    assert gain[1]
    assert near[0].startswith("stages: the model misses 3 times by 0.0% in the median (goal: at most 10%)")
    assert near[1]
    assert [holds for _, holds in judged(cuts(timed=2.5))] == [False, False]
    assert [holds for _, holds in judged(cuts(timed=2.0, by=0.6))] == [None, None]


def test_stages_that_share_cores_are_not_judged(judged: Judged) -> None:
    case = {"of": "stages", "way": "least slowest stage"}
    assert judged([Measurement(LAB, case, 4, "processes", around(1.0), [1.0], {}, True)]) == []


def test_the_split_that_was_predicted_must_be_as_good_as_the_best(judged: Judged) -> None:
    def splits(measured: Sequence[float], predicted: Sequence[float]) -> list[Record]:
        pairs = enumerate(zip(measured, predicted, strict=True))
        return [
            measurement({"of": "a network on CPU and GPU", "way": f"{k} layers"}, *pair, workers=1) for k, pair in pairs
        ]

    best, near = judged(splits([2, 1, 3], [2, 1, 3]))
    assert best == ("1 layers on the CPU, the others on the GPU, take least: 1 s; 1 layers were predicted to", True)
    assert near[0].startswith("on CPU and GPU: the model misses 3 times by 0.0%")
    assert near[1]
    assert [holds for _, holds in judged(splits([1, 2, 3], [3, 2, 1]))] == [False, False]
