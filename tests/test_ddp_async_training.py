"""The lab's workers are as slow as they say, its ways send what their laws say, and it judges by its records alone."""

from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("torch")
import torch

from parlab.bench import AGAIN
from parlab.ddp import corpus, exam, less, wire
from parlab.ddp.pace import law
from parlab.ddp.slow_workers import EQUAL, ONE, SPEEDS, TURN, SlowWorkers, network
from parlab.ddp.training import copies, differs
from parlab.records import Comparison, Curve, Limit, Measurement, Record
from parlab.stats import Interval, verdict

if TYPE_CHECKING:
    from parlab.workers import Workers

LAB = "async_training"
BOUNDS = {"synchronous": 0.0, "bounded by 2": 2.0, "asynchronous": inf}

Judged = Callable[[Sequence[Record]], list[tuple[str, bool | None]]]


def test_speeds_and_their_laws() -> None:
    def by_law(speeds: str, bound: float) -> float:
        return law(bound, lambda worker, k: SPEEDS[speeds](worker, k, 3), 3, 900)[1]

    assert [by_law(EQUAL, bound) for bound in BOUNDS.values()] == pytest.approx([1 / 3] * 3)
    assert [by_law(ONE, bound) for bound in BOUNDS.values()] == pytest.approx([4 / 3, 4 / 3, 4 / 9], rel=0.02)
    assert [by_law(TURN, bound) for bound in BOUNDS.values()] == pytest.approx([4 / 3, 2 / 3, 2 / 3], rel=0.02)


@pytest.mark.workers(3)
def test_slow_workers_are_replayed_and_timed(team: "Workers") -> None:
    ticks = iter(range(10_000))
    served = SlowWorkers(team.group, inf, SPEEDS[ONE], 1e-3, 10, clock=lambda: float(next(ticks)))
    for _ in range(2):  # each run begins anew
        lasted = served.run()
        found = served.server.weights()
        if team.rank == 0:
            assert lasted == served.server.arrivals[-1].at - served.begin == 10
            *_, model = served.replayed(served.server.arrivals)
            assert differs(found, copies(model.named_parameters()), tolerance=0) is None
            *_, other = served.replayed(served.server.arrivals, seed=1)
            assert differs(found, copies(other.named_parameters())) is not None
        else:
            assert lasted == 0
    assert [served.seconds(0.5, worker, 0) for worker in (0, 1)] == [0.5, 0.503]


@pytest.mark.workers(2)
def test_every_way_sends_what_its_law_says(team: "Workers") -> None:
    shares = {}
    for way, make in less.ways(team.group).items():
        trainer = make(network())
        with wire.Calls() as calls:
            for step in range(less.MEET):
                trainer.step(*corpus.images(step, 16))
        shares[way] = less.law(trainer)
        assert calls.total == pytest.approx(less.MEET * shares[way], rel=1e-12)
    assert shares["local SGD, H 1"] == shares[less.PARALLEL] == 2 * shares["16 bits"] == 16 * shares["DiLoCo, H 16"]


def test_a_network_that_knows_nothing_guesses() -> None:
    model = network()
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    assert exam.loss(model) == pytest.approx(2.3026, abs=1e-3)
    assert exam.accuracy(model) < 0.2


def spread(x: float, width: float = 0.05) -> Interval:
    return Interval(x, (1 - width) * x, (1 + width) * x, 24)


def timed(p: int, case: dict[str, str | int | float], seconds: float, predicted: float, **facts: float) -> Measurement:
    how = {"oversubscribed": False, "disturbed": 0, "dropped": 0}
    told = Limit("some law", predicted)
    times = [seconds] * 24
    return Measurement(LAB, case, p, "processes", spread(seconds), times, {}, True, None, told, how, dict(facts))


def against(p: int, case: dict[str, str | int | float], way: str, ratio: float, width: float) -> Comparison:
    return Comparison(LAB, case, {**case, "way": way}, p, spread(ratio, width), verdict(spread(ratio, width)))


def line(points: dict[float, float], width: float = 0.05) -> list[tuple[float, ...]]:
    return [(x, y, (1 - width) * y, (1 + width) * y) for x, y in points.items()]


