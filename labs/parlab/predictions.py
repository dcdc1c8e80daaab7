"""How good predictions were: their errors, and the best value of a swept parameter as predicted and as measured. From records only."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite
from statistics import median

from parlab.judge import every, within
from parlab.records import Measurement
from parlab.stats import Interval, paired_ratio

Verdict = tuple[str, bool | None]


def over(numerator: Interval, denominator: Interval) -> Interval:
    """Return the ratio of two medians that were measured apart; the interval takes both at their worst, wider than 95 % asks for."""
    ratio, n = numerator.median / denominator.median, min(numerator.n, denominator.n)
    if not all(map(isfinite, (numerator.low, numerator.high, denominator.low, denominator.high))):
        return Interval(ratio, -inf, inf, n)
    return Interval(ratio, numerator.low / denominator.high, numerator.high / denominator.low, n)


def times_as_long(one: Measurement, other: Measurement) -> Interval:
    """Return how many times as long the one takes as the other of its contrast: round by round, by medians where rounds were dropped."""
    if len(one.samples) == len(other.samples):
        return paired_ratio(one.samples, other.samples)
    return over(one.seconds, other.seconds)


def curves(measured: Sequence[Measurement], by: str) -> dict[str, list[Measurement]]:
    """Return the measurements by the value of a parameter."""
    found: dict[str, list[Measurement]] = defaultdict(list)
    for m in measured:
        found[str(m.case[by])].append(m)
    return dict(found)


def least(measured: Sequence[Measurement]) -> Measurement:
    """Return the fastest."""
    return min(measured, key=lambda m: m.seconds.median)


def how_near(measured: Sequence[Measurement], middle: float, most: float, by: Sequence[str]) -> Verdict | None:
    """Hold the predictions that these carry against the measured medians; None where there is none.

    middle, most: shares by which they may miss in the median, and at all. by: the parameters in which these measurements differ. The
    goals are missed where even the nearest time of every measured interval is too far from the prediction.
    """
    told = [m for m in measured if m.prediction]
    if not told:
        return None
    off, at_least = [_miss(m, m.seconds.median) for m in told], [_miss(m) for m in told]
    worst = told[off.index(max(off))]
    words = f"the model misses {len(told)} times by {median(off):.1%} in the median (goal: at most {middle:.0%})"
    where = ", ".join(f"{name} {worst.case[name]}" for name in by)
    missed = median(at_least) > middle or max(at_least) > most
    holds = True if median(off) <= middle and max(off) <= most else False if missed else None
    return f"{words} and by {max(off):.1%} at most (goal: {most:.0%}): {where}", holds


def _miss(m: Measurement, time: float | None = None) -> float:
    """Return the share of a time by which the prediction misses it; without one, of the nearest of the measured interval."""
    assert m.prediction
    if time is None:
        time = min(max(m.prediction.seconds, m.seconds.low), m.seconds.high)
    return abs(m.prediction.seconds / time - 1)


@dataclass(frozen=True)
class Best:
    """Where a curve has its least time: as predicted, as measured, and what it costs to follow the prediction.

    factor: between the two places, by the nearest of those that cannot be told from the measured best.
    """

    predicted: float
    measured: float
    factor: float
    cost: Interval

    def reaches(self, factor: float, cost: float) -> bool | None:
        """Tell whether the place is that near, and following the prediction costs no more than this."""
        return self.factor <= factor and within(self.cost, high=cost)


def best_along(measured: Sequence[Measurement], along: str) -> Best | None:
    """Return the best value of a parameter, of measurements that differ in nothing else; None for fewer than two with a prediction."""
    at = {float(m.case[along]): (m.seconds, m.prediction.seconds) for m in measured if m.prediction}
    if len(at) < 2:
        return None
    found, told = min(at, key=lambda x: at[x][0].median), min(at, key=lambda x: at[x][1])
    as_good = [x for x, (time, _) in at.items() if time.low <= at[found][0].high]
    factor = min(max(told / x, x / told) for x in as_good)
    same = Interval(1.0, 1.0, 1.0, at[found][0].n)
    return Best(told, found, factor, over(at[told][0], at[found][0]) if told != found else same)


def how_best(measured: Sequence[Measurement], along: str, by: str, factor: float, cost: float) -> Verdict:
    """Hold the best values of the swept parameter `along`, on the curve of each value of `by`, against the predicted ones.

    factor, cost: how far the two may lie apart, and how much longer the predicted one may take, on every curve.
    """
    bests = {name: b for name, curve in curves(measured, by).items() if (b := best_along(curve, along))}
    each = "; ".join(f"{name} {b.measured:g} (predicted {b.predicted:g})" for name, b in bests.items())
    dearest = max((b.cost.median for b in bests.values()), default=1.0) - 1
    words = f"best numbers of {along}: {each}; following the prediction costs {dearest:.1%} at most"
    goals = f"(goals: factor {factor:g}, {100 * (cost - 1):.0f} %)"
    return f"{words} {goals}", every(b.reaches(factor, cost) for b in bests.values())
