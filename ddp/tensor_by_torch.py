"""Tensor parallel training by torch's own DTensor: the network is left as it is, a plan says how each weight is cut.

Of the fused matrix of queries, keys and values a plain cut of the rows would give one worker all queries. So the rows are put in order
first: those that belong to one worker's heads behind each other. `weights` puts them back.
Source: torch.distributed.tensor.parallel; the plan is that of Shoeybi et al., Megatron-LM, 2019.
"""

from typing import Any

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, loss_parallel, parallelize_module

from parlab.ddp.models import Block, Chain, Embedding, Head
from parlab.ddp.regions import Region
from parlab.ddp.tensor_layers import refuse, tied
from parlab.ddp.tensor_parallel import norm
from parlab.ddp.training import Held, Recipe, copies, held


class DTensorParallel:
    """A Trainer. ValueError: heads or vocabulary cannot be shared equally; it names the numbers that would work."""

    def __init__(self, model: Chain, recipe: Recipe, group: dist.ProcessGroup) -> None:
        refuse(model, Region(group))
        self.model, self.recipe, self.group = model, recipe, group
        is_tied = tied(model)
        mesh = DeviceMesh.from_group(group, next(model.parameters()).device.type)
        for layer in model.layers:
            if isinstance(layer, Block):
                for weight in layer.attention.qkv.parameters():
                    weight.data = swapped(weight.data, 3, group.size())
                layer.attention.heads //= group.size()
        for i, layer in enumerate(model.layers):
            parallelize_module(layer, mesh, plan(layer, i), src_data_rank=None)  # all have the weights: nothing is sent
        if is_tied:
            first, last = model.layers[0], model.layers[-1]
            last.scores.weight = first.tokens.weight  # type: ignore[union-attr]
        self.trained = [p for p in model.parameters() if p.requires_grad]
        kinds = ([p for p in self.trained if isinstance(p, DTensor) == cut] for cut in (True, False))
        self.optimizers = [
            recipe.optimizer_for(weights) for weights in kinds if weights
        ]  # fused, one takes but one kind

    def step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Do one step; return this worker's part of the mean loss, which all know."""
        for weight in self.trained:
            weight.grad = None
        with loss_parallel():
            loss: Any = self.recipe.loss(self.model, inputs, targets, targets.numel())
            loss.backward()
        gradients = [p.grad for p in self.trained if p.grad is not None]
        self.recipe.cut((_here(g) for g in gradients), lambda: self._norm(gradients))
        for optimizer in self.optimizers:
            optimizer.step()
        done: Tensor = loss.to_local().detach() / self.group.size()
        return done

    def _norm(self, gradients: list[Tensor]) -> Tensor:
        cut = [isinstance(g, DTensor) and g.placements[0].is_shard() for g in gradients]  # the embedding's is not
        pieces, wholes = (
            [_here(g) for g, c in zip(gradients, cut, strict=True) if c == kind] for kind in (True, False)
        )
        return norm(pieces, wholes, self.group)

    def weights(self) -> dict[str, Tensor]:
        """Return all weights, whole."""
        found = {n: w.full_tensor() if isinstance(w, DTensor) else w for n, w in self.model.named_parameters()}
        return {n: swapped(w, self.group.size(), 3) if ".qkv." in n else w for n, w in copies(found.items()).items()}

    def held(self) -> Held:
        """Return what this worker holds."""
        each = [held((p for g in o.param_groups for p in g["params"]), o) for o in self.optimizers]
        return Held(*(sum(getattr(h, what) for h in each) for what in ("parameters", "gradients", "optimizer")))


def plan(layer: nn.Module, i: int) -> dict[str, Any]:
    """Return how the weights of a layer, the i-th of its network, are cut."""
    if isinstance(layer, Embedding):
        return {"tokens": RowwiseParallel(input_layouts=Replicate())}
    if isinstance(layer, Block):
        columns = {"attention.qkv": ColwiseParallel(), "up": ColwiseParallel()}
        return {**columns, "attention.out": RowwiseParallel(), "down": RowwiseParallel()}
    if isinstance(layer, Head):
        return {"scores": ColwiseParallel(output_layouts=Shard(-1), use_local_output=False)}
    return {"linear": RowwiseParallel() if i % 2 else ColwiseParallel()}


def swapped(rows: Tensor, outer: int, inner: int) -> Tensor:
    """Order rows that are outer x inner x others as inner x outer x others."""
    done: Tensor = rows.unflatten(0, (outer, inner, -1)).transpose(0, 1).flatten(0, 2)
    return done


def _here(gradient: Tensor) -> Tensor:
    """Return the part of a gradient that this worker has."""
    return gradient.to_local() if isinstance(gradient, DTensor) else gradient
