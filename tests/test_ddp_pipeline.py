"""Every pipeline, by hand and by torch, equals the single process; what it keeps and sends is the law's; what is broken is named."""

import gc
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("torch")
import torch
import torch.distributed as dist
from torch import Tensor

from parlab.ddp import corpus, models, schedules, training, wire
from parlab.ddp.activations import Kept
from parlab.ddp.pipeline import Pipeline
from parlab.ddp.pipeline_by_torch import TorchPipeline
from parlab.ddp.schedules import Operation
from parlab.ddp.sleep_stages import sleepers
from parlab.ddp.training import Recipe, Single

if TYPE_CHECKING:
    from parlab.workers import Workers

SGD = Recipe()
CLIPPED = Recipe(clip=0.5)
TIED = replace(models.TINY, tied=True)
EIGHT = replace(TIED, depth=8)  # for four workers with two stages each
Make = Callable[..., models.Chain]


def text(*rows: int) -> list[tuple[Tensor, Tensor]]:
    """Batches with so many rows each."""
    return [corpus.passages(step, n, 16, vocabulary=64) for step, n in enumerate(rows)]


def unlike(
    team: "Workers", mode: Any, make: Make, recipe: Recipe, batches: Iterable[Any], tolerance: float = 1e-6
) -> str | None:
    """Train by a mode and alone; say where weights or losses differ."""
    alone, together = Single(make().to(team.device), recipe), mode(make().to(team.device), recipe, team.group)
    for inputs, targets in batches:
        inputs, targets = inputs.to(team.device), targets.to(team.device)
        wanted, part = alone.step(inputs, targets), together.step(inputs, targets)
        found = sum(team.gathered(part.item()))
        if abs(found - wanted.item()) > 1e-5:
            return f"the loss is {found}, not {wanted.item()}"
    return training.differs(together.weights(), alone.weights(), tolerance)


def modes(*kinds: tuple[str, int, int]) -> list[Any]:
    """Ours and torch's pipelines of these schedules, micro-batches and chunks."""
    ours = [partial(Pipeline, schedule=name, micro_batches=m, chunks=v) for name, m, v in kinds]
    return ours + [partial(TorchPipeline, schedule=n, micro_batches=m, chunks=v) for n, m, v in kinds if n != "naive"]


@pytest.mark.workers(2)
def test_two_stages_equal_the_single_process(team: "Workers") -> None:
    make = partial(models.gpt, TIED)
    for mode in modes(("naive", 2, 1), ("GPipe", 4, 1), ("1F1B", 2, 1), ("interleaved", 4, 2)):
        assert unlike(team, mode, make, CLIPPED, text(4, 8)) is None, mode
    uneven = partial(Pipeline, micro_batches=4)
    assert unlike(team, uneven, make, CLIPPED, text(9, 9, 6)) is None
    assert unlike(team, partial(uneven, cuts=[1]), make, Recipe("adamw", 1e-3), text(7, 5), 1e-5) is None
    digits = [corpus.images(step, 10) for step in range(3)]
    assert unlike(team, uneven, models.mlp, SGD, digits) is None


