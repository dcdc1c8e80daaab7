"""The pipelines by their names, ours and torch's, what the laws say of each, and how a bubble is told from measured steps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from parlab.ddp import schedules
from parlab.ddp.models import Chain
from parlab.ddp.pipeline import Pipeline
from parlab.ddp.pipeline_by_torch import TorchPipeline
from parlab.ddp.sleep_stages import sleepers

Times = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Way:
    """Who runs a pipeline, by which schedule, with how many stages on each worker."""

    kind: type[Pipeline] | type[TorchPipeline]
    schedule: str
    chunks: int = 1

    def make(self, micro_batches: int, **how: Any) -> Callable[..., Pipeline | TorchPipeline]:
        """Return what makes the trainer, from a model, a recipe and a group. how: see Pipeline."""
        return partial(self.kind, micro_batches=micro_batches, schedule=self.schedule, chunks=self.chunks, **how)

    def bubble(self, p: int, m: int) -> float:
        """Return the bubble of p workers and m micro-batches, by the law."""
        return schedules.bubble_law(self.schedule, p, m, self.chunks)

    def sleepers(self, p: int, forward: float, backward: float) -> Chain:
        """Return a network whose stages sleep. forward, backward: seconds that a worker's stages take together, for a micro-batch."""
        return sleepers(p * self.chunks, forward / self.chunks, backward / self.chunks)

    def in_virtual_time(self, p: int, m: int, forward: float, backward: float) -> list[list[schedules.Span]]:
        """Return who would do what when in a step of such stages, whose messages take no time."""
        plan, stages = schedules.lists(self.schedule, p, m, self.chunks), p * self.chunks
        return schedules.in_virtual_time(plan, [forward / self.chunks] * stages, [backward / self.chunks] * stages)


WAYS = {
    "naive": Way(Pipeline, "naive"),
    "GPipe": Way(Pipeline, "GPipe"),
    "1F1B": Way(Pipeline, "1F1B"),
    "interleaved": Way(Pipeline, "interleaved", 2),
    "GPipe by torch": Way(TorchPipeline, "GPipe"),
    "1F1B by torch": Way(TorchPipeline, "1F1B"),
    "interleaved by torch": Way(TorchPipeline, "interleaved", 2),
}


def bubbles(numbers: Sequence[int], times: Times) -> tuple[Times, Times, Times]:
    """Tell the bubble from steps with several numbers of micro-batches of one size.

    What a further micro-batch adds to a step, times their number, is work; all else is the bubble, which the law says is p - 1 of these
    for p plain stages. So what an operation costs beside its computation counts as work, and what a step costs besides as bubble.
    times: (numbers, rounds), seconds of a step. Returns the bubbles (numbers, rounds) as shares of a step, then for each round the seconds
    that a micro-batch adds, and how many of them a step takes besides.
    """
    each, once = np.polyfit(numbers, times, 1, w=1 / np.median(times, axis=1))
    return 1 - np.outer(numbers, each) / times, each, once / each
