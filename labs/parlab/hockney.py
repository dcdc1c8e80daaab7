"""The time of a message by its size: T(n) = alpha + beta n (Hockney, Parallel Computing 20, 1994), in lines.

MPI libraries change protocol with the size (eager, then rendezvous), so no single line fits 1 B to 4 MiB: where one
line ends and the next begins is found from the times. Residuals are relative, for ordinary least squares sees only the
largest messages; and a fit is judged at sizes it has not seen, not by R2, which is near 1 for lines that miss most.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import combinations, pairwise
from math import log
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEAST = 3  # sizes in a segment: through two, its two parameters would always pass without error
MOST = 4  # segments
PRICE = 5  # parameters that a segment counts for: alpha, beta, and a break that was searched among all sizes
TINY = 1e-12  # of a squared relative error: what rounding leaves of a perfect fit

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Segment:
    """alpha: latency (s); beta: s/byte, the inverse of the asymptotic bandwidth."""

    alpha: float
    beta: float


@dataclass(frozen=True)
class Hockney:
    """Segments by rising size; breaks[i] is the last size (bytes) of segment i; the last one holds beyond all sizes."""

    segments: tuple[Segment, ...]
    breaks: tuple[float, ...] = ()

    @overload
    def seconds(self, nbytes: float) -> float: ...
    @overload
    def seconds(self, nbytes: NDArray[Any]) -> Array: ...
    def seconds(self, nbytes: float | NDArray[Any]) -> float | Array:
        """T(n) in seconds, for one size in bytes or an array of sizes."""
        alpha, beta = np.array([(segment.alpha, segment.beta) for segment in self.segments]).T
        i = np.searchsorted(self.breaks, nbytes)
        times: Array = alpha[i] + beta[i] * nbytes
        return times if isinstance(nbytes, np.ndarray) else float(times)


@dataclass(frozen=True)
class HeldOut:
    """Relative errors |predicted - measured| / measured at sizes that were left out of the fit."""

    median: float
    max: float


def fit_line(nbytes: ArrayLike, seconds: ArrayLike) -> Hockney:
    """One line, alpha and beta >= 0, by least squares of relative errors. All fits raise ValueError on bad data."""
    n, t = _by_size(nbytes, seconds)
    return Hockney((_fit(n, t)[0],))


def fit_segments(nbytes: ArrayLike, seconds: ArrayLike, segments: int = 3) -> Hockney:
    """The best of all cuts into this many lines of 3 sizes or more; into fewer where the sizes do not suffice."""
    n, t = _by_size(nbytes, seconds)
    segments = min(segments, n.size // LEAST)
    piece = cache(lambda i, j: _fit(n[i:j], t[i:j]))
    edges = [(0, *inner, n.size) for inner in combinations(range(LEAST, n.size - LEAST + 1), segments - 1)]
    cuts = [list(pairwise(edge)) for edge in edges if min(np.diff(edge)) >= LEAST]
    best = min(cuts, key=lambda cut: sum(piece(i, j)[1] for i, j in cut))
    return Hockney(tuple(piece(i, j)[0] for i, j in best), tuple(n[j - 1].item() for _, j in best[:-1]))


def fit_hockney(nbytes: ArrayLike, seconds: ArrayLike) -> Hockney:
    """As many lines, 1 to 4, as the data justify by the Bayesian information criterion (Schwarz, 1978) of relative errors.

    Not by the held-out error: a size beside a break is missed whenever it is left out, and that hides what a cut gains.
    """
    n, t = _by_size(nbytes, seconds)

    def criterion(model: Hockney) -> float:
        error = float(np.mean((model.seconds(n) / t - 1) ** 2))
        return n.size * log(max(error, TINY)) + PRICE * len(model.segments) * log(n.size)

    return min((fit_segments(n, t, segments) for segments in range(1, MOST + 1)), key=criterion)


def held_out_error(fitter: Callable[[Array, Array], Hockney], nbytes: ArrayLike, seconds: ArrayLike) -> HeldOut:
    """Leave every third size out, fit the others and judge it, three times over; both ends are fitted, never judged."""
    n, t = _by_size(nbytes, seconds)
    inner = np.arange(1, n.size - 1)
    errors = []
    for judged in (inner[::3], inner[1::3], inner[2::3]):
        model = fitter(np.delete(n, judged), np.delete(t, judged))
        errors.append(np.abs(model.seconds(n[judged]) - t[judged]) / t[judged])
    together = np.concatenate(errors)
    return HeldOut(float(np.median(together)), float(np.max(together)))


def _by_size(nbytes: ArrayLike, seconds: ArrayLike) -> tuple[Array, Array]:
    """Sizes and times in the order of the sizes."""
    n, t = np.asarray(nbytes, dtype=np.float64), np.asarray(seconds, dtype=np.float64)
    if n.shape != t.shape or np.unique(n).size < n.size or n.size < LEAST or not (t > 0).all():
        raise ValueError("a fit needs 3 or more sizes (held out: 4), all different, and one time > 0 for each")
    order = np.argsort(n)
    return n[order], t[order]


def _fit(n: Array, t: Array) -> tuple[Segment, float]:
    """The line with alpha, beta >= 0 and the least sum of squared relative errors, and that sum."""
    from scipy.optimize import nnls  # here: a rank must not pay this import to time a message

    columns = np.stack([1 / t, n / t], axis=1)  # alpha / T + beta n / T = 1, but for the relative error
    unit = np.linalg.norm(columns, axis=0)  # bytes and messages differ by 10^6: each solved in its own unit
    values, norm = nnls(columns / unit, np.ones_like(t))
    alpha, beta = values / unit
    return Segment(float(alpha), float(beta)), float(norm) ** 2
