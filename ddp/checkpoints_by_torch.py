"""The same slices by torch.distributed.checkpoint, which knows where a slice belongs from its DTensor.

It too writes a shard for each worker and the metadata last, and fits what it loads to another number of workers; it keeps no digests, and
one folder holds one checkpoint: the caller keeps the one before. Source: PyTorch's documentation of torch.distributed.checkpoint.
"""

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard


def save(folder: Path, slices: Mapping[str, Tensor], length: int, group: dist.ProcessGroup) -> None:
    """Write a checkpoint, all workers of the group together. slices: this worker's part of each vector, as torch.chunk cuts `length`."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected an existing checkpoint")  # writing over it is meant
        state_dict_saver.save(_spread(slices, length, group), checkpoint_id=folder, process_group=group)


def load(folder: Path, names: Iterable[str], length: int, group: dist.ProcessGroup) -> dict[str, Tensor]:
    """Return this worker's part of each of the float32 vectors that have these names, as torch.chunk cuts `length` for this group."""
    mine = torch.zeros(length).chunk(group.size())[group.rank()]
    there = _spread({name: torch.zeros_like(mine) for name in names}, length, group)
    state_dict_loader.load(there, checkpoint_id=folder, process_group=group)
    return {name: vector.to_local() for name, vector in there.items()}


def _spread(slices: Mapping[str, Tensor], length: int, group: dist.ProcessGroup) -> dict[str, Any]:
    mesh = DeviceMesh.from_group(group, "cpu")
    shape, stride = torch.Size([length]), (1,)
    return {
        name: DTensor.from_local(vector, mesh, [Shard(0)], shape=shape, stride=stride)
        for name, vector in slices.items()
    }
