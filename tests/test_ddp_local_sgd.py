"""Local SGD with H = 1 is data parallel; with any H it and DiLoCo are what so many single processes do, and the bytes fall as 1 / H."""

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("torch")
import torch
from torch import Tensor

from parlab.ddp import corpus, models, wire
from parlab.ddp.local_sgd import DiLoCo, LocalSGD
from parlab.ddp.training import Recipe, Single, differs, share

if TYPE_CHECKING:
    from parlab.workers import Workers

BATCH = 7  # which 2 workers cannot share evenly


def network(tied: bool = False) -> models.Chain:
    model = models.gpt(replace(models.TINY, depth=2, tied=tied))
    for p in model.layers[1].parameters():
        p.requires_grad = not tied
    return model


def images(step: int) -> tuple[Tensor, Tensor]:
    return corpus.images(step, BATCH)


def passages(step: int) -> tuple[Tensor, Tensor]:
    return corpus.passages(step, BATCH, 16, vocabulary=64)


class Forgetful(LocalSGD):
    """A mutant: takes the gradient's part for the whole."""

    def sum_gradients(self) -> None:
        pass


@pytest.mark.workers(2)
def test_meeting_after_every_step_of_plain_sgd_is_the_single_process(team: "Workers") -> None:
    for tied in (False, True):
        local, single = LocalSGD(network(tied), Recipe(), team.group, every=1), Single(network(tied), Recipe())
        mutant = Forgetful(network(tied), Recipe(), team.group, every=1)
        for step in range(20):
            part, loss = local.step(*passages(step)), single.step(*passages(step))
            mutant.step(*passages(step))
            assert sum(team.gathered(part.item())) == pytest.approx(loss.item(), rel=1e-5)
        assert differs(local.weights(), single.weights()) is None
        assert differs(mutant.weights(), single.weights()) is not None


class Alone(Single):
    """One of the workers, its share of a batch taken for as many as there are shares."""

    def __init__(self, recipe: Recipe, rank: int, size: int) -> None:
        super().__init__(models.mlp(width=32, depth=2), recipe)
        self.mine = rank, size

    def step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        part = self.recipe.loss(self.model, share(inputs, *self.mine), share(targets, *self.mine), targets.numel())
        (part * self.mine[1]).backward()
        self.optimizer.step()
        return part.detach()


def mean(alone: list[Alone]) -> dict[str, Tensor]:
    weights = [one.weights() for one in alone]
    return {name: torch.stack([w[name] for w in weights]).mean(0) for name in weights[0]}


@pytest.mark.workers(2)
def test_both_are_what_single_processes_do_that_meet_now_and_then(team: "Workers") -> None:
    """DiLoCo's outer step is written out by its paper's algorithm 1, Nesterov's momentum as PyTorch defines it."""
    recipe, every = Recipe("adamw", rate=1e-3), 4
    local = LocalSGD(models.mlp(width=32, depth=2), recipe, team.group, every=every)
    diloco = DiLoCo(models.mlp(width=32, depth=2), recipe, team.group, every=every)
    averaging, following = ([Alone(recipe, rank, 2) for rank in range(2)] for _ in "ab")
    start = following[0].weights()
    momentum = {name: torch.zeros_like(value) for name, value in start.items()}
    for step in range(1, 19):
        for mode in (local, diloco):
            mode.step(*images(step))
        for one in (*averaging, *following):
            one.step(*images(step))
        if step % every == 0:
            there = mean(following)
            for name in start:
                gradient = start[name] - there[name]
                momentum[name] = 0.9 * momentum[name] + gradient
                start[name] -= 0.7 * (gradient + 0.9 * momentum[name])
            for workers, weights in ((averaging, mean(averaging)), (following, start)):
                for one in workers:
                    one.model.load_state_dict(weights)
    assert step % every != 0  # the workers have gone apart again: weights() is their average
    assert differs(local.weights(), mean(averaging)) is None
    assert differs(diloco.weights(), mean(following)) is None
    assert differs(local.weights(), diloco.weights()) is not None


@pytest.mark.workers(2)
def test_outer_steps_without_momentum_and_of_length_one_are_local_sgd(team: "Workers") -> None:
    diloco = DiLoCo(network(), Recipe(), team.group, every=3, outer_rate=1.0, momentum=0.0)
    local = LocalSGD(network(), Recipe(), team.group, every=3)
    for step in range(6):
        for trainer in (diloco, local):
            trainer.step(*passages(step))
    assert differs(diloco.weights(), local.weights()) is None


@pytest.mark.workers(2)
def test_bytes_fall_as_one_over_h_and_frozen_parameters_stay_at_home(team: "Workers") -> None:
    for make in (LocalSGD, DiLoCo):
        for every in (1, 4, 16):
            trainer = make(network(tied=True), Recipe(), team.group, every=every)
            with wire.Calls() as calls:
                for step in range(16):
                    trainer.step(*passages(step))
            trained = 4 * sum(p.numel() for p in trainer.trained)
            assert calls.total == 16 / every * wire.ring_all_reduce(2, trained)
    plain, outer = LocalSGD(network(), Recipe(), team.group, every=2).held(), trainer.held()
    assert plain.optimizer == 0
    assert outer.optimizer == 3 * trained  # the start, the outer gradient, the momentum


@pytest.mark.workers(1)
def test_what_cannot_be_is_refused(team: "Workers") -> None:
    with pytest.raises(ValueError, match="clip=None"):
        LocalSGD(network(), Recipe(clip=1.0), team.group, every=2)
    with pytest.raises(ValueError, match="not every 0"):
        DiLoCo(network(), Recipe(), team.group, every=0)
