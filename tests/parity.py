"""What every mode of training is held against: the single process, on the same network and batches, in variants that may go wrong apart."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from parlab.ddp import corpus, hybrid, models
from parlab.ddp.data_parallel import Bucketed, Flat, Naive, TorchDDP
from parlab.ddp.local_sgd import DiLoCo, LocalSGD
from parlab.ddp.parameter_server import ParameterServer
from parlab.ddp.pipeline import Pipeline
from parlab.ddp.pipeline_by_torch import TorchPipeline
from parlab.ddp.sharded import ZeRO1, ZeRO2, ZeRO3
from parlab.ddp.sharded_by_torch import FSDP2, TorchZeRO1
from parlab.ddp.tensor_by_torch import DTensorParallel
from parlab.ddp.tensor_parallel import TensorParallel
from parlab.ddp.training import Recipe, Single, Trainer, differs

if TYPE_CHECKING:
    from parlab.workers import Workers

STEPS, ROWS, TOLERANCE = 20, 8, 1e-6

# Softmax does not see what is added to all keys: the gradient of their biases, a third of these, is nothing but rounding. SGD leaves it as
# small as it is; Adam, which divides by it, would make steps of it.
UNSEEN = ("qkv.bias",)

Make = Callable[[models.Chain, Recipe], Trainer]


@dataclass(frozen=True)
class Variant:
    """What is trained and how. last: rows of the last batch. frozen: weights whose names contain one of these are not trained."""

    tied: bool = False
    last: int = ROWS
    frozen: tuple[str, ...] = ()
    clip: float | None = None
    digits: bool = False  # the MLP on images of digits, in place of the GPT
    adam: bool = False

    @property
    def recipe(self) -> Recipe:
        """How it is trained."""
        return Recipe("adamw", 1e-4, self.clip) if self.adam else Recipe("sgd", 0.01 if self.digits else 0.1, self.clip)

    def model(self, device: torch.device) -> models.Chain:
        """Return the network before the first step, on this device."""
        model = models.mlp() if self.digits else models.gpt(replace(models.TINY, tied=self.tied))
        frozen = self.frozen + (UNSEEN if self.adam else ())
        for name, weight in model.named_parameters():
            weight.requires_grad = not any(part in name for part in frozen)
        return model.to(device)

    def batch(self, step: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the global batch of a step."""
        rows = self.last if step == STEPS - 1 else ROWS
        x, y = corpus.images(step, rows) if self.digits else corpus.passages(step, rows, 16, vocabulary=64)
        return x.to(device), y.to(device)


FEATURES: dict[str, dict[str, Any]] = {
    "uneven": {"last": 5},
    "frozen": {"frozen": ("layers.1.", "positions", "2.linear")},
    "tied": {"tied": True},
    "clipped": {"clip": 1.5},  # gradients of half of the steps: one that is cut always would hide a wrong scale
    "digits": {"digits": True},
    "adam": {"adam": True},
}


# Two variants hold them all.
GPT = ("uneven", "frozen", "tied", "clipped")
MLP = ("uneven", "frozen", "digits", "adam")


def variant(*features: str) -> Variant:
    return Variant(**{name: value for feature in features for name, value in FEATURES[feature].items()})


@cache
def single(variant: Variant, device: torch.device) -> tuple[list[float], dict[str, Tensor]]:
    """Return the loss of each step of the single process, and its weights after the last."""
    trainer = Single(variant.model(device), variant.recipe)
    return [trainer.step(*variant.batch(step, device)).item() for step in range(STEPS)], trainer.weights()


def off(make: Make, variant: Variant, team: "Workers") -> str | None:
    """Say how a mode differs from the single process: by a weight after the last step, or by the loss of any; None where it does not.

    Weights may differ by the tolerance, a loss by that share of it: float32 tells losses near 4 apart by steps of 5e-7 only.
    """
    trainer = make(variant.model(team.device), variant.recipe)
    losses = torch.stack([trainer.step(*variant.batch(step, team.device)) for step in range(STEPS)]).double()
    dist.all_reduce(losses, group=team.group)
    wanted, weights = single(variant, team.device)
    worst = (losses.cpu() / torch.tensor(wanted, dtype=torch.float64) - 1).abs().max().item()
    return differs(trainer.weights(), weights, TOLERANCE) or (
        f"a loss is off by {worst:.2g}" if worst > TOLERANCE else None
    )


def refuses(make: Make, variant: Variant, team: "Workers") -> bool:
    """Tell whether a mode refuses a variant, when it is made or when it is handed the last batch."""
    try:
        make(variant.model(team.device), variant.recipe).step(*variant.batch(STEPS - 1, team.device))
    except ValueError:
        return True
    return False


def classes(group: dist.ProcessGroup) -> list[dict[str, Make]]:
    """Return the modes that share out the batch, all that a worker holds, matrices, or layers."""
    pipeline = partial(Pipeline, group=group, micro_batches=4)
    by_torch = partial(TorchPipeline, group=group, micro_batches=4)
    data: dict[str, Make] = {
        "naive": partial(Naive, group=group),
        "flat": partial(Flat, group=group),
        "bucketed": partial(Bucketed, group=group, cap=50_000, first=5_000),
        "DDP": partial(TorchDDP, group=group),
        "local SGD": partial(LocalSGD, group=group, every=1),
        "DiLoCo": partial(DiLoCo, group=group, every=1, outer_rate=1.0, momentum=0.0),
        "server": partial(ParameterServer, group=group),
    }
    sharded: dict[str, Make] = {
        "ZeRO-1": partial(ZeRO1, group=group),
        "ZeRO-2": partial(ZeRO2, group=group),
        "ZeRO-3": partial(ZeRO3, group=group),
        "FSDP2": partial(FSDP2, group=group),
        "FSDP2 kept": partial(FSDP2, group=group, reshard=False),
        "FSDP2 ring": partial(FSDP2, group=group, ring=True),
        "torch ZeRO-1": partial(TorchZeRO1, group=group),
    }
    tensor: dict[str, Make] = {
        "tensor": partial(TensorParallel, group=group),
        "sequence": partial(TensorParallel, group=group, sequence=True),
        "DTensor": partial(DTensorParallel, group=group),
    }
    stages: dict[str, Make] = {
        "naive pipeline": partial(pipeline, schedule="naive"),
        "GPipe": partial(pipeline, schedule="GPipe"),
        "1F1B": partial(pipeline, schedule="1F1B"),
        "interleaved": partial(pipeline, schedule="interleaved", chunks=2),
        "torch GPipe": partial(by_torch, schedule="GPipe"),
        "torch 1F1B": partial(by_torch, schedule="1F1B"),
        "torch interleaved": partial(by_torch, schedule="interleaved", chunks=2),
    }
    return [data, sharded, tensor, stages]


def hybrids(team: "Workers") -> dict[str, Make]:
    """Return the modes of four workers that share out two things."""
    tensor, pipeline, shards = (
        hybrid.grid(team.group, team.device, data=2, **{axis: 2}) for axis in ("tensor", "pipeline", "shards")
    )
    return {
        "data x tensor": partial(hybrid.data_tensor, workers=tensor),
        "data x sequence": partial(hybrid.data_tensor, workers=tensor, sequence=True),
        "data x pipeline": partial(hybrid.data_pipeline, workers=pipeline, micro_batches=2),
        "HSDP": partial(hybrid.hsdp, group=team.group, workers=shards),
    }
