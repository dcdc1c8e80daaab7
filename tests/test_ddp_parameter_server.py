"""A synchronous server is the single process; an asynchronous one is what its own record says, bit for bit."""

from collections.abc import Iterator
from dataclasses import replace
from math import inf
from time import sleep
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("torch")
import torch
from torch import Tensor, nn

from parlab.ddp import corpus, models
from parlab.ddp.pace import most_stale
from parlab.ddp.parameter_server import Arrival, ParameterServer
from parlab.ddp.replay import replay
from parlab.ddp.training import Recipe, Single, differs, nbytes

if TYPE_CHECKING:
    from parlab.workers import Workers

BATCH = 13  # which neither 2 nor 3 workers can share evenly


def network(tied: bool = False) -> models.Chain:
    model = models.gpt(replace(models.TINY, depth=2, tied=tied))
    for p in model.layers[1].parameters():
        p.requires_grad = not tied
    return model


def passages(step: int) -> tuple[Tensor, Tensor]:
    return corpus.passages(step, BATCH, 16, vocabulary=64)


@pytest.mark.workers(3)
def test_a_synchronous_server_is_the_single_process(team: "Workers") -> None:
    for tied, recipe in ((False, Recipe()), (True, Recipe(clip=0.5))):
        served, single = ParameterServer(network(tied), recipe, team.group), Single(network(tied), recipe)
        for step in range(20):
            part, loss = served.step(*passages(step)), single.step(*passages(step))
            assert sum(team.gathered(part.item())) == pytest.approx(loss.item(), rel=1e-5)
        assert differs(served.weights(), single.weights()) is None
        held, trained = served.held(), nbytes(single.trained)
        assert (held.parameters, held.gradients, held.optimizer) == (trained, trained, 0)


@pytest.mark.workers(3)
def test_several_rounds_in_one_call_are_as_many_steps(team: "Workers") -> None:
    """Of AdamW, on the MLP: the keys' biases of a GPT have no gradient but rounding errors, which AdamW makes large."""
    recipe = Recipe("adamw", rate=1e-3)
    served, single = (
        ParameterServer(models.mlp(width=32, depth=2), recipe, team.group),
        Single(models.mlp(width=32, depth=2), recipe),
    )
    for _ in range(2):
        served.run(20, lambda k: corpus.images(k, BATCH))
        for k in range(10):
            single.step(*corpus.images(k, BATCH))
        assert differs(served.weights(), single.weights()) is None


def uneven(team: "Workers", seed: int = 0) -> Iterator[float]:
    """The last worker is slow at first, then all are slow by turns: milliseconds."""
    for k in range(1000):
        yield 4.0 if team.rank == team.size - 1 and k < 3 else (k * team.rank + seed) % 3


@pytest.mark.workers(4)
def test_an_asynchronous_run_is_what_its_record_says_bit_for_bit(team: "Workers") -> None:
    for bound in (1, 3, inf):
        served = ParameterServer(models.mlp(width=16, depth=1), Recipe(rate=0.3), team.group, bound)
        resting = uneven(team)

        def images(k: int) -> tuple[Tensor, Tensor]:
            return corpus.images(k, 20)

        def slowly(k: int, resting: Iterator[float] = resting) -> tuple[Tensor, Tensor]:
            sleep(next(resting) / 1e3)
            return images(k)

        served.run(60, slowly)
        found = served.weights()
        if team.rank == 0:
            assert len(served.arrivals) == 60
            stale = [a.staleness for a in served.arrivals]
            assert 0 < sum(stale) / 60 <= 2  # workers - 1
            assert max(stale) <= most_stale(3, bound)
            assert differs(found, replayed(bound, served.arrivals), tolerance=0) is None
            # Mutant: a server that takes every gradient for fresh.
            fresh = [replace(a, version=a.met) for a in served.arrivals]
            assert differs(found, replayed(bound, fresh)) is not None
        else:
            assert all(begin <= end for begin, end in served.spans)
        theirs = team.gathered([a.worker for a in served.arrivals])[0]
        assert team.rank == 0 or 0 <= len(served.spans) - theirs.count(team.rank - 1) <= 1  # one may have come too late


def replayed(bound: float, arrivals: list[Arrival]) -> dict[str, Tensor]:
    model = models.mlp(width=16, depth=1)
    (*_, last) = replay(model, Recipe(rate=0.3), 3, bound, arrivals, lambda k: corpus.images(k, 20))
    assert isinstance(last, nn.Module)
    return {name: p.detach() for name, p in last.named_parameters()}


@pytest.mark.workers(2)
def test_a_run_can_be_followed_by_another_and_a_clock_stamps_it(team: "Workers") -> None:
    ticks = iter(range(1000))
    served = ParameterServer(models.mlp(width=32, depth=2), Recipe(), team.group, inf, clock=lambda: float(next(ticks)))
    for _ in range(2):
        served.run(5, lambda k: corpus.images(k, 8))
        assert [a.at for a in served.arrivals] == sorted(a.at for a in served.arrivals)
        assert len(served.arrivals) == (5 if team.rank == 0 else 0)
        assert len(served.spans) == (0 if team.rank == 0 else 5)  # with one worker nothing comes too late
    with pytest.raises(ValueError, match="no common step"):
        served.step(*corpus.images(0, 8))


@pytest.mark.workers(1)
def test_what_cannot_be_is_refused(team: "Workers") -> None:
    with pytest.raises(ValueError, match="2 processes at least, this is 1"):
        ParameterServer(models.mlp(width=32, depth=2), Recipe(), team.group)


@pytest.mark.workers(3)
def test_recipes_and_rounds_that_cannot_be_are_refused_before_anything_is_sent(team: "Workers") -> None:
    for recipe in (Recipe("adamw"), Recipe(clip=1.0)):
        with pytest.raises(ValueError, match="plain SGD without clipping"):
            ParameterServer(models.mlp(width=32, depth=2), recipe, team.group, bound=2)
    served = ParameterServer(models.mlp(width=32, depth=2), Recipe(), team.group)
    with pytest.raises(ValueError, match="5 gradients are no whole rounds of 2 workers"):
        served.run(5, lambda k: corpus.images(k, 8))
    with pytest.raises(ValueError, match="1 rows cannot be cut into 2 shares"):
        served.step(*corpus.images(0, 1))
    assert torch.isfinite(served.step(*corpus.images(0, 8)))
