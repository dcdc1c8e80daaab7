"""Two kinds of parallel training at once, on a grid of workers: along one axis they share the batch, along the other the network.

    data x tensor      each column of the grid is a copy of the network, cut as in tensor_parallel.py
    data x pipeline    each is a pipeline, as in pipeline.py
    replicas x shards  each is sharded, as by FSDP2: hybrid sharded data parallel (HSDP)

What is said most often goes along the last axis, whose workers are neighbours: within a host, where there are several. Each worker adds up
its own part of the gradient with those that hold the same part, so a grid of d x t sends 1/t of what plain data parallel would.
Source: Narayanan et al., Efficient Large-Scale Language Model Training on GPU Clusters Using Megatron-LM, SC 2021, section 3.
"""

from math import prod
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh

from parlab.ddp.models import Chain
from parlab.ddp.pipeline import Pipeline
from parlab.ddp.sharded_by_torch import FSDP2
from parlab.ddp.tensor_parallel import TensorParallel
from parlab.ddp.training import Recipe


def grid(group: dist.ProcessGroup, device: torch.device, **axes: int) -> DeviceMesh:
    """Arrange the workers of a group along named axes; all of them must call. grid["name"] is the line along an axis that this one is on.

    ValueError: there are more or fewer places than workers; it names the grids that would work.
    """
    if prod(axes.values()) != group.size():
        p, told = group.size(), " x ".join(map(str, axes.values()))
        fit = " or ".join(f"{p // k} x {k}" for k in range(1, p + 1) if p % k == 0)
        raise ValueError(f"{p} workers are no grid of {told}: take {fit}")
    places = torch.tensor(dist.get_process_group_ranks(group)).view(*axes.values())
    lines = []
    for axis in range(places.dim()):
        # Each makes all lines, as torch wants it. A DeviceMesh by itself would have the workers outside of the group make them too.
        made = {tuple(line): dist.new_group(line) for line in places.movedim(axis, -1).flatten(0, -2).tolist()}
        lines += [line for ranks, line in made.items() if dist.get_rank() in ranks]
    return DeviceMesh.from_group(lines, device.type, places, mesh_dim_names=tuple(axes))


def data_tensor(model: Chain, recipe: Recipe, workers: DeviceMesh, sequence: bool = False) -> TensorParallel:
    """Return a Trainer on a grid with the axes data and tensor."""
    return TensorParallel(model, recipe, workers.get_group("tensor"), sequence, data=workers.get_group("data"))


def data_pipeline(model: Chain, recipe: Recipe, workers: DeviceMesh, **how: Any) -> Pipeline:
    """Return a Trainer on a grid with the axes data and pipeline. how: as Pipeline takes it."""
    return Pipeline(model, recipe, workers.get_group("pipeline"), data=workers.get_group("data"), **how)


def hsdp(model: Chain, recipe: Recipe, group: dist.ProcessGroup, workers: DeviceMesh) -> FSDP2:
    """Return a Trainer of a group on a grid of it with the axes data and shards."""
    return FSDP2(model, recipe, group, mesh=workers)
