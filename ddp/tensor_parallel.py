"""Tensor parallel training: every worker holds a part of each matrix, and all of them work on every row of the batch.

What is not cut (norms, biases behind a sum, positions) is the same on all workers. Without `sequence` they all see the same values there
and find the same gradient. With it each of them sees a slice of the sequence, and the gradients of the slices must be added up.
Sources: see regions.py.
"""

import torch
import torch.distributed as dist
from torch import Tensor

from parlab.ddp.models import Chain, Shape
from parlab.ddp.regions import Region, joined
from parlab.ddp.tensor_layers import cut
from parlab.ddp.training import Held, Recipe, copies, held, share, squares
from parlab.ddp.wire import ring_all_reduce


class TensorParallel:
    """A Trainer. group: the workers that share each matrix. data: the workers that have the same pieces, and share the batch's rows.

    sequence: norms and residuals on slices of the sequence, reduce-scatter and all-gather in place of each all-reduce.
    ValueError: heads, vocabulary or the length of the sequence cannot be shared equally; it names the numbers that would work.
    """

    def __init__(
        self,
        model: Chain,
        recipe: Recipe,
        group: dist.ProcessGroup,
        sequence: bool = False,
        data: dist.ProcessGroup | None = None,
    ) -> None:
        self.model, self.recipe, self.group, self.sequence, self.data = model, recipe, group, sequence, data
        self.cut = cut(model, Region(group, sequence))
        self.trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.optimizer = recipe.optimizer_for(self.trained.values())

    def step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Do one step; return this worker's part of the mean loss, which all that share the matrices know."""
        self.optimizer.zero_grad()
        of = targets.numel()
        if self.data:
            inputs, targets = (share(x, self.data.rank(), self.data.size()) for x in (inputs, targets))
        loss = self.recipe.loss(self.model, inputs, targets, of)
        loss.backward()
        pieces = [p.grad for name, p in self.trained.items() if p.grad is not None and name in self.cut]
        wholes = [p.grad for name, p in self.trained.items() if p.grad is not None and name not in self.cut]
        if self.sequence:
            add_up(wholes, self.group)
        if self.data:
            add_up(pieces + wholes, self.data)
        self.recipe.cut(pieces + wholes, lambda: norm(pieces, wholes, self.group))
        self.optimizer.step()
        return loss.detach() / self.group.size()

    def weights(self) -> dict[str, Tensor]:
        """Return all weights, each joined from its pieces."""
        return {
            name: self._joined(weight, *self.cut[name]) if name in self.cut else weight
            for name, weight in copies(self.model.named_parameters()).items()
        }

    def _joined(self, mine: Tensor, dim: int, parts: int) -> Tensor:
        pieces = [torch.empty_like(mine) for _ in range(self.group.size())]
        dist.all_gather(pieces, mine, group=self.group)
        return joined(pieces, dim, parts)

    def held(self) -> Held:
        """Return what this worker holds."""
        return held(self.trained.values(), self.optimizer)


def add_up(gradients: list[Tensor], group: dist.ProcessGroup) -> None:
    """Replace gradients by their sums over the workers, in one all-reduce."""
    if not gradients:
        return
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat, group=group)
    for gradient, total in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(total.view_as(gradient))


def norm(pieces: list[Tensor], wholes: list[Tensor], group: dist.ProcessGroup) -> Tensor:
    """Return the norm of a gradient of which every worker has pieces, and wholes that are the same on all: these count once."""
    nothing = (pieces + wholes)[0].new_zeros(1)  # there may be none of a kind
    total = squares([*pieces, nothing])
    dist.all_reduce(total, group=group)
    return (total + squares([*wholes, nothing])).sqrt()


def sent_per_step(shape: Shape, batch: int, p: int, sequence: bool = False, itemsize: int = 4) -> float:
    """Return the bytes that each of p workers sends in a step on (batch, shape.context) tokens, if all weights are trained, unclipped.

    A block: two all-reduces of (batch, length, width) forward, two backward. Ends: one forward for the embedding, one backward for the
    scores; the loss needs of each token its highest score, then two sums. An all-gather and a reduce-scatter cost as much as an
    all-reduce; with `sequence` the gradients of what is not cut come on top. itemsize: bytes of a number, those of the loss have 4.
    """
    tokens = batch * shape.context
    exchanged = (4 * shape.depth + 2) * tokens * shape.width * itemsize + 3 * tokens * 4
    whole = (shape.depth * 6 + 2 + shape.context) * shape.width * itemsize if sequence else 0
    return ring_all_reduce(p, exchanged + whole)
