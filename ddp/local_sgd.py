"""Workers that train for themselves and meet every H steps: the bytes on the wire fall to 1 / H of data parallel's.

    LocalSGD   every H steps the weights are averaged. Source: Stich, Local SGD Converges Fast and Communicates Little, 2019
    DiLoCo     what H steps changed on average is taken for a gradient, which an outer optimizer with Nesterov's momentum follows.
               Source: Douillard et al., DiLoCo: Distributed Low-Communication Training of Language Models, 2023

With H = 1 and plain SGD, local SGD is data parallel. The states of the workers' optimizers are never exchanged.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from parlab.ddp.data_parallel import Replica
from parlab.ddp.training import Held, Recipe, held


class LocalSGD(Replica):
    """A mode of training (training.Trainer) that averages the weights in every `every`-th step and sends nothing in the others.

    ValueError for a recipe that clips: a worker by itself never sees the norm of the global gradient.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, group: dist.ProcessGroup, every: int) -> None:
        if recipe.clip is not None:
            raise ValueError("between two meetings nobody knows the norm of the global gradient: take clip=None")
        if every < 1:
            raise ValueError(f"workers can meet every 1, 2, 3 ... steps, not every {every}")
        super().__init__(model, recipe, group)
        self.every, self.steps = every, 0

    def step(self, inputs: Tensor, targets: Tensor, parts: int = 1) -> Tensor:
        """Do a step on this worker's share of a global batch; return its part of the mean loss."""
        loss = super().step(inputs, targets, parts)
        self.steps += 1
        if self.steps % self.every == 0:
            self.meet()
        return loss

    def sum_gradients(self) -> None:
        """Sum nothing: take the share's part as if all had one like it. So H = 1 is data parallel, with uneven shares too."""
        for parameter in self.trained:
            if parameter.grad is not None:
                parameter.grad.mul_(self.size)

    def meet(self) -> None:
        """Replace the weights by their average."""
        for parameter, mean in zip(self.trained, self.average(), strict=True):
            parameter.detach().copy_(mean)

    def average(self) -> list[Tensor]:
        """Return the average of each trained parameter over the workers: one all-reduce for all of them."""
        flat = torch.cat([p.detach().flatten() for p in self.trained])
        dist.all_reduce(flat, group=self.group)
        parts = flat.div_(self.size).split([p.numel() for p in self.trained])
        return [part.view_as(p) for part, p in zip(parts, self.trained, strict=True)]

    def weights(self) -> dict[str, Tensor]:
        """Return the average of what the workers have now, be it a step in which they meet or not."""
        names = [name for name, p in self.model.named_parameters() if p.requires_grad]
        return super().weights() | dict(zip(names, self.average(), strict=True))


class DiLoCo(LocalSGD):
    """Inner steps by the recipe's optimizer, AdamW as published; outer steps by Nesterov's momentum.

    outer_rate, momentum: 0.7 and 0.9 as published; with 1 and 0 it is local SGD.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        group: dist.ProcessGroup,
        every: int,
        outer_rate: float = 0.7,
        momentum: float = 0.9,
    ) -> None:
        super().__init__(model, recipe, group, every)
        self.start = [p.detach().clone() for p in self.trained]  # of these inner steps, the same on all workers
        self.outer = torch.optim.SGD(self.start, lr=outer_rate, momentum=momentum, nesterov=momentum > 0)

    def meet(self) -> None:
        """Take the way back from the average to the start for a gradient, and start anew from where that leads."""
        for start, mean in zip(self.start, self.average(), strict=True):
            start.grad = start - mean
        self.outer.step()
        for parameter, start in zip(self.trained, self.start, strict=True):
            parameter.detach().copy_(start)

    def held(self) -> Held:
        """Return the bytes; the start and the outer optimizer's momentum and gradient count as optimizer state."""
        inner, outer = super().held(), held(self.start, self.outer)
        return Held(inner.parameters, inner.gradients, inner.optimizer + outer.total)
