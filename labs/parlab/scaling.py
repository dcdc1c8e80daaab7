"""Speed-up, efficiency and the laws of scaling, each with its interval, and each only where the points can carry it.

p: workers. T(p): seconds on p workers. S = T(base) / T(p): speed-up against the best serial program.
    Karp-Flatt  e = (1/S - 1/p) / (1 - 1/p)                              Karp and Flatt, CACM 33(5), 1990
    Amdahl      T(p) = T(1) (1 + f (p - 1)) / p                          AFIPS, 1967: the same work on p workers
    USL         T(p) = T(1) (1 + sigma (p - 1) + kappa p (p - 1)) / p    Gunther, Guerrilla Capacity Planning, 2007
    Gustafson   T(p) = T(1) / (1 - s (p - 1) / p)                        CACM 31(5), 1988: p times the work on p workers
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import hypot, inf, isfinite, log, nan
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from parlab.stats import Interval, median_interval

Array = NDArray[np.float64]
Seed = int | np.random.Generator
Model = Literal["Amdahl", "USL", "Gustafson"]

PARAMETERS: Mapping[Model, list[str]] = {"Amdahl": ["f"], "USL": ["sigma", "kappa"], "Gustafson": ["s"]}
RESAMPLES = 1000  # bootstrap replicates: each tail of 2.5 % then holds 25


def speed_up(base: ArrayLike, seconds: ArrayLike) -> Interval:
    """S = median(base) / median(seconds), both samples in seconds; a base that is one number counts as exact.

    The two intervals add in quadrature on the logarithm (Zou and Donner, Statistics in Medicine 27, 2008). Where both
    ran interleaved, round by round, `stats.paired_ratio(base, seconds)` is sharper.
    """
    exact = np.asarray(base, dtype=np.float64)
    serial = median_interval(base) if exact.ndim else Interval(exact.item(), exact.item(), exact.item(), 1)
    time = median_interval(seconds)
    s = serial.median / time.median
    if not all(isfinite(edge) for edge in (time.low, time.high, serial.low, serial.high)):
        return Interval(s, -inf, inf, time.n)
    down = hypot(log(serial.median / serial.low), log(time.high / time.median))
    up = hypot(log(serial.high / serial.median), log(time.median / time.low))
    return Interval(s, float(s * np.exp(-down)), float(s * np.exp(up)), time.n)


def efficiency(s: Interval, workers: int) -> Interval:
    """E = S / p."""
    return s.map(lambda x: x / workers)


def karp_flatt(s: Interval, workers: int) -> Interval:
    """The serial fraction e seen at 2 or more workers. Steady over p it is serial work; where it rises, overhead."""
    return s.map(lambda x: (1 / x - 1 / workers) / (1 - 1 / workers))


class Parameter(Interval):
    """A parameter of a law: its value for the medians measured, with the 95 % interval."""

    @property
    def identifiable(self) -> bool:
        """Whether the data tell it from 0: the interval is bounded and lies above."""
        return self.low > 0 and isfinite(self.high)

    def __str__(self) -> str:
        told = "" if self.identifiable else " (not identifiable)"
        return f"{self.median:.3g} [{self.low:.3g}, {self.high:.3g}]{told}"


@dataclass(frozen=True)
class Law:
    """What the points allow to say. words: one line; predict(p): seconds on p workers, nan where nothing was fitted."""

    model: Literal["Amdahl", "USL", "Gustafson", "Karp-Flatt", "no law"]
    parameters: Mapping[str, Parameter]
    words: str
    predict: Callable[[float], float]


def law(points: Mapping[int, ArrayLike], base: ArrayLike, weak: bool = False, seed: Seed = 0) -> Law:
    """The law that this many points can carry; points: workers -> samples (s), base: as in `speed_up`.

    weak: p workers had p times the work. 2 points: Karp-Flatt at the larger, no fit. From 3: Gustafson if weak, else
    Amdahl, and USL from 5. More workers than cores are the caller's to leave out; a point with no sample left is none.
    """
    points = {workers: samples for workers, samples in points.items() if median_interval(samples).n}
    if len(points) >= 3:
        return fit("Gustafson" if weak else "USL" if len(points) >= 5 else "Amdahl", points, base, seed)
    workers = max(points, default=1)
    if workers == 1:
        return Law("no law", {}, "no law: never more than one worker", lambda p: nan)
    s = speed_up(base, points[workers])
    e = karp_flatt(s.map(lambda x: x * workers) if weak else s, workers)
    e = Parameter(e.median, e.low, e.high, e.n)
    return Law("Karp-Flatt", {"e": e}, f"Karp-Flatt: e {e} at {workers} workers; too few points to fit", lambda p: nan)


def fit(model: Model, points: Mapping[int, ArrayLike], base: ArrayLike, seed: Seed = 0) -> Law:
    """One model, parameters >= 0, by least squares of relative errors; intervals by bootstrap of each point's samples.

    T(1) is the parallel program's own where it was measured, else that of base: a law says how one program scales, not
    how much faster the best serial program is. A point with fewer than 6 samples leaves all intervals unbounded.
    """
    rng = np.random.default_rng(seed)
    p = np.array(sorted(points), dtype=np.float64)
    seconds = np.stack([_medians(points[int(workers)], rng) for workers in p], axis=1)
    one = seconds[:, 0] if p[0] == 1 else _medians(base, rng)
    values = np.stack([_solve(model, p, times) for times in seconds / one[:, None]])
    columns = dict(zip(PARAMETERS[model], values.T, strict=True))
    if model == "USL":
        sigma, kappa = columns["sigma"], columns["kappa"]
        with np.errstate(divide="ignore"):  # where kappa is 0 the peak is at infinity
            columns["peak"] = np.where(sigma < 1, np.sqrt(np.maximum(1 - sigma, 1e-300) / kappa), 0)
    n = min(median_interval(samples).n for samples in points.values())
    parameters = {name: _parameter(column, n) for name, column in columns.items()}
    words = f"{model}: " + ", ".join(f"{name} {parameter}" for name, parameter in parameters.items())
    words += f"; kappa not identifiable from {len(p)} points" if model == "Amdahl" else ""
    return Law(model, parameters, words, lambda q: _relative_seconds(model, q, values[0]) * one[0].item())


def _terms(model: Model, p: Array) -> Array:
    """What each parameter multiplies: (points, parameters)."""
    columns = {"Amdahl": [p - 1], "USL": [p - 1, p * (p - 1)], "Gustafson": [(p - 1) / p]}
    return np.stack(columns[model], axis=1)


def _relative_seconds(model: Model, p: float, values: Array) -> float:
    """T(p) / T(1)."""
    overhead = (_terms(model, np.array([p])) @ values).item()
    if model == "Gustafson":
        return 1 / (1 - overhead) if overhead < 1 else inf
    return float(1 + overhead) / p


def _solve(model: Model, p: Array, t: Array) -> Array:
    """The parameters for t = T(p) / T(1): the law as terms @ parameters = right, a row's residual relative to t."""
    from scipy.optimize import nnls  # here: a rank must not pay this import to time a message

    terms = _terms(model, p)
    left, right = (terms * t[:, None], t - 1) if model == "Gustafson" else (terms / (p * t)[:, None], 1 - 1 / (p * t))
    return np.asarray(nnls(left, right)[0])


def _medians(samples: ArrayLike, rng: np.random.Generator) -> Array:
    """The median of the samples, then those of RESAMPLES bootstrap resamples."""
    values = np.atleast_1d(np.asarray(samples, dtype=np.float64))
    values = values[~np.isnan(values)]
    return np.concatenate([[np.median(values)], np.median(rng.choice(values, (RESAMPLES, values.size)), axis=1)])


def _parameter(values: Array, n: int) -> Parameter:
    """The first value, and the range of the middle 95 % of the others; unbounded for fewer than 6 samples a point."""
    value, (low, high) = values[0].item(), np.quantile(values[1:], [0.025, 0.975], method="inverted_cdf").tolist()
    return Parameter(value, low, high, n) if n >= 6 else Parameter(value, -inf, inf, n)
