"""What is trained where a time is measured: a GPT, some text for each worker, and how the network is compiled."""

from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from parlab.ddp import corpus, models
from parlab.ddp.sleep_stages import sleepers
from parlab.ddp.training import Recipe


@cache
def untrained(shape: models.Shape, device: torch.device) -> models.Chain:
    """Return the one network of which all others are copies: to draw its numbers anew takes longer."""
    return models.gpt(shape).to(device)


@dataclass(frozen=True)
class Workload:
    """`rows` passages of `length` tokens for each worker. compiled: not at all, the network at once, or layer by layer."""

    device: torch.device
    shape: models.Shape
    rows: int
    length: int
    recipe: Recipe = field(default_factory=Recipe)
    compiled: Literal["", "whole", "by layer"] = ""

    @property
    def told(self) -> dict[str, str | int | float]:
        """Return what tells this workload from others, for records."""
        compiled = f" compiled {self.compiled}" if self.compiled else ""
        return {
            "GPT": f"{self.shape.name.removeprefix('GPT ')}{compiled}",
            "a worker": f"{self.rows} x {self.length} tokens",
        }

    def network(self) -> models.Chain:
        """Return the network with its first weights, not compiled."""
        return deepcopy(untrained(self.shape, self.device))

    def model(self, apart: bool = False) -> models.Chain:
        """Return the network as it is to be timed. apart: as a whole, but compiled for itself.

        What was compiled for one network serves all that are alike. For the library's wrapper the code is cut where buckets end, else no
        gradient would be there before the end of backward: it must not get the code of the others, nor they get its. Options that differ,
        though they change nothing, keep them apart. Source: torch._dynamo.backends.distributed, DDPOptimizer.
        """
        model = self.network()
        if self.compiled == "whole":
            model.compile(options={"trace.enabled": False} if apart else None)
        elif self.compiled:
            for layer in model.layers:
                layer.compile()
        return model

    def batch(self, workers: int) -> tuple[Tensor, Tensor]:
        """Return the inputs and targets of so many workers, each (rows * workers, length)."""
        return self._passages(0, self.rows * workers, self.length)

    def few(self, step: int, rows: int) -> tuple[Tensor, Tensor]:
        """Return a small batch."""
        return self._passages(step, rows, 16)

    def _passages(self, step: int, rows: int, length: int) -> tuple[Tensor, Tensor]:
        inputs, targets = corpus.passages(step, rows, length, self.shape.vocabulary)
        return inputs.to(self.device), targets.to(self.device)

    def flops(self, workers: int) -> float:
        """Return the operations of a step of so many workers."""
        return self.shape.flops_per_token * self.rows * self.length * workers


@dataclass(frozen=True)
class Asleep:
    """Layers of `width` weights, each of which sleeps: `seconds` in forward, twice as long in backward."""

    depth: int
    width: int
    seconds: float = 0.0

    def network(self) -> models.Chain:
        """Return the network."""
        return sleepers(self.depth, self.seconds, 2 * self.seconds, self.width)

    def few(self, step: int, rows: int) -> tuple[Tensor, Tensor]:
        """Return inputs and targets, each (rows, width)."""
        return torch.full((rows, self.width), 0.5), torch.full((rows, self.width), float(step))
