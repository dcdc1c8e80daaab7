"""Noise with a known truth: the intervals, the verdict and the stop rule keep their promise, the mean does not."""

from collections.abc import Callable
from math import inf, isnan, nan, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from parlab.stats import Interval, median_interval, next_look, paired_ratio, precise, should_stop, verdict

Array = NDArray[np.float64]
Estimate = Callable[[Array, Array], Interval]

times = st.floats(1e-9, 1e3)
SHAPES = ["lognormal", "exponential"]


def skewed(rng: np.random.Generator, shape: str, spread: float, size: tuple[int, int]) -> tuple[Array, float]:
    """Times about 1 with 5 % of spikes of 2 to 10 times, and their true median (from a million others)."""

    def draw(size: tuple[int, int]) -> Array:
        clean = np.exp(spread * rng.standard_normal(size))
        if shape == "exponential":
            clean = 1 + spread * rng.standard_exponential(size)
        return np.where(rng.random(size) < 0.05, clean * rng.uniform(2, 10, size), clean)

    return draw(size), float(np.median(draw((1, 1_000_000))))


def bursts(rng: np.random.Generator, repetitions: int, rounds: int, both: bool = False, share: float = 0.2) -> Array:
    """Factors (2, repetitions, rounds): for 2 to 10 rounds, one member of the pair or both are slowed 2 to 10 times."""
    factors = np.ones((2, repetitions, rounds))
    for repetition, start in np.argwhere(rng.random((repetitions, rounds)) < share / 6):
        stop = min(rounds, start + rng.integers(2, 11))
        slowed = [slice(0, 2)] if both else [slice(0, 1), slice(1, 2), slice(0, 2)]
        members = slowed[rng.integers(len(slowed))]
        factors[members, repetition, start:stop] = rng.uniform(2, 10, stop - start)
    return factors


def trials(ratio: float, spread: float, rounds: int = 48, repetitions: int = 1000, seed: int = 0) -> Array:
    """Times of two cases (2, repetitions, rounds), the first `ratio` times slower, in rounds that bursts hit."""
    rng = np.random.default_rng(seed)
    factors = np.exp(spread * rng.standard_normal((2, repetitions, rounds))) * bursts(rng, repetitions, rounds)
    factors[0] *= ratio
    return factors


def share_of(words: set[str], estimate: Estimate, cases: Array) -> float:
    """The share of repetitions in which the verdict is one of these words."""
    return float(np.mean([verdict(estimate(a, b)) in words for a, b in zip(*cases, strict=True)]))


def mean_ratio(a: Array, b: Array) -> Interval:
    ratios = a / b
    half = 1.96 * ratios.std(ddof=1) / sqrt(ratios.size)
    return Interval(ratios.mean(), ratios.mean() - half, ratios.mean() + half, ratios.size)


def ratio_of_minima(a: Array, b: Array) -> Interval:
    ratio = a.min() / b.min()
    return Interval(ratio, ratio, ratio, a.size)


def unpaired_ratio(a: Array, b: Array) -> Interval:
    above, below = median_interval(a), median_interval(b)
    return Interval(above.median / below.median, above.low / below.high, above.high / below.low, a.size)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n", [20, 30, 50, 100])
def test_interval_covers_the_true_median(shape: str, n: int) -> None:
    samples, truth = skewed(np.random.default_rng(n), shape, 0.1, (10_000, n))
    intervals = [median_interval(row) for row in samples]
    assert 0.93 <= np.mean([i.low <= truth <= i.high for i in intervals]) <= 0.97


@pytest.mark.parametrize("n", [*range(6, 60), 1001, 5000])
def test_interval_is_the_narrowest_of_its_level(n: int) -> None:
    from scipy.stats import binom

    interval = median_interval(np.arange(1, n + 1))
    k = int(interval.low)  # the samples are their own ranks
    assert interval.high == n + 1 - k
    assert 2 * binom.cdf(k - 1, n, 0.5) <= 0.05 < 2 * binom.cdf(k, n, 0.5)


def test_too_few_samples_have_no_interval() -> None:
    assert median_interval([3.0, 1.0, 2.0, 5.0, 4.0]) == Interval(3, -inf, inf, 5)
    assert median_interval(range(6)) == Interval(2.5, 0, 5, 6)
    assert median_interval(range(7), level=0.99) == Interval(3, -inf, inf, 7)
    empty = median_interval([])
    assert isnan(empty.median)
    assert (empty.low, empty.high, empty.n) == (-inf, inf, 0)
    assert verdict(empty) == "cannot tell"
    assert not precise(empty)


@settings(deadline=None)
@given(st.lists(times, min_size=1, max_size=60), st.randoms())
def test_interval_contains_the_median_in_any_order_and_without_the_dropped(
    samples: list[float], random: object
) -> None:
    interval = median_interval(samples)
    assert interval.low <= interval.median <= interval.high
    assert interval.median == pytest.approx(float(np.median(samples)))
    mixed = [*samples, nan, nan]
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert median_interval(mixed) == interval


@settings(deadline=None)
@given(st.lists(times, min_size=6, max_size=60), st.sampled_from([0.25, 2.0, 1024.0]))
def test_interval_scales_with_the_unit(samples: list[float], unit: float) -> None:
    assert median_interval(np.array(samples) * unit) == median_interval(samples).map(lambda x: x * unit)


def test_a_falling_function_turns_the_interval_round() -> None:
    interval = Interval(2, 1, 4, 9)
    assert interval.map(lambda x: 1 / x) == Interval(0.5, 0.25, 1, 9)
    assert Interval(2, -inf, inf, 5).map(lambda x: 1 / x) == Interval(0.5, -inf, inf, 5)
    assert interval.half_width_relative == 0.75
    assert Interval(0, 0, 0, 9).half_width_relative == inf


