"""The ways to send less than data parallel does, by name, and what each of them sends."""

from collections.abc import Callable

import torch.distributed as dist
from torch import nn

from parlab.ddp import wire
from parlab.ddp.data_parallel import Flat, Replica
from parlab.ddp.gradient_compression import Half, PowerSGD, TopK
from parlab.ddp.local_sgd import DiLoCo, LocalSGD
from parlab.ddp.training import Recipe, nbytes

PARALLEL = "data parallel"
LOSSLESS = (PARALLEL, "local SGD, H 1")  # with plain SGD
MEET = 16  # steps after which all of them have met

RECIPE = Recipe(rate=0.1)
INNER = Recipe("adamw", rate=3e-3)  # of DiLoCo

Make = Callable[[nn.Module], Replica]


def ways(group: dist.ProcessGroup) -> dict[str, Make]:
    """Return what makes each way's trainer of a model."""
    return {
        PARALLEL: lambda model: Flat(model, RECIPE, group),
        "local SGD, H 1": lambda model: LocalSGD(model, RECIPE, group, every=1),
        "local SGD, H 4": lambda model: LocalSGD(model, RECIPE, group, every=4),
        "local SGD, H 16": lambda model: LocalSGD(model, RECIPE, group, every=MEET),
        "DiLoCo, H 16": lambda model: DiLoCo(model, INNER, group, every=MEET),
        "16 bits": lambda model: Flat(model, RECIPE, group, send=Half(group)),
        "top 1 %": lambda model: Flat(model, RECIPE, group, send=TopK(group, 0.01)),
        "PowerSGD, rank 2": lambda model: Flat(model, RECIPE, group, send=PowerSGD(group, 2)),
    }


def law(trainer: Replica) -> float:
    """Return the bytes that each worker sends in a step, at least."""
    if isinstance(trainer, Flat) and isinstance(trainer.send, Half | TopK | PowerSGD):
        return trainer.send.nbytes(trainer.bucket)
    every = trainer.every if isinstance(trainer, LocalSGD) else 1
    return wire.ring_all_reduce(trainer.size, nbytes(trainer.trained)) / every
