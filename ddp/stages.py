"""A network cut into stages: which layers a worker of a pipeline holds, and what it does once all gradients are there.

Stage s lives on rank s % p of the pipeline's group, as in schedules.py. A worker keeps its own layers only: the whole model that it was
given is free to go.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from itertools import pairwise

import torch
import torch.distributed as dist
from torch import Tensor, nn

from parlab.ddp.models import Chain, Embedding, Head
from parlab.ddp.partition import equal_layers
from parlab.ddp.schedules import Operation, lists
from parlab.ddp.tensor_parallel import add_up
from parlab.ddp.training import Held, Recipe, copies, held, share, squares

Span = Callable[[Operation], AbstractContextManager[object]]  # is entered around the computation of each operation


def equal_cuts(layers: Sequence[nn.Module], stages: int) -> list[int]:
    """Return the first layers of all stages but the first, such that each stage has equally many layers.

    The embedding and the head come on top of the first and the last stage's. ValueError where it does not divide.
    """
    before = isinstance(layers[0], Embedding)
    counted = len(layers) - before - isinstance(layers[-1], Head)
    if counted % stages:
        fitting = ", ".join(str(n) for n in range(1, counted + 1) if counted % n == 0)
        told = f"{counted} layers cannot be cut into {stages} equal stages"
        raise ValueError(f"{told}: ask for {fitting}, or name the cuts")
    return [before + first for first in equal_layers(counted, stages)]


@cache
def second(group: dist.ProcessGroup) -> dist.ProcessGroup:
    """Return another group of the same workers, made when first asked for, for messages to lower ranks over NCCL.

    NCCL does what two ranks have asked of one group in turn, messages up and down alike: where each sends first, both wait for ever.
    gloo keeps the two ways apart.
    """
    found = dist.new_group(dist.get_process_group_ranks(group), use_local_synchronization=True)
    assert isinstance(found, dist.ProcessGroup)
    return found


class Stage(nn.Module):
    """Layers that follow each other. The last stage is given targets too, and returns the sum of their losses."""

    def __init__(self, layers: Sequence[nn.Module], recipe: Recipe) -> None:
        super().__init__()
        self.layers, self.recipe = nn.ModuleList(layers), recipe

    def forward(self, x: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return what the next stage is given, or the summed loss."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.recipe.autocast):
            for layer in self.layers[:-1]:
                x = layer(x)
            done: Tensor = self.layers[-1](x) if targets is None else self.layers[-1](x, targets)
        return done


class Stages:
    """What all pipelines have in common, whoever runs the micro-batches: a Trainer without its step.

    group: the workers of one pipeline. schedule: naive, GPipe, 1F1B, or interleaved with several chunks, the stages of each worker.
    cuts: the first layer of each stage but the first; None: stages of equally many layers. data: the workers that hold the same stages,
    and share the batch's rows. span: entered around the computation of each operation, to record who did what when.
    ValueError where layers, cuts, stages, schedule and micro-batches do not go together.
    """

    def __init__(
        self,
        model: Chain,
        recipe: Recipe,
        group: dist.ProcessGroup,
        *,
        micro_batches: int,
        schedule: str = "1F1B",
        cuts: Sequence[int] | None = None,
        data: dist.ProcessGroup | None = None,
        chunks: int = 1,
        span: Span = nullcontext,
    ) -> None:
        self.span = span
        self.operations = lists(schedule, group.size(), micro_batches, chunks)[group.rank()]
        self.recipe, self.group, self.data, self.micro_batches = recipe, group, data, micro_batches
        self.rank, self.p, self.count = group.rank(), group.size(), group.size() * chunks
        self.device = next(model.parameters()).device
        layers = list(model.layers)
        cuts = equal_cuts(layers, self.count) if cuts is None else cuts
        ends = [0, *cuts, len(layers)]
        if len(ends) != self.count + 1 or any(first >= end for first, end in pairwise(ends)):
            told = f"cuts {[*cuts]} of {len(layers)} layers into {self.count} stages"
            raise ValueError(f"{told}: name {self.count - 1} that rise, from 1 to {len(layers) - 1}")
        parts = [layers[first:end] for first, end in pairwise(ends)]
        self.stages = {s: Stage(parts[s], recipe) for s in range(self.rank, self.count, self.p)}

        # By weight, the ranks that hold it: a tied one may have several. Of those that are elsewhere only the size is kept.
        holders = {w: sorted({s % self.p for s, part in enumerate(parts) if _has(part, w)}) for w in model.parameters()}
        self.holders = {w: ranks for w, ranks in holders.items() if self.rank in ranks}
        self.places = [
            (name, holders[w][0], w if w in self.holders else torch.empty_like(w, device="meta"))
            for name, w in model.named_parameters()
        ]
        self.trained = [w for w in self.holders if w.requires_grad]
        self.optimizer = recipe.optimizer_for(self.trained or [torch.empty(0)])  # torch wants one, were all frozen

        self.downward = second(group) if self.device.type == "cuda" else group
        self.prepare(schedule)

    def prepare(self, schedule: str) -> None:
        """Be ready to run micro-batches by this schedule."""

    def share(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows of a batch that this pipeline works on. ValueError where they are too few for the micro-batches."""
        pipelines = self.data.size() if self.data else 1
        most = len(inputs) // pipelines
        if most < self.micro_batches:
            told, enough = f"{len(inputs)} rows for {pipelines} x {self.micro_batches}", self.micro_batches * pipelines
            raise ValueError(f"{told} micro-batches: ask for at most {most}, or hand in {enough} rows or more")
        if self.data:
            inputs, targets = (share(x, self.data.rank(), pipelines) for x in (inputs, targets))
        return inputs, targets

    def isend(self, tensor: Tensor, to: int) -> dist.Work:
        """Begin to send to a rank of the group. Keep what is returned, and the tensor, until it has been waited for."""
        work = dist.isend(tensor, group=self.group if to > self.rank else self.downward, group_dst=to)
        assert work is not None  # this worker is in the group
        return work

    def irecv(self, tensor: Tensor, source: int) -> dist.Work:
        """Begin to receive from a rank of the group."""
        work = dist.irecv(tensor, group=self.downward if source > self.rank else self.group, group_src=source)
        assert work is not None
        return work

    def update(self) -> None:
        """Step the optimizer, once this pipeline's gradients are there."""
        if self.data and self.trained:
            add_up(self._gradients(self.trained), self.data)
        for weight, ranks in self.holders.items():
            if weight.requires_grad and len(ranks) > 1:
                self._add_up_tied(weight, [rank for rank in ranks if rank != self.rank])
        self.recipe.cut(self._gradients(self.trained), self._norm)
        self.optimizer.step()

    def _norm(self) -> Tensor:
        """Return the norm of the gradients of all stages."""
        once = (w for w, ranks in self.holders.items() if ranks[0] == self.rank)  # a tied weight counts on one rank
        counted = self._gradients(once)
        total = squares(counted) if counted else torch.zeros((), device=self.device)
        dist.all_reduce(total, group=self.group)
        return total.sqrt()

    def _gradients(self, weights: Iterable[Tensor]) -> list[Tensor]:
        return [weight.grad for weight in weights if weight.grad is not None]

    def _add_up_tied(self, weight: Tensor, others: list[int]) -> None:
        """Replace the gradient of a weight by the sum over the ranks that hold it."""
        assert weight.grad is not None
        parts = {self.rank: weight.grad} | {rank: torch.empty_like(weight.grad) for rank in others}
        for rank in others:
            # The lower rank's message is the first on both sides: NCCL waits for the peer when it connects with it.
            if self.rank < rank:
                works = self.isend(weight.grad, rank), self.irecv(parts[rank], rank)
            else:
                works = self.irecv(parts[rank], rank), self.isend(weight.grad, rank)
            for work in works:
                work.wait()
        in_order = [parts[rank] for rank in sorted(parts)]  # so that all get the same bits
        weight.grad = torch.stack(in_order).sum(0)

    def weights(self) -> dict[str, Tensor]:
        """Return all weights under their names in the whole model, sent by a worker that holds them."""
        whole = ((name, torch.empty_like(w, device=self.device) if w.is_meta else w) for name, _, w in self.places)
        found = copies(whole)
        for name, holder, _ in self.places:
            dist.broadcast(found[name], group=self.group, group_src=holder)
        return found

    def held(self) -> Held:
        """Return what this worker holds."""
        return held(self.trained, self.optimizer)


def _has(layers: Sequence[nn.Module], weight: Tensor) -> bool:
    return any(weight is own for layer in layers for own in layer.parameters())