@pytest.mark.workers(4)
def test_four_stages_and_two_pipelines_equal_the_single_process(team: "Workers") -> None:
    for mode in modes(("naive", 3, 1), ("GPipe", 4, 1), ("1F1B", 8, 1), ("interleaved", 4, 2)):
        assert unlike(team, mode, partial(models.gpt, EIGHT), CLIPPED, text(8, 8)) is None, mode
    lines = [dist.new_group(ranks) for ranks in ([0, 1], [2, 3], [0, 2], [1, 3])]
    here, across = lines[team.rank // 2], lines[2 + team.rank % 2]

    def grid(model: models.Chain, recipe: Recipe, group: dist.ProcessGroup) -> Pipeline:
        return Pipeline(model, recipe, here, micro_batches=3, data=across)

    assert unlike(team, grid, partial(models.gpt, TIED), CLIPPED, text(8, 7, 6)) is None


def frozen(shape: models.Shape, *layers: int) -> models.Chain:
    """A network of which some layers are not trained."""
    model = models.gpt(shape)
    for i in layers:
        model.layers[i].requires_grad_(False)
    return model


@pytest.mark.workers(2)
def test_frozen_layers_are_left_as_they_are(team: "Workers") -> None:
    for mode in (partial(Pipeline, micro_batches=3), partial(TorchPipeline, micro_batches=3)):
        for layers in ((1, 4), (0, 1, 2), (3, 4, 5)):  # here and there, all of the first stage, all of the last
            assert unlike(team, mode, partial(frozen, models.TINY, *layers), CLIPPED, text(6, 6)) is None, layers


@pytest.mark.workers(1)
def test_one_worker_is_a_pipeline_too(team: "Workers") -> None:
    assert unlike(team, partial(Pipeline, micro_batches=3), partial(models.gpt, TIED), CLIPPED, text(6, 6)) is None


def most_kept(mode: Any, team: "Workers", rows: int) -> int:
    """The most bytes that this worker keeps for backward in a step; not in the first, which learns the shapes."""
    trainer = mode(models.gpt(models.TINY), SGD, team.group)
    inputs, targets = text(rows)[0]
    trainer.step(inputs, targets)
    with Kept(trainer.trained) as kept:
        trainer.step(inputs, targets)
    return kept.peak


@pytest.mark.workers(4)
def test_activations_kept_are_those_of_as_many_micro_batches_as_the_law_says(team: "Workers") -> None:
    kinds = modes(("naive", 4, 1), ("GPipe", 4, 1), ("1F1B", 4, 1), ("1F1B", 8, 1))
    one = most_kept(partial(Pipeline, micro_batches=1), team, 1)
    for mode in kinds:
        name, m = mode.keywords["schedule"], mode.keywords["micro_batches"]
        assert most_kept(mode, team, m) == one * schedules.live_law(name, 4, m, team.rank), mode


@pytest.mark.workers(2)
def test_bytes_sent_are_those_of_the_activations_and_their_gradients(team: "Workers") -> None:
    shape = replace(models.TINY, width=128)
    batch = 32 * 16 * shape.width * 4
    for mode in modes(("GPipe", 4, 1), ("1F1B", 4, 1), ("interleaved", 4, 2)):
        trainer = mode(models.gpt(shape), SGD, team.group)
        inputs, targets = text(32)[0]
        trainer.step(inputs, targets)  # the shapes are learnt
        team.barrier()
        before = wire.sent()
        with wire.Calls() as calls:
            trainer.step(inputs, targets)
        team.barrier()
        law = schedules.sent_per_step(trainer.count, batch)
        assert sum(team.gathered(calls.total)) == law
        assert sum(team.gathered(wire.sent() - before)) == pytest.approx(law, rel=0.01)


@pytest.mark.workers(2)
def test_a_worker_keeps_its_own_layers_alone(team: "Workers") -> None:
    trainer = Pipeline(models.gpt(models.TINY), Recipe("adamw"), team.group, micro_batches=2)
    trainer.step(*text(4)[0])
    gc.collect()
    alive = sum(x.nbytes for x in gc.get_objects() if isinstance(x, torch.nn.Parameter) and not x.is_meta)
    held = trainer.held()
    assert held.parameters == held.gradients == held.optimizer // 2 == alive
    assert sum(team.gathered(held.parameters)) == 4 * models.TINY.parameters


@pytest.mark.workers(2)
def test_a_wrong_order_of_backwards_shows_in_the_weights(team: "Workers") -> None:
    def mutant(*args: Any) -> Pipeline:
        trainer = Pipeline(*args, micro_batches=4, schedule="GPipe")
        if team.rank == 0:
            trainer.operations[-2:] = reversed(trainer.operations[-2:])
        return trainer

    assert "is off by" in (unlike(team, mutant, partial(models.gpt, models.TINY), SGD, text(8)) or "")


class Silent(Pipeline):
    """The first rank does not send the last micro-batch."""

    def send(self, operation: Operation, tensor: Tensor, stage: int) -> None:
        if operation != Operation("F", 3):
            super().send(operation, tensor, stage)


@pytest.mark.workers(2)
def test_a_missing_message_ends_in_bounded_time_and_names_the_operation_that_waited(team: "Workers") -> None:
    short = dist.new_group([0, 1], timeout=timedelta(seconds=0.5))
    trainer = Silent(models.gpt(models.TINY), SGD, short, micro_batches=4)
    waited = "rank 0 of the pipeline, B 3: " if team.rank == 0 else "rank 1 of the pipeline, F 3: "
    with pytest.raises(RuntimeError, match=waited):
        trainer.step(*text(8)[0])


@pytest.mark.workers(2)
def test_what_does_not_divide_is_refused_with_the_numbers_that_would(team: "Workers") -> None:
    model = models.gpt(replace(models.TINY, depth=3))
    for kind in (Pipeline, TorchPipeline):
        make = partial(kind, model, SGD, team.group)
        with pytest.raises(
            ValueError, match="3 layers cannot be cut into 2 equal stages: ask for 1, 3, or name the cuts"
        ):
            make(micro_batches=2)
        with pytest.raises(ValueError, match=r"cuts \[5\] of 5 layers into 2 stages: name 1 that rise, from 1 to 4"):
            make(micro_batches=2, cuts=[5])
        with pytest.raises(ValueError, match="3 micro-batches cannot be interleaved on 2 ranks: ask for 2 or 4"):
            make(micro_batches=3, schedule="interleaved", chunks=2)
        with pytest.raises(ValueError, match=r"(at most 2, or hand in 4 rows or more|hand in 4 or 8 rows)"):
            make(micro_batches=4, cuts=[2]).step(*text(2)[0])
    with pytest.raises(ValueError, match="9 rows are not 4 micro-batches of one size: hand in 8 or 12 rows"):
        TorchPipeline(model, SGD, team.group, micro_batches=4, cuts=[2]).step(*text(9)[0])
    with pytest.raises(ValueError, match="torch has no naive schedule: ask for GPipe, 1F1B, interleaved"):
        TorchPipeline(model, SGD, team.group, micro_batches=4, cuts=[2], schedule="naive")


@pytest.mark.workers(2)
def test_spans_follow_the_lists(team: "Workers") -> None:
    for kind in (Pipeline, TorchPipeline):
        noted: list[Operation] = []

        def span(operation: Operation) -> AbstractContextManager[None]:
            noted.append(operation)  # noqa: B023
            return nullcontext()

        trainer = kind(sleepers(4, 0, 0), SGD, team.group, micro_batches=4, schedule="interleaved", chunks=2, span=span)
        trainer.step(torch.ones(4, 4), torch.zeros(4, 4))
        assert noted == trainer.operations, kind
    batches = [(torch.ones(6, 4), torch.full((6, 4), 2.0))] * 3  # layers that sleep learn too
    assert unlike(team, partial(Pipeline, micro_batches=3), partial(sleepers, 2, 0.001, 0.002), SGD, batches) is None


@pytest.mark.gpu(2)
@pytest.mark.workers(2)
def test_two_gpus_equal_one(gpu: None, team: "Workers") -> None:
    kinds = modes(("naive", 2, 1), ("GPipe", 4, 1), ("1F1B", 4, 1), ("interleaved", 4, 2))
    for mode in [partial(Pipeline, micro_batches=1), *kinds]:
        assert unlike(team, mode, partial(models.gpt, TIED), CLIPPED, text(8, 8)) is None, mode
