"""A server and workers of different speeds on one machine: gradients are real but small, what makes a worker slow is sleep.

So that there may be more workers than cores, and that what is measured is who waits for whom.
"""

from collections.abc import Callable, Iterator, Sequence
from time import sleep

import torch.distributed as dist
from torch import Tensor, nn

from parlab.ddp import corpus, models
from parlab.ddp.parameter_server import Arrival, ParameterServer
from parlab.ddp.replay import replay
from parlab.ddp.training import Recipe

RECIPE = Recipe(rate=0.1)
SHARE = 16  # images in a worker's part of a batch

Times = Callable[
    [int, int, int], float
]  # how many times as long a worker's k-th gradient takes as a usual one, of so many workers
SLOW = 4
EQUAL, ONE, TURN = "all equal", f"one {SLOW}x slow", f"{SLOW}x slow in turn"
SPEEDS: dict[str, Times] = {
    EQUAL: lambda worker, k, workers: 1,
    ONE: lambda worker, k, workers: SLOW if worker == workers - 1 else 1,
    TURN: lambda worker, k, workers: SLOW if k % workers == worker else 1,
}


def network(seed: int = 0) -> models.Chain:
    """Return the MLP that is trained on the digits: 64 pixels, 64 hidden units, 10 classes."""
    return models.mlp(width=64, depth=1, seed=seed)


class SlowWorkers:
    """Runs of so many gradients, each from the same start; bound: see ParameterServer. rest: seconds of a usual gradient's sleep."""

    def __init__(
        self,
        group: dist.ProcessGroup,
        bound: float,
        times: Times,
        rest: float,
        gradients: int,
        clock: Callable[[], float],
    ) -> None:
        self.group, self.bound, self.times, self.rest, self.gradients = group, bound, times, rest, gradients
        self.clock, self.workers = clock, group.size() - 1
        self.begin = 0.0

    def run(self) -> float:
        """Begin anew; return the server's seconds until the last gradient had come, at the workers 0."""
        self.server = ParameterServer(network(), RECIPE, self.group, self.bound, self.clock)
        self.begin = self.clock()
        self.server.run(self.gradients, self.rested)
        return self.server.arrivals[-1].at - self.begin if self.server.arrivals else 0.0

    def rested(self, k: int) -> tuple[Tensor, Tensor]:
        """Return the k-th batch of this worker, after the sleep that stands for its computation."""
        sleep(self.rest * self.times(self.server.rank - 1, k, self.workers))
        return corpus.images(k, SHARE * self.workers)

    def seconds(self, took: float, worker: int, k: int) -> float:
        """Return what a worker's k-th gradient takes, where a usual one was seen to take so long."""
        return took + (self.times(worker, k, self.workers) - 1) * self.rest

    def replayed(self, arrivals: Sequence[Arrival], seed: int = 0) -> Iterator[nn.Module]:
        """Yield the model after each gradient, trained in the order that was measured, from another start and with other images."""
        model, workers = network(seed), self.workers
        return replay(model, RECIPE, workers, self.bound, arrivals, lambda k: corpus.images(k, SHARE * workers, seed))
