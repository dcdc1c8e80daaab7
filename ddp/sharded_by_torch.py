"""Sharded training by the library: FSDP2, which is ZeRO-3, and the optimizer that shards its state, which is ZeRO-1.

FSDP2 shards each weight by its rows: worker k has the k-th of the p blocks of ceil(rows / p) rows, of which the last may be smaller.
ZeroRedundancyOptimizer gives each weight as a whole to one worker, the largest first, each to whom has least.
Sources: Zhao et al., PyTorch FSDP: Experiences on scaling fully sharded data parallel, VLDB 2023; the documentation of both.
"""

from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.fsdp._fully_shard._fsdp_collectives import DefaultReduceScatter
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.distributed.tensor import DTensor

from parlab.ddp import rings
from parlab.ddp.data_parallel import TorchDDP
from parlab.ddp.models import Chain
from parlab.ddp.sharded import clip
from parlab.ddp.training import Held, Recipe, copies, held, share


class FSDP2:
    """Each layer is gathered before it computes. reshard: and freed after its forward pass, to be gathered again for the backward one.

    ring: gradients go through our reduce-scatter. mesh: the group as a grid, each row of which shards the weights; None: one row. With
    autocast weights are gathered in bfloat16, gradients summed in float32. Layers that share a weight are gathered for the whole step. The
    hooks stay with the model: one model for one object.
    """

    def __init__(
        self,
        model: Chain,
        recipe: Recipe,
        group: dist.ProcessGroup,
        reshard: bool = True,
        ring: bool = False,
        mesh: DeviceMesh | None = None,
    ) -> None:
        self.model, self.recipe, self.group = model, recipe, group
        device = next(model.parameters()).device
        types = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if recipe.autocast else MixedPrecisionPolicy()
        mesh = mesh or DeviceMesh.from_group(group, device.type)
        self.shards = mesh.get_group(mesh.ndim - 1)
        uses = Counter(w for layer in model.layers for w in layer.parameters())
        apart = [layer for layer in model.layers if all(uses[w] == 1 for w in layer.parameters())]
        for module in (*apart, model):  # the model takes what its layers left
            fully_shard(module, mesh=mesh, reshard_after_forward=reshard and module is not model, mp_policy=types)
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.set_force_sum_reduction_for_comms(True)
                module.set_gradient_divide_factor(1.0)  # sums, not means
                if ring:
                    module.set_custom_reduce_scatter(Ring())
        self.trained = [w for w in model.parameters() if w.requires_grad]
        self.optimizer = recipe.optimizer_for(self.trained)

    def step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Do one step on a global batch; return this worker's part of its mean loss."""
        rank, p = self.group.rank(), self.group.size()
        self.optimizer.zero_grad()
        loss = self.recipe.loss(self.model, share(inputs, rank, p), share(targets, rank, p), of=targets.numel())
        loss.backward()
        clip([w.grad.to_local() for w in self.trained if isinstance(w.grad, DTensor)], self.recipe, self.shards)
        self.optimizer.step()
        return loss.detach()

    def weights(self) -> dict[str, Tensor]:
        """Return all weights by name, gathered."""
        named = self.model.named_parameters()
        return copies((name, w.full_tensor() if isinstance(w, DTensor) else w) for name, w in named)

    def held(self) -> Held:
        """Return what this worker holds."""
        return held(self.trained, self.optimizer)


class Ring(DefaultReduceScatter):
    """Our reduce-scatter in place of the library's, which on gloo sends twice as much as it need."""

    def __call__(
        self, output_tensor: Tensor, input_tensor: Tensor, group: dist.ProcessGroup, op: object, async_op: bool = False
    ) -> Any:
        """Fill the output with this worker's part of the summed inputs."""
        rings.reduce_scatter(output_tensor, input_tensor.chunk(group.size()), group)


class TorchZeRO1(TorchDDP):
    """DistributedDataParallel, with the optimizer's state of each weight on one worker, which then sends that weight to all."""

    def __init__(self, model: Chain, recipe: Recipe, group: dist.ProcessGroup) -> None:
        super().__init__(model, recipe, group)
        make: Any = partial(of_groups, recipe)
        self.optimizer: ZeroRedundancyOptimizer = ZeroRedundancyOptimizer(self.trained, make, process_group=group)

    def held(self) -> Held:
        """Return what this worker holds."""
        return held(self.trained, self.optimizer.optim)


def of_groups(recipe: Recipe, groups: Iterable[dict[str, Any]]) -> torch.optim.Optimizer:
    """Return the recipe's optimizer of the weights in groups of parameters."""
    return recipe.optimizer_for(w for group in groups for w in group["params"])
