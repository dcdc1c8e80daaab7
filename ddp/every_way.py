"""The ways to share out one network's training, by name; what each takes; and the proof that each of them is the single process."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from parlab.ddp import hybrid, models, wire
from parlab.ddp.data_parallel import Bucketed
from parlab.ddp.pipeline import Pipeline
from parlab.ddp.sharded import ZeRO3
from parlab.ddp.sharded_by_torch import FSDP2
from parlab.ddp.tasks import Task, network, text
from parlab.ddp.tensor_parallel import TensorParallel
from parlab.ddp.training import Recipe, Single, Trainer, differs

T = TypeVar("T", bound=Trainer)
Make = Callable[[models.Chain, Recipe], Trainer]
ADAM = Recipe("adamw", 1e-4)
PLAIN = Recipe(rate=0.03)  # of proofs: Adam blows up the rounding in gradients that are zero (of key biases)
ROWS, LENGTH = 8, 16  # of the batches of a proof
MICRO_BATCHES = 4


def ways(group: dist.ProcessGroup, device: torch.device) -> dict[str, Make]:
    """Return the ways for the workers of a group: from four on also those that share both batch and network."""
    p = group.size()
    if p == 1:
        return {}
    found: dict[str, Make] = {
        "DP": partial(Bucketed, group=group),
        "ZeRO-3": partial(ZeRO3, group=group),
        "FSDP2": partial(FSDP2, group=group),
        "TP": partial(TensorParallel, group=group),
        "TP, sequence": partial(TensorParallel, group=group, sequence=True),
        "PP": partial(Pipeline, group=group, micro_batches=MICRO_BATCHES),
    }
    if p >= 4 and p % 2 == 0:
        tensor = hybrid.grid(group, device, data=p // 2, tensor=2)
        pipeline = hybrid.grid(group, device, data=p // 2, pipeline=2)
        found["DP x TP"] = partial(hybrid.data_tensor, workers=tensor)
        found["DP x PP"] = partial(hybrid.data_pipeline, workers=pipeline, micro_batches=MICRO_BATCHES)
    return found


def counted(
    task: Task, make: Callable[[models.Chain, Recipe], T], group: dist.ProcessGroup | None, device: torch.device
) -> tuple[T, dict[str, float]]:
    """Return a trainer, and what this worker holds from step to step, sends in one, and on a GPU has in use at most, in MiB.

    group: those that train together; None: this one is alone. What is sent is counted by the kernel, for a GPU by the calls. The layers are
    compiled after that, where they compute in bfloat16.
    """
    on_gpu, batch = device.type == "cuda", task.batch(device)
    before = torch.cuda.memory_allocated() if on_gpu else 0
    model = task.network(device)
    trainer = make(model, task.recipe)
    task.arrange(model, compiled=False)
    trainer.step(*batch)  # the first makes the optimizer's state, and may have messages of its own
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    _arrive(group)
    sent = wire.sent()
    with wire.Calls() as calls:
        trainer.step(*batch)
    _arrive(group)
    facts = {"holds": trainer.held().total, "sends": calls.total if on_gpu else wire.sent() - sent if group else 0}
    if on_gpu:
        facts["uses"] = torch.cuda.max_memory_allocated() - before
    task.arrange(model, compiled=task.dtype == torch.bfloat16)
    return trainer, {name: value / 2**20 for name, value in facts.items()}


def _arrive(group: dist.ProcessGroup | None) -> None:
    """Wait for the others: what they have sent has arrived then."""
    if group:
        dist.all_reduce(torch.zeros(1), group=group)


@dataclass(frozen=True)
class Proof:
    """A fresh trainer of a way does some steps on short passages, in float32, beside the single process."""

    make: Make
    group: dist.ProcessGroup
    device: torch.device
    shape: models.Shape
    steps: int

    def check(self) -> str | None:
        """Say what is not the single process', or None; asked again, the same. All workers must ask."""
        return differs(self._found[1], self._wanted[1]) or (
            f"a loss is off by {self.off:.2g} of it" if self.off > 1e-6 else None
        )

    @property
    def losses(self) -> list[float]:
        """Return the loss of each step."""
        return self._found[0].tolist()

    @property
    def off(self) -> float:
        """Return by what share of it the worst of the losses differs: float32 tells losses near 5 apart by steps of 5e-7 only."""
        return (self._found[0] / self._wanted[0] - 1).abs().max().item()

    @cached_property
    def _found(self) -> tuple[Tensor, dict[str, Tensor]]:
        losses, weights = _steps(self.make, self.shape, self.device, self.steps)
        dist.all_reduce(losses, group=self.group)
        return losses, weights

    @property
    def _wanted(self) -> tuple[Tensor, dict[str, Tensor]]:
        return _alone(self.shape, self.device, self.steps)


@cache
def _alone(shape: models.Shape, device: torch.device, count: int) -> tuple[Tensor, dict[str, Tensor]]:
    return _steps(Single, shape, device, count)


def _steps(make: Make, shape: models.Shape, device: torch.device, count: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Return this worker's part of the loss of each step, and the weights after the last."""
    trainer = make(network(shape, device), PLAIN)
    losses = [trainer.step(*text(shape, device, ROWS, LENGTH, step)) for step in range(count)]
    return torch.stack(losses).double().cpu(), trainer.weights()
