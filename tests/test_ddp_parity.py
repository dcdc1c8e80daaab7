"""The matrix: every synchronous lossless mode, in every variant, is the single process after 20 steps; and what is not, is found out."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("torch")
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.nn import functional

from parlab.ddp import corpus, hybrid, models, tensor_parallel
from parlab.ddp.data_parallel import Bucketed, Flat, Naive, Replica, TorchDDP
from parlab.ddp.local_sgd import DiLoCo, LocalSGD
from parlab.ddp.parameter_server import ParameterServer
from parlab.ddp.pipeline import Pipeline
from parlab.ddp.pipeline_by_torch import TorchPipeline
from parlab.ddp.regions import Region
from parlab.ddp.sharded import ZeRO1, ZeRO2, ZeRO3
from parlab.ddp.sharded_by_torch import FSDP2, TorchZeRO1
from parlab.ddp.stages import Stages
from parlab.ddp.tensor_by_torch import DTensorParallel
from parlab.ddp.tensor_layers import RowLinear
from parlab.ddp.tensor_parallel import TensorParallel
from parlab.ddp.training import Recipe, Single, Trainer, differs, norm, squares

if TYPE_CHECKING:
    from parlab.workers import Workers

STEPS, ROWS, TOLERANCE = 20, 8, 1e-6
Make = Callable[[models.Chain, Recipe], Trainer]


@dataclass(frozen=True)
class Variant:
    """What is trained and how. last: rows of the last batch. frozen: weights whose names contain one of these are not trained."""

    tied: bool = False
    last: int = ROWS
    frozen: tuple[str, ...] = ()
    clip: float | None = None
    digits: bool = False  # the MLP on images of digits, in place of the GPT
    adam: bool = (
        False  # not for the GPT: it blows up the rounding in gradients that are zero, as those of key biases are
    )

    @property
    def recipe(self) -> Recipe:
        """How it is trained."""
        return Recipe("adamw", 1e-4, self.clip) if self.adam else Recipe("sgd", 0.01 if self.digits else 0.1, self.clip)

    def model(self, device: torch.device) -> models.Chain:
        """Return the network before the first step, on this device."""
        model = models.mlp() if self.digits else models.gpt(replace(models.TINY, tied=self.tied))
        for name, weight in model.named_parameters():
            weight.requires_grad = not any(part in name for part in self.frozen)
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
    "clipped": {
        "clip": 1.5
    },  # gradients of half of the steps: one that is cut always, as Adam's step, would hide a wrong scale
    "digits": {"digits": True},
    "adam": {"adam": True},
}


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


def data_modes(group: dist.ProcessGroup) -> dict[str, Make]:
    return {
        "naive": partial(Naive, group=group),
        "flat": partial(Flat, group=group),
        "bucketed": partial(Bucketed, group=group, cap=50_000, first=5_000),
        "DDP": partial(TorchDDP, group=group),
        "ZeRO-1": partial(ZeRO1, group=group),
        "ZeRO-2": partial(ZeRO2, group=group),
        "ZeRO-3": partial(ZeRO3, group=group),
        "FSDP2": partial(FSDP2, group=group),
        "FSDP2 kept": partial(FSDP2, group=group, reshard=False),
        "FSDP2 ring": partial(FSDP2, group=group, ring=True),
        "torch ZeRO-1": partial(TorchZeRO1, group=group),
        "local SGD": partial(LocalSGD, group=group, every=1),
        "DiLoCo": partial(DiLoCo, group=group, every=1, outer_rate=1.0, momentum=0.0),
        "server": partial(ParameterServer, group=group),
    }


def model_modes(group: dist.ProcessGroup) -> dict[str, Make]:
    pipeline = partial(Pipeline, group=group, micro_batches=4)
    by_torch = partial(TorchPipeline, group=group, micro_batches=4)
    return {
        "tensor": partial(TensorParallel, group=group),
        "sequence": partial(TensorParallel, group=group, sequence=True),
        "DTensor": partial(DTensorParallel, group=group),
        "naive pipeline": partial(pipeline, schedule="naive"),
        "GPipe": partial(pipeline, schedule="GPipe"),
        "1F1B": partial(pipeline, schedule="1F1B"),
        "interleaved": partial(pipeline, schedule="interleaved", chunks=2),
        "torch GPipe": partial(by_torch, schedule="GPipe"),
        "torch 1F1B": partial(by_torch, schedule="1F1B"),
        "torch interleaved": partial(by_torch, schedule="interleaved", chunks=2),
    }


def hybrid_modes(team: "Workers") -> dict[str, Make]:
    tensor, pipeline, shards = (
        hybrid.grid(team.group, team.device, data=2, **{axis: 2}) for axis in ("tensor", "pipeline", "shards")
    )
    return {
        "data x tensor": partial(hybrid.data_tensor, workers=tensor),
        "data x sequence": partial(hybrid.data_tensor, workers=tensor, sequence=True),
        "data x pipeline": partial(hybrid.data_pipeline, workers=pipeline, micro_batches=2),
        "HSDP": partial(hybrid.hsdp, group=team.group, workers=shards),
    }


# Two variants hold them all. What a mode refuses is left out, and refused by itself.
GPT = ("uneven", "frozen", "tied", "clipped")
MLP = ("uneven", "frozen", "digits", "adam")

# What a mode refuses, by a ValueError; all else must be right.
REFUSED = {
    "sequence": {"digits"},  # images are no sequences
    "data x sequence": {"digits"},
    "torch GPipe": {"uneven"},  # its micro-batches have one size
    "torch 1F1B": {"uneven"},
    "torch interleaved": {"uneven"},
    "local SGD": {"clipped"},  # nobody knows the norm of the global gradient
    "DiLoCo": {"clipped"},
}
REFUSED_BY_4 = REFUSED | {
    "tensor": {"digits"},  # 10 classes
    "DTensor": {"digits"},
    "interleaved": {"tied", "digits"},  # 4 layers in 8 stages
    "torch interleaved": {"tied", "digits"},
}
OTHER = {"local SGD": {"adam"}, "DiLoCo": {"adam"}}  # each worker's Adam keeps moments of its own: another algorithm


def failures(
    modes: dict[str, Make], variants: tuple[tuple[str, ...], ...], refused: dict[str, set[str]], team: "Workers"
) -> dict[tuple[str, str], str]:
    """Return where a mode differs from the single process, or does not refuse what it is listed to refuse."""
    found: dict[tuple[str, str], str] = {}
    for mode, make in modes.items():
        no = refused.get(mode, set())
        for features in variants:
            kept = [feature for feature in features if feature not in no | OTHER.get(mode, set())]
            network_refused = "digits" in no if "digits" in features else "tied" in no
            if not network_refused and (told := off(make, variant(*kept), team)):
                found[mode, " ".join(kept)] = told
        for feature in no:
            if not refuses(make, variant(feature), team):
                found[mode, feature] = "is not refused"
    return found


@pytest.mark.timeout(300)
@pytest.mark.workers(2, timeout=240)
def test_every_mode_of_two_workers_is_the_single_process(team: "Workers") -> None:
    assert failures(data_modes(team.group) | model_modes(team.group), (GPT, MLP), REFUSED, team) == {}


@pytest.mark.timeout(300)
@pytest.mark.workers(4, timeout=240)
def test_every_mode_of_four_workers_is_the_single_process(team: "Workers") -> None:
    modes = data_modes(team.group) | model_modes(team.group) | hybrid_modes(team)
    for same_class in ("FSDP2 kept", "FSDP2 ring", "naive pipeline", "GPipe", "torch GPipe"):
        del modes[same_class]
    assert failures(modes, (GPT,), REFUSED_BY_4, team) == {}


@pytest.mark.gpu(2)
@pytest.mark.workers(2)
def test_every_mode_of_two_gpus_is_the_single_process(gpu: None, team: "Workers") -> None:
    modes = data_modes(team.group) | model_modes(team.group)
    some = ("bucketed", "DDP", "ZeRO-3", "FSDP2", "tensor", "sequence", "DTensor", "1F1B", "torch 1F1B")
    assert failures({mode: modes[mode] for mode in some}, (GPT,), REFUSED, team) == {}


class Averaged(Naive):
    """Gradients of parts of a mean, averaged where they should be summed."""

    def sum_gradients(self) -> None:
        super().sum_gradients()
        for p in self.trained:
            if p.grad is not None:
                p.grad.mul_(1 / self.size)


class AveragedParameters(Naive):
    """Takes what a hook is handed for the gradient, as is easily done: it is the parameter."""

    def sum_gradients(self) -> None:
        for p in self.trained:
            dist.all_reduce(p.data, group=self.group)
            p.data /= self.size


class MeanOfMeans(Naive):
    """Each worker takes the mean of its share, and means are averaged: right only as long as shares are even."""

    def accumulate(self, inputs: Tensor, targets: Tensor, of: int, last: bool) -> Tensor:
        super().accumulate(inputs, targets, targets.numel() * self.size, last)
        return self.recipe.loss(self.model, inputs, targets, of).detach()


class ClippedApart(Naive):
    """Each worker cuts its own gradient to the norm, before they are summed."""

    def sum_gradients(self) -> None:
        gradients = [p.grad for p in self.trained if p.grad is not None]
        self.recipe.cut(gradients, lambda: norm(gradients))
        super().sum_gradients()


class Means(FSDP2):
    """FSDP2 as it comes: it averages."""

    def __init__(self, model: models.Chain, recipe: Recipe, group: dist.ProcessGroup) -> None:
        super().__init__(model, recipe, group)
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.set_gradient_divide_factor(group.size())


@pytest.mark.workers(2)
def test_mutants_of_data_parallel_are_found_out(team: "Workers") -> None:
    for mutant in (Replica, Averaged, AveragedParameters, Means):  # the first sums nothing at all
        assert off(partial(mutant, group=team.group), variant(*GPT), team), mutant
    for mutant, shown_by in ((MeanOfMeans, "uneven"), (ClippedApart, "clipped")):
        assert off(partial(mutant, group=team.group), Variant(), team) is None
        assert off(partial(mutant, group=team.group), variant(shown_by), team), mutant


@pytest.mark.workers(2)
def test_mutants_of_model_parallel_are_found_out(team: "Workers", monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = partial(TensorParallel, group=team.group)
    mutants: dict[str, tuple[Make, Variant, Any, str, Any]] = {
        "no all-reduce backward": (tensor, Variant(), Region, "enter", lambda region, x: x),
        "no all-reduce forward": (tensor, Variant(), Region, "leave", lambda region, x: x),
        "the bias added once a worker": (tensor, Variant(), RowLinear, "forward", biased),
        "whole weights counted twice": (tensor, variant("clipped"), tensor_parallel, "norm", counted_twice),
        "gradients of norms on slices not added up": (partial(tensor, sequence=True), Variant(), tensor_parallel, "add_up", nothing),
        "the loss of each worker's own tokens": (tensor, Variant(), Region, "summed", lambda region, x: x),
        "a tied weight whose gradients stay apart": (
            partial(Pipeline, group=team.group, micro_batches=4), variant("tied"), Stages, "_add_up_tied", nothing
        ),
    }  # fmt: skip
    for name, (make, shown_by, where, what, mutant) in mutants.items():
        with monkeypatch.context() as patched:
            patched.setattr(where, what, mutant)
            assert off(make, shown_by, team), name


def biased(layer: RowLinear, x: Tensor) -> Tensor:
    return layer.region.leave(functional.linear(x, layer.weight, layer.bias))


def counted_twice(pieces: list[Tensor], wholes: list[Tensor], group: dist.ProcessGroup) -> Tensor:
    total = squares(pieces + wholes)
    dist.all_reduce(total, group=group)
    return total.sqrt()


def nothing(*_: Any) -> None:
    pass
