"""The statistics of every figure that parlab shows: the median with its interval, paired ratio, verdict, when to stop.

All intervals are order-statistic (binomial) intervals of the median: they hold for any distribution of independent
times, skewed or with spikes, where a mean with a standard deviation fails. NaN stands for a dropped trial: left out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import inf, isfinite, log, nan
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

Verdict = Literal["faster", "slower", "same", "cannot tell"]

FIRST_LOOK = 24  # samples; the stop rule looks at 24, 48, 96 ... (24 has 97.7 % coverage, which pays for the choosing)


@dataclass(frozen=True)
class Interval:
    """A median with its 95 % interval and the number of samples; -inf and inf say that these were too few."""

    median: float
    low: float
    high: float
    n: int

    @property
    def half_width_relative(self) -> float:
        """Half the interval's width as a share of the median; inf for too few samples or a median of 0."""
        return (self.high - self.low) / (2 * self.median) if self.median else inf

    def map(self, f: Callable[[float], float]) -> "Interval":
        """The interval of f(x), f monotone (rising or falling); an unbounded interval stays unbounded."""
        if not (isfinite(self.low) and isfinite(self.high)):
            return Interval(f(self.median), -inf, inf, self.n)
        low, high = sorted((f(self.low), f(self.high)))
        return Interval(f(self.median), low, high, self.n)


@cache
def _rank(n: int, level: float) -> int:
    """The largest k for which the k-th smallest and the k-th largest of n enclose the median with at least this level.

    B, the number of samples below the median, is binomial(n, 1/2); the k-th smallest lies above it if B <= k - 1.
    0: there is no such k (n < 6 at 95 %). Source: David and Nagaraja, Order Statistics, 2003, chapter 7.
    """
    i = np.arange(n // 2)
    log_ratios = np.log((n - i) / (i + 1))  # P(B = i + 1) / P(B = i); as a logarithm, since P(B = 0) may underflow
    cumulative = np.cumsum(np.exp(np.cumsum(np.concatenate([[-n * log(2)], log_ratios]))))
    return int(np.count_nonzero(cumulative <= (1 - level) / 2))


def median_interval(samples: ArrayLike, level: float = 0.95) -> Interval:
    """The median of samples (1-D, any unit, NaN left out), with its interval of at least this level."""
    values = np.asarray(samples, dtype=np.float64)
    values = np.sort(values[~np.isnan(values)])
    n = values.size
    if n == 0:
        return Interval(nan, -inf, inf, 0)
    median = (values.item((n - 1) // 2) + values.item(n // 2)) / 2
    k = _rank(n, level)
    return Interval(median, values.item(k - 1), values.item(n - k), n) if k else Interval(median, -inf, inf, n)


def point(x: float, samples: ArrayLike, least: float, most: float) -> tuple[float, float, float, float]:
    """A point of a curve (records.Curve): the median and its interval; a side without bound, or beyond least..most, ends there."""
    s = median_interval(samples)
    y, low, high = (min(max(value, least), most) for value in (s.median, s.low, s.high))
    return x, y, low, high


def paired_ratio(numerator: ArrayLike, denominator: ArrayLike) -> Interval:
    """The median of numerator[i] / denominator[i] with its interval; i is the round in which both were measured.

    Both 1-D, of one length (else ValueError), in one unit; a pair with a NaN on either side is left out.
    Paired, because a neighbour's burst that slows both members of a round cancels in their ratio.
    """
    above, below = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    if above.shape != below.shape:
        raise ValueError(f"pairs need equal numbers of samples, got {above.size} and {below.size}")
    return median_interval(above / below)


def verdict(ratio: Interval, margin: float = 1.05) -> Verdict:
    """What the ratio (the other's time over this one's time) allows to say about this one.

    "faster": the whole interval above margin. "slower": the whole interval below 2 - margin. "same": the whole interval
    in 2 - margin .. margin (0.95 .. 1.05). All else: "cannot tell". ValueError unless 1 < margin < 2. The band is
    symmetric in the ratio, not in its logarithm: "slower" is always "faster" seen from the other side, but a "faster"
    by less than 1 / (2 - margin) is not "slower" from there.
    """
    if not 1 < margin < 2:
        raise ValueError(f"a margin is a ratio between 1 and 2, got {margin}")
    if ratio.low > margin:
        return "faster"
    if ratio.high < 2 - margin:
        return "slower"
    return "same" if 2 - margin <= ratio.low and ratio.high <= margin else "cannot tell"


def precise(interval: Interval, tolerance: float = 0.03) -> bool:
    """Whether the interval's half-width is at most this share of the median."""
    return interval.half_width_relative <= tolerance


def next_look(n: int) -> int:
    """The first count of samples after n at which the stop rule looks."""
    look = FIRST_LOOK
    while look <= n:
        look *= 2
    return look


def should_stop(samples: ArrayLike, tolerance: float = 0.03) -> bool:
    """The stop rule: at 24, 48, 96 ... samples (dropped ones counted), whether the median is known to this tolerance.

    Ask after each sample: at all other counts it is False at once. Who stops at the first narrow interval takes those
    that are narrow by luck, and looking after each sample the true median is too often missed. Few looks, each at
    twice the data of the last, keep the coverage: tests/test_stats.py holds it to 93 % and shows the other rule below.
    """
    n = np.size(samples)
    return next_look(n - 1) == n and precise(median_interval(samples), tolerance)