def served(gain: float, width: float) -> Iterator[Record]:
    for speeds in SPEEDS:
        for way, seconds in zip(BOUNDS, (9e-3, 6e-3, 9e-3 / gain), strict=True):
            case: dict[str, str | int | float] = {"workers": speeds, "way": way}
            yield timed(4, case, seconds, seconds if way != "asynchronous" else 3e-3)
            yield against(4, case, "synchronous", 9e-3 / seconds, width)
        yield against(4, {"workers": speeds, "way": "synchronous" + AGAIN}, "synchronous", 1.0, width)


def records(
    gain: float = 3, width: float = 0.05, most: int = 10, worse: float = 1.0, h: float = 4, off: float = 0.001
) -> list[Record]:
    stale = {
        "synchronous": line({0: 1}),
        "bounded by 2": line({1: 0.9, most: 0.1}),
        "asynchronous": line({1: 0.2, 2: 0.8}),
    }
    beside = {"asynchronous": line({100: 1.0, 200: worse}, width)}
    by_time = {"synchronous": line({1: 0.9, 2: 0.5, 3: 0.3}), "asynchronous": line({0.5: 0.9, 2.2: 0.3})}
    limits: dict[str, list[tuple[float, ...]]] = {
        "measured": line({0: 2 + off * 2, 1: 1}, 0),
        "theory": [(0, 2), (1, 1)],
    }
    found = [*served(gain, width)]
    for speeds in (EQUAL, ONE):
        found += [
            Curve(LAB, f"staleness, {speeds}", "", "", stale, False, False),
            Curve(LAB, f"loss beside synchronous, {speeds}", "", "", beside, False, True),
            Curve(LAB, f"loss by time, {speeds}", "", "", by_time, False, True),
        ]
    for way, sent in {"data parallel": 1600.0, "local SGD, H 4": 1600 / h}.items():
        case: dict[str, str | int | float] = {"batch": 64, "way": way}
        found += [timed(2, case, 1e-3, 1e-3, **{"bytes a step": sent}), against(2, case, "data parallel", 1.5, width)]
    found.append(Curve(LAB, "limit of delayed gradients", "", "", limits, False, True))
    return [
        *found,
        Curve(LAB, "loss beside data parallel", "", "", {"top 1 %": line({16: 3, 32: worse}, width)}, False, True),
    ]


def test_the_lab_concludes_that_its_claims_hold(judged: Judged) -> None:
    said = judged(records())
    assert [holds for _, holds in said] == [True] * 10
    assert "synchronous 111 (some law: 111)" in said[0][0]
    assert "asynchronous is 3.00 [2.85, 3.15] times as fast, by the laws 3.00" in said[0][0]
    assert "bounded by 2 1.90 and 10, asynchronous 1.80 and 2; laws: asynchronous 2 on average" in said[3][0]
    assert "after 2.2 s it is 0.30 [0.28, 0.32], the synchronous one 0.50 [0.47, 0.53]" in said[4][0]
    assert "theory is missed by 0.10% at most" in said[7][0]
    assert "local SGD, H 4 0.25 (1.50)" in said[8][0]
    assert "after 32 steps over data parallel's: top 1 % 1.00" in said[9][0]


def test_the_lab_concludes_that_they_do_not_or_that_it_cannot_tell(judged: Judged) -> None:
    def verdicts(*chosen: int, **changed: float) -> list[bool | None]:
        said = [holds for _, holds in judged(records(**changed))]  # type: ignore[arg-type]
        assert said.count(True) == 10 - len(chosen)
        return [said[i] for i in chosen]

    assert verdicts(0, 1, 2, gain=2) == [False] * 3
    assert verdicts(0, 1, 2, 4, 6, 9, width=0.5) == [None] * 6
    assert verdicts(3, 5, most=11) == [False] * 2
    assert verdicts(4, 6, 9, worse=1.5) == [False] * 3
    assert verdicts(7, off=-0.02) == [False]
    assert verdicts(8, h=3.9) == [False]


def test_without_servers_the_lab_judges_the_rest(judged: Judged) -> None:
    alone = [r for r in records() if not isinstance(r, Measurement | Comparison) or r.workers == 2]
    assert [holds for _, holds in judged(alone)] == [True] * 3