@settings(deadline=None)
@given(st.lists(st.tuples(times, times), min_size=6, max_size=60))
def test_ratio_turned_round(pairs: list[tuple[float, float]]) -> None:
    a, b = np.array(pairs).T
    ratio, turned = paired_ratio(a, b), paired_ratio(b, a)
    assert (turned.low, turned.high) == pytest.approx((1 / ratio.high, 1 / ratio.low))
    told = verdict(ratio), verdict(turned)
    assert told[0] != "slower" or told[1] == "faster"
    assert told not in {("faster", "faster"), ("slower", "slower"), ("slower", "same")}


def test_pairs_with_a_dropped_trial_are_left_out() -> None:
    assert paired_ratio([2, 4, nan, 8], [1, 2, 3, nan]) == Interval(2, -inf, inf, 2)
    with pytest.raises(ValueError, match="equal numbers"):
        paired_ratio([1, 2], [1])


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (1.06, 1.2, "faster"),
        (1.05, 1.2, "cannot tell"),
        (0.96, 1.04, "same"),
        (0.95, 1.05, "same"),
        (0.94, 1.04, "cannot tell"),
        (0.96, 1.06, "cannot tell"),
        (0.5, 0.94, "slower"),
        (0.5, 0.95, "cannot tell"),
        (-inf, inf, "cannot tell"),
    ],
)
def test_verdict_needs_the_whole_interval(low: float, high: float, word: str) -> None:
    assert verdict(Interval(1.0, low, high, 30)) == word


def test_a_lab_may_ask_for_more() -> None:
    ratio = Interval(1.2, 1.1, 1.3, 30)
    assert (verdict(ratio), verdict(ratio, 1.15), verdict(ratio, 1.5)) == ("faster", "cannot tell", "same")
    for margin in (0.95, 1.0, 2.0):
        with pytest.raises(ValueError, match="between 1 and 2"):
            verdict(ratio, margin)


@pytest.mark.parametrize("spread", [0.03, 0.1])
def test_a_against_a_in_bursts_is_seldom_called_different(spread: float) -> None:
    cases = trials(1.0, spread)
    assert share_of({"faster", "slower"}, paired_ratio, cases) <= 0.02
    assert (
        share_of({"faster", "slower"}, mean_ratio, cases) > 0.10
    )  # so the bursts are there, and the mean does not bear them


@pytest.mark.parametrize("spread", [0.03, 0.1])
def test_a_ratio_of_1_3_in_bursts_is_found(spread: float) -> None:
    cases = trials(1.3, spread)
    assert share_of({"faster"}, paired_ratio, cases) >= 0.95
    assert share_of({"faster"}, mean_ratio, cases) < 0.95


def test_minima_call_the_same_different() -> None:
    assert share_of({"faster", "slower"}, ratio_of_minima, trials(1.0, 0.1)) > 0.3


def test_a_burst_that_hits_both_cancels_only_in_pairs() -> None:
    rng = np.random.default_rng(1)
    load = bursts(rng, 1000, 48, both=True, share=0.8)[
        :1
    ]  # the same factor for both members: the neighbour takes the machine
    cases = np.exp(0.03 * rng.standard_normal((2, 1000, 48))) * load * np.array([1.3, 1])[:, None, None]
    assert share_of({"faster"}, paired_ratio, cases) >= 0.95
    assert share_of({"faster"}, unpaired_ratio, cases) < 0.5


def stopped(samples: Array, stop: Callable[[Array], bool]) -> Interval:
    """The interval at the first count at which `stop` says so, or of all samples (the time budget)."""
    return median_interval(next((samples[:n] for n in range(6, samples.size) if stop(samples[:n])), samples))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spread", [0.03, 0.05, 0.08, 0.1, 0.15])
def test_the_stop_rule_keeps_the_coverage(shape: str, spread: float) -> None:
    samples, truth = skewed(np.random.default_rng(7), shape, spread, (2000, 400))
    intervals = [stopped(row, should_stop) for row in samples]
    assert np.mean([i.low <= truth <= i.high for i in intervals]) >= 0.93
    assert np.mean([i.n < 400 for i in intervals]) > 0.6  # the rule did stop


def test_a_against_a_is_seldom_called_different_with_the_stop_rule_in_force() -> None:
    def until_both_stop(a: Array, b: Array) -> Interval:
        n = next((n for n in range(1, a.size) if should_stop(a[:n]) and should_stop(b[:n])), a.size)
        return paired_ratio(a[:n], b[:n])

    assert share_of({"faster", "slower"}, until_both_stop, trials(1.0, 0.05, rounds=200)) <= 0.02


def test_a_look_after_each_sample_would_lose_it() -> None:
    samples, truth = skewed(np.random.default_rng(7), "exponential", 0.1, (2000, 400))
    intervals = [stopped(row, lambda seen: precise(median_interval(seen))) for row in samples]
    assert np.mean([i.low <= truth <= i.high for i in intervals]) < 0.93


def test_the_stop_rule_looks_seldom_and_only_at_the_precise() -> None:
    assert [n for n in range(1, 400) if should_stop(np.ones(n))] == [24, 48, 96, 192, 384]
    assert [next_look(n) for n in (0, 23, 24, 100)] == [24, 24, 48, 192]
    assert not should_stop(np.linspace(0.9, 1.1, 24))
    assert should_stop(np.linspace(0.9, 1.1, 24), tolerance=0.06)
    assert not should_stop([1.0] * 5 + [nan] * 19)  # dropped ones count as rounds, not as samples
