"""What every mode of training has in common: the recipe, the step, and the single process that all modes must equal.

A mode is a class whose objects are a `Trainer`, one on each worker. All workers hand the whole global batch to `step`; which part of it,
or of the network, is theirs is the mode's business. So the single process, given the same batches, is what each mode is held against.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Recipe:
    """How weights follow from gradients: the same in every mode.

    clip: the global norm that gradients are cut to, None: they are not. autocast: matrix products in bfloat16, weights in float32.
    """

    optimizer: Literal["sgd", "adamw"] = "sgd"
    rate: float = 0.1
    clip: float | None = None
    autocast: bool = False

    def optimizer_for(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        """Return the optimizer of these weights. Both kinds work element by element, so that shards can be stepped apart."""
        kept = list(parameters)
        if self.optimizer == "sgd":
            return torch.optim.SGD(kept, lr=self.rate)
        return torch.optim.AdamW(kept, lr=self.rate, fused=kept[0].is_cuda or None)

    def loss(self, model: nn.Module, inputs: Tensor, targets: Tensor, of: int) -> Tensor:
        """Return the part of a global batch's mean loss that these targets make; `of`: how many targets the global batch has."""
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.autocast):
            part: Tensor = model(inputs, targets) / of
        return part

    def cut(self, gradients: Iterable[Tensor], norm: Callable[[], Tensor]) -> None:
        """Cut gradients in place, where the recipe says so. norm: returns that of the whole gradient, and reads all of it for that."""
        if self.clip is not None:
            factor = torch.clamp(self.clip / (norm() + 1e-6), max=1.0)
            for gradient in gradients:
                gradient.mul_(factor)


@dataclass(frozen=True)
class Held:
    """Bytes that a worker holds from step to step."""

    parameters: int
    gradients: int
    optimizer: int

    @property
    def total(self) -> int:
        """Return the sum."""
        return self.parameters + self.gradients + self.optimizer


class Trainer(Protocol):
    """One mode of training, as one worker sees it."""

    def step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Do one step of the optimizer on a global batch, which all workers have.

        Returns this worker's part of the batch's mean loss, detached: the sum over the workers is the loss of the single process.
        """

    def weights(self) -> dict[str, Tensor]:
        """Return all weights under the names that the single process has for them, whole and the same on every worker; copies."""

    def held(self) -> Held:
        """Return the bytes of weights, gradients and optimizer state that this worker holds after a step."""


class Single:
    """One process that does all of it: what every mode must equal."""

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        self.model, self.recipe = model, recipe
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = recipe.optimizer_for(self.trained)

    def step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Do one step; return the mean loss."""
        self.optimizer.zero_grad()
        loss = self.recipe.loss(self.model, inputs, targets, targets.numel())
        loss.backward()
        gradients = [p.grad for p in self.trained if p.grad is not None]
        self.recipe.cut(gradients, lambda: norm(gradients))
        self.optimizer.step()
        return loss.detach()

    def weights(self) -> dict[str, Tensor]:
        """Return copies of all weights by name."""
        return copies(self.model.named_parameters())

    def held(self) -> Held:
        """Return what the one process holds."""
        return held(self.trained, self.optimizer)


def share(batch: Tensor, rank: int, size: int) -> Tensor:
    """Return the rows of a batch that are the share of worker `rank`; the first shares are one row longer where it does not divide.

    Raises ValueError on all workers where there is not a row for each.
    """
    if len(batch) < size:
        raise ValueError(f"{len(batch)} rows cannot be cut into {size} shares: hand in {size} rows or more")
    return batch.tensor_split(size)[rank]


def norm(gradients: Iterable[Tensor]) -> Tensor:
    """Return the square root of the sum of all squares."""
    return squares(gradients).sqrt()


def squares(gradients: Iterable[Tensor]) -> Tensor:
    """Return the sum of all squares, in float32: what workers add up before they take the root."""
    return torch.stack([g.float().square().sum() for g in gradients]).sum()


def copies(named: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Return copies of tensors by name."""
    return {name: tensor.detach().clone() for name, tensor in named}


def held(trained: Iterable[Tensor], optimizer: torch.optim.Optimizer) -> Held:
    """Return the bytes of weights, of their gradients, and of the optimizer's state; counters of steps do not count."""
    kept = list(trained)
    state = [value for values in optimizer.state.values() for value in values.values()]
    tensors = [value for value in state if isinstance(value, Tensor) and value.dim() > 0]
    return Held(nbytes(kept), nbytes(p.grad for p in kept if p.grad is not None), nbytes(tensors))


def nbytes(tensors: Iterable[Any]) -> int:
    """Return the bytes of tensors; of a DTensor, those that are here."""
    return sum((t.to_local() if hasattr(t, "to_local") else t).nbytes for t in tensors)


def differs(found: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float = 1e-6) -> str | None:
    """Say where weights differ from others by more than a tolerance (absolute); None where they agree."""
    if found.keys() != wanted.keys():
        return f"other weights: {sorted(found.keys() ^ wanted.keys())[:3]}"
    off = {name: (found[name] - wanted[name]).abs().max().item() for name in wanted}
    worst = max(off, key=lambda name: off[name] if off[name] == off[name] else float("inf"))
    return None if off[worst] <= tolerance else f"{worst} is off by {off[worst]:.2g} (at most {tolerance:g})"
