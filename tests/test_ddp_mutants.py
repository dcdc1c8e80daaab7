"""What a mode of training can get wrong, done wrong: the comparison with the single process finds it out."""

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("torch")
import torch.distributed as dist
from tests.parity import GPT, Make, Variant, off, variant
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.nn import functional

from parlab.ddp import models, tensor_parallel
from parlab.ddp.data_parallel import Naive, Replica
from parlab.ddp.pipeline import Pipeline
from parlab.ddp.regions import Region
from parlab.ddp.sharded_by_torch import FSDP2
from parlab.ddp.stages import Stages
from parlab.ddp.tensor_layers import RowLinear
from parlab.ddp.tensor_parallel import TensorParallel
from parlab.ddp.training import Recipe, norm, squares

if TYPE_CHECKING:
    from parlab.workers import Workers


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
