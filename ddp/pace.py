"""Who may go on when workers send gradients to a server, and how long a number of gradients then takes.

The rule is bounded staleness: no worker is more than `bound` gradients ahead of the slowest. 0 is a synchronous server, infinity an
asynchronous one. Source: Ho et al., More Effective Distributed ML via a Stale Synchronous Parallel Parameter Server, 2013.
"""

from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from math import inf
from statistics import mean


class Pace:
    """The rule. Workers compute from the start; each that has sent a gradient waits until the rule lets it go on."""

    def __init__(self, workers: int, bound: float) -> None:
        self.bound = bound
        self.sent = [0] * workers
        self.computing = set(range(workers))

    def sent_by(self, worker: int) -> list[int]:
        """Note a worker's gradient; return the workers that may now go on."""
        self.sent[worker] += 1
        self.computing.remove(worker)
        slowest, waiting = min(self.sent), set(range(len(self.sent))) - self.computing
        free = [w for w in sorted(waiting) if self.sent[w] - slowest <= self.bound]
        self.computing.update(free)
        return free

    @property
    def level(self) -> bool:
        """Whether all workers have sent equally many."""
        return min(self.sent) == max(self.sent)


def most_stale(workers: int, bound: float) -> float:
    """Return how many updates old a gradient can be at most: while it is computed, each of the other workers sends 2 * bound + 1.

    When its weights are read the others are at least -bound gradients ahead, when it arrives at most bound + 1. With bound 0 the server
    updates the weights once a round, so nothing is stale.
    """
    return (workers - 1) * (2 * bound + 1) if bound else 0


def mean_stale(workers: int) -> int:
    """Return how many updates old the gradients of an asynchronous server are on average, in the long run and whatever the speeds.

    Every update is missed by all gradients that are being computed when it is made, and these are the other workers'.
    """
    return workers - 1


def law(bound: float, seconds: Callable[[int, int], float], workers: int, gradients: int) -> tuple[str, float]:
    """Return the name of a law and the seconds for one of that many gradients, where seconds(worker, k) repeats every `workers` k."""
    each = [[seconds(w, k) for w in range(workers)] for k in range(workers)]
    if bound == 0:
        return "slowest worker", mean(map(rounds, each))
    if bound == inf:
        return "sum of rates", rates([mean(own) for own in zip(*each, strict=True)])
    return "event model", duration(seconds, workers, bound, gradients) / gradients


def rounds(seconds: Sequence[float]) -> float:
    """Return the seconds for one gradient of a synchronous server: all wait for the slowest worker. seconds: for each worker's gradient."""
    return max(seconds) / len(seconds)


def rates(seconds: Sequence[float]) -> float:
    """Return the seconds for one gradient of an asynchronous server: the workers' rates add up. seconds: for each worker's gradient."""
    return 1 / sum(1 / s for s in seconds)


def duration(seconds: Callable[[int, int], float], workers: int, bound: float, gradients: int) -> float:
    """Return when that many gradients have arrived, where a worker's k-th takes seconds(worker, k) and nothing else takes any."""
    pace = Pace(workers, bound)
    arrivals = [(seconds(w, 0), w) for w in range(workers)]
    heapify(arrivals)
    now = inf
    for _ in range(gradients):
        now, worker = heappop(arrivals)
        for w in pace.sent_by(worker):
            heappush(arrivals, (now + seconds(w, pace.sent[w]), w))
    return now
