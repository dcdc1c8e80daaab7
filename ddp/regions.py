"""Into a region where workers share each matrix product, and out of it: pairs of exchanges, each of which is the other's backward pass.

                 enter (before a column-parallel layer)          leave (after a row-parallel layer)
    tensor       as it is, backward all-reduce                   all-reduce, backward as it is
    sequence     all-gather, backward reduce-scatter             reduce-scatter, backward all-gather

In the second row what lies between the regions (norms, residuals, biases) is done on slices of the sequence. What was gathered is kept
for the backward pass, where Korthikanti et al. gather it a second time: less memory, more bytes.
Sources: Shoeybi et al., Megatron-LM, 2019, section 3; Korthikanti et al., Reducing Activation Recomputation, 2022, section 4.2.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from parlab.ddp import rings

collectives = torch.ops._c10d_functional  # they return new tensors, and torch.compile sees through them
SEQUENCE = 1  # the dimension of (batch, length, width) that is cut


def same(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    """Return x, which is the same on all workers."""
    return x.view_as(x)


def all_reduce(x: Tensor, group: dist.ProcessGroup, how: str = "sum") -> Tensor:
    """Return the sum over the workers (or the maximum)."""
    done: Tensor = collectives.wait_tensor(collectives.all_reduce(x.contiguous(), how, group.group_name))
    return done


def all_gather(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    """Return the slices of all workers, one behind the other along the sequence."""
    found = collectives.all_gather_into_tensor(x.contiguous(), group.size(), group.group_name)
    return torch.cat(collectives.wait_tensor(found).chunk(group.size()), dim=SEQUENCE)


def reduce_scatter(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    """Return this worker's slice, along the sequence, of the sum over the workers."""
    slices = torch.stack(x.chunk(group.size(), dim=SEQUENCE))
    if not x.is_cuda:  # gloo's own sends twice the bytes
        mine = torch.empty_like(slices[0])
        rings.reduce_scatter(mine, slices.unbind(), group)
        return mine
    found = collectives.reduce_scatter_tensor(slices.flatten(0, 1), "sum", group.size(), group.group_name)
    done: Tensor = collectives.wait_tensor(found)
    return done


Exchange = Callable[[Tensor, dist.ProcessGroup], Tensor]


class Conjugate(torch.autograd.Function):
    """An exchange between workers, and the one that it means for the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup, there: Exchange, back: Exchange) -> Tensor:
        """Do the first exchange."""
        ctx.group, ctx.back = group, back
        return there(x, group)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Do the other."""
        return ctx.back(gradients[0], ctx.group), None, None, None


@dataclass(frozen=True)
class Region:
    """Where a group of workers shares each matrix product. sequence: what lies outside of it is cut along the sequence."""

    group: dist.ProcessGroup
    sequence: bool = False

    @property
    def size(self) -> int:
        """Return how many workers share."""
        return self.group.size()

    def enter(self, x: Tensor) -> Tensor:
        """Return all of the input on every worker."""
        if torch.is_autocast_enabled(x.device.type):  # the product would cast it anyway: send half of the bytes
            x = x.to(torch.get_autocast_dtype(x.device.type))
        if self.sequence:
            return self._exchanged(x, all_gather, reduce_scatter)
        return self._exchanged(x, same, all_reduce)

    def leave(self, x: Tensor) -> Tensor:
        """Return the sum of what the workers found, or this worker's slice of it."""
        return self._exchanged(x, reduce_scatter, all_gather) if self.sequence else self.summed(x)

    def summed(self, x: Tensor) -> Tensor:
        """Return the sum of what the workers found."""
        return self._exchanged(x, all_reduce, same)

    def _exchanged(self, x: Tensor, there: Exchange, back: Exchange) -> Tensor:
        done: Tensor = Conjugate.apply(x, self.group, there, back)  # type: ignore[no-untyped-call]
        return done

    def piece(self, whole: Tensor, dim: int, parts: int = 1) -> nn.Parameter:
        """Return this worker's share of a weight, a copy. parts: along dim there are so many weights, of each of which it gets a share."""
        shares = whole.detach().unflatten(dim, (parts, self.size, -1))
        mine = shares.select(dim + 1, self.group.rank()).flatten(dim, dim + 1).clone()
        return nn.Parameter(mine, requires_grad=whole.requires_grad)


def joined(pieces: list[Tensor], dim: int, parts: int = 1) -> Tensor:
    """Return the weight of which the workers have these pieces: what `Region.piece` undoes."""
    return torch.stack([p.unflatten(dim, (parts, -1)) for p in pieces], dim + 1).flatten(dim, dim + 2)
