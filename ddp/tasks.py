"""What is trained where ways to share it out are compared: a GPT, a global batch of text, and how its layers are run."""

import gc
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from parlab.ddp import corpus, models
from parlab.ddp.training import Recipe
from parlab.ddp.workload import untrained


@dataclass(frozen=True)
class Task:
    """A network and the rows of a global batch, of shape.context tokens each.

    lean: weights in bfloat16, and of what a block computes nothing is kept for the backward pass but its input: it is computed again.
    """

    shape: models.Shape
    rows: int
    recipe: Recipe
    lean: bool = False

    @property
    def told(self) -> dict[str, str | int | float]:
        """Return what tells this task from others, for records."""
        return {"network": self.shape.name, "batch": f"{self.rows} x {self.shape.context} tokens"}

    @property
    def flops(self) -> float:
        """Return the operations of a step, without those that are done again."""
        return self.rows * self.shape.context * self.shape.flops_per_token

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of what is multiplied."""
        return torch.bfloat16 if self.lean or self.recipe.autocast else torch.float32

    def network(self, device: torch.device) -> models.Chain:
        """Return the network with its first weights, the same on all workers."""
        return network(self.shape, device, torch.bfloat16 if self.lean else torch.float32)

    def batch(self, device: torch.device) -> list[Tensor]:
        """Return the inputs and targets of a step."""
        return text(self.shape, device, self.rows, self.shape.context)

    def arrange(self, model: models.Chain, compiled: bool) -> None:
        """Have each layer run as the task wants it, and compiled if asked for. To be called once the layers are those of this worker.

        Only what a layer computes is compiled, so that what a way of training has hooked to the layer runs as it stands.
        """
        layers: Any = model.layers
        torch._dynamo.config.recompile_limit = (
            64  # one for each way and shape: what is beyond it would run as it stands
        )
        for i, layer in enumerate(layers):
            vars(layer).pop("forward", None)  # what was arranged before
            if compiled:
                layer.forward = torch.compile(layer.forward, dynamic=False)
            if self.lean and 0 < i < len(layers) - 1:
                layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)


def network(shape: models.Shape, device: torch.device, dtype: torch.dtype = torch.float32) -> models.Chain:
    """Return a GPT with its first weights, the same on all workers."""
    if device.type == "cpu" and dtype == torch.float32:
        return deepcopy(untrained(shape, device))
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:  # which draws the numbers faster than they could be sent to it
            return models.gpt(shape)
    finally:
        torch.set_default_dtype(usual)


def text(shape: models.Shape, device: torch.device, rows: int, length: int, step: int = 0) -> list[Tensor]:
    """Return inputs and targets, each (rows, length)."""
    return [x.to(device) for x in corpus.passages(step, rows, length, min(shape.vocabulary, 256))]


def tidy(device: torch.device) -> None:
    """Give back what earlier trainers held, and on a GPU the code that was compiled for them."""
    gc.collect()
    if device.type == "cuda":
        torch.compiler.reset()
        torch.cuda.empty_cache()
