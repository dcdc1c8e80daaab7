"""The loss of several trainings from the same seeds, as points of a curve and in words."""

from collections.abc import Iterable, Sequence

from parlab.stats import point

SEEDS = {"smoke": 1, "quick": 6, "full": 12}  # six are the least of which a median has an interval
WORST = 100.0  # nats, and times as much: what a picture of losses ends at

Point = tuple[float, float, float, float]


def points(looks: Iterable[float], losses: Iterable[Sequence[float]]) -> list[Point]:
    """Return for each look the loss over the seeds."""
    return [point(x, at, 0, WORST) for x, at in zip(looks, losses, strict=True)]


def relative(looks: Iterable[int], losses: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> list[Point]:
    """Return for each look the ratio of losses, paired by seed."""
    paired = zip(looks, losses, others, strict=True)
    return [point(n, [a / b for a, b in zip(at, other, strict=True)], 1 / WORST, WORST) for n, at, other in paired]


def words(at: Point) -> str:
    """Write a loss with its interval over the seeds."""
    _, y, low, high = at
    return f"{y:.3f} [{low:.3f}, {high:.3f}]" if high < WORST else f"{y:.3f} [?]"
