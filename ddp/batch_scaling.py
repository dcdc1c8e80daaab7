"""How many steps a larger batch saves, by the rule that says how the learning rate follows the batch.

    constant          as for the base batch
    square root       the noise of a step stays the same. Source: Krizhevsky, 2014; Hoffer et al., Train Longer, Generalize Better, 2017
    linear            k steps become one of k times the length. Source: Goyal et al., Accurate, Large Minibatch SGD, 2017
    linear, warm-up   the same, reached in a straight line over the first steps (there: 5 epochs), where the loss is most curved

A run is a small MLP on the digits, by plain SGD, until it knows so many of the images that it does not learn from. Runs need nothing of
each other, so workers share them out; each is one thread's work, and the same whoever does it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import torch.distributed as dist

from parlab.ddp import corpus, models
from parlab.ddp.exam import accuracy
from parlab.ddp.training import Recipe, Single

BASE, RATE = 16, 0.025  # the batch for which the rate was chosen, by trial, low enough to be raised
WARM = 20  # steps
GOAL = 0.95  # of the test images
EVERY = 5  # steps from one look at the test images to the next
LATE, GUESSING = 100, 0.5  # a training that by this step knows fewer than this share has diverged, and is given up


@dataclass(frozen=True)
class Rule:
    """A rate that grows with a power of the batch, from 0 in the first `warm` steps."""

    power: float
    warm: int = 0

    def rate(self, batch: int) -> float:
        """Return the rate for a batch."""
        scale: float = (batch / BASE) ** self.power
        return RATE * scale


RULES = {"constant": Rule(0.0), "square root": Rule(0.5), "linear": Rule(1.0), "linear, warm-up": Rule(1.0, WARM)}


@dataclass(frozen=True, order=True)
class Run:
    """One training: which batch, which rate, how many steps of warm-up, which start and order of the images."""

    batch: int
    rate: float
    warm: int
    seed: int


def network(seed: int) -> models.Chain:
    """Return the MLP that is trained: 64 pixels, 64 hidden units, 10 classes."""
    return models.mlp(width=64, depth=1, seed=seed)


def steps_to_goal(run: Run, cap: int) -> float:
    """Return the steps until the test images are known, to the next multiple of EVERY; infinity where `cap` steps are not enough."""
    single = Single(network(run.seed), Recipe(rate=run.rate))
    for step in range(1, cap + 1):
        if step <= run.warm:
            single.optimizer.param_groups[0]["lr"] = run.rate * step / run.warm
        single.step(*corpus.images(step, run.batch, run.seed))
        if step % EVERY == 0:
            known = accuracy(single.model)
            if known >= GOAL:
                return step
            if known < GUESSING and step >= LATE:
                break
    return inf


def study(
    group: dist.ProcessGroup, batches: Sequence[int], seeds: Sequence[int], cap: int
) -> dict[tuple[str, int], list[float]]:
    """Return for each rule and batch the steps to the goal by seed, the same on all workers, who share the runs among them."""
    wanted = {
        (name, batch): [Run(batch, rule.rate(batch), rule.warm, seed) for seed in seeds]
        for name, rule in RULES.items()
        for batch in batches
    }
    runs = sorted({run for runs in wanted.values() for run in runs}, reverse=True)  # the longest first, dealt in turn
    mine = {run: steps_to_goal(run, cap) for run in runs[group.rank() :: group.size()]}
    dealt: list[dict[Run, float]] = [{} for _ in range(group.size())]
    dist.all_gather_object(dealt, mine, group=group)
    found = {run: steps for part in dealt for run, steps in part.items()}
    return {key: [found[run] for run in runs] for key, runs in wanted.items()}
