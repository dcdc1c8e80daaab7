"""Tensor parallel: pieces join to the whole, exchanges are each other's transpose, bytes and memory are the law's, misfits are refused."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("torch")
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st

from parlab.ddp import corpus, models, regions, wire
from parlab.ddp.regions import Region
from parlab.ddp.tensor_by_torch import DTensorParallel
from parlab.ddp.tensor_layers import cut
from parlab.ddp.tensor_parallel import TensorParallel, sent_per_step
from parlab.ddp.training import Recipe, Single, differs

if TYPE_CHECKING:
    from parlab.workers import Workers

WIDE = models.Shape(
    width=256, depth=1, heads=4, vocabulary=64, context=128
)  # messages of 1 MiB: what gloo adds is small


class Place:
    """A worker of a group in which nobody speaks."""

    def __init__(self, rank: int, size: int) -> None:
        self.at, self.of = rank, size

    def rank(self) -> int:
        return self.at

    def size(self) -> int:
        return self.of


def region(rank: int, size: int, sequence: bool = False) -> Region:
    group: Any = Place(rank, size)
    return Region(group, sequence)


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.integers(0, 1))
def test_pieces_join_to_the_whole(size: int, each: int, parts: int, dim: int) -> None:
    whole = torch.arange(parts * size * each * 2).view(-1, 2).float()
    whole = whole if dim == 0 else whole.T
    pieces = [region(rank, size).piece(whole, dim, parts).detach() for rank in range(size)]
    assert all(piece.shape[dim] == parts * each for piece in pieces)
    assert regions.joined(pieces, dim, parts).equal(whole)


def test_what_cannot_be_shared_is_refused_with_the_numbers_that_can() -> None:
    def refused(model: models.Chain, size: int, sequence: bool = False) -> str:
        before = [weight.shape for weight in model.parameters()]
        with pytest.raises(ValueError, match="take") as caught:
            cut(model, region(0, size, sequence))
        assert [weight.shape for weight in model.parameters()] == before
        return str(caught.value)

    gpt, odd = models.gpt(models.TINY), models.gpt(replace(models.TINY, vocabulary=63))
    assert refused(gpt, 3) == "64 tokens of vocabulary and 4 heads cannot be shared by 3 workers: take 1, 2 or 4"
    assert refused(gpt, 8) == "4 heads cannot be shared by 8 workers: take 1, 2 or 4"
    assert refused(odd, 2) == "63 tokens of vocabulary cannot be shared by 2 workers: take 1"
    assert refused(models.mlp(), 4) == "10 classes cannot be shared by 4 workers: take 1, 2, 5 or 10"
    assert "sequence=False, or a GPT" in refused(models.mlp(), 2, sequence=True)
    model = models.gpt(models.TINY)
    cut(model, region(0, 2, sequence=True))
    with pytest.raises(ValueError, match="a sequence of 15 cannot be cut into 2 equal slices: take 14 or 16"):
        model(torch.zeros(1, 15, dtype=torch.long))


def check_bytes(team: "Workers") -> None:
    batch = corpus.passages(0, 8, WIDE.context, WIDE.vocabulary)
    for sequence in (False, True):
        trainer = TensorParallel(models.gpt(WIDE), Recipe(), team.group, sequence)
        law = sent_per_step(WIDE, 8, team.size, sequence)
        team.barrier()
        before = wire.sent()
        with wire.Calls() as calls:
            trainer.step(*batch)
        team.barrier()
        assert calls.total == law
        assert wire.sent() - before == pytest.approx(law, rel=0.01)
        exchanged = 4 * WIDE.depth + 2  # all-reduces; and two in the loss
        a_ring = team.size - 1  # messages of each worker in our reduce-scatter, which is what there is on a CPU
        expected = (
            {"send": exchanged * a_ring, "all-gather": exchanged, "all-reduce": 3}
            if sequence
            else {"all-reduce": exchanged + 2}
        )
        assert calls.calls == expected


@pytest.mark.workers(2)
def test_two_workers_send_what_the_law_says(team: "Workers") -> None:
    check_bytes(team)
    trainer = DTensorParallel(models.gpt(WIDE), Recipe(), team.group)  # the library's sends as much
    batch = corpus.passages(0, 8, WIDE.context, WIDE.vocabulary)
    team.barrier()
    before = wire.sent()
    trainer.step(*batch)
    team.barrier()
    assert wire.sent() - before == pytest.approx(sent_per_step(WIDE, 8, 2), rel=0.01)

    halved = TensorParallel(models.gpt(WIDE), Recipe(autocast=True), team.group)  # with autocast half of that
    with wire.Calls() as calls:
        halved.step(*batch)
    embedding = wire.ring_all_reduce(2, 8 * WIDE.context * WIDE.width * 2)  # but its vectors stay in float32
    assert calls.total == sent_per_step(WIDE, 8, 2, itemsize=2) + embedding


@pytest.mark.workers(4)
def test_four_workers_send_what_the_law_says_and_exchanges_are_each_others_transpose(team: "Workers") -> None:
    check_bytes(team)
    slices, wholes = torch.randn(2, 2, 5, 3).unbind(), torch.randn(2, 2, 20, 3).unbind()
    for x, y in zip(slices, wholes, strict=True):
        sides = torch.stack(
            [(regions.all_gather(x, team.group) * y).sum(), (x * regions.reduce_scatter(y, team.group)).sum()]
        )
        dist.all_reduce(sides, group=team.group)
        assert sides[0].item() == pytest.approx(sides[1].item(), abs=1e-4)
    leaf = slices[0].clone().requires_grad_()
    Region(team.group, sequence=True).enter(leaf).mul(wholes[0]).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.equal(regions.reduce_scatter(wholes[0], team.group))


@pytest.mark.workers(2)
def test_each_worker_holds_its_part_and_knows_its_part_of_the_scores(team: "Workers") -> None:
    shape, (tokens, targets) = models.TINY, corpus.passages(0, 2, 16, 64)
    trainer = TensorParallel(models.gpt(shape), Recipe("adamw", 1e-3), team.group)
    scores = torch.cat(team.gathered(trainer.model(tokens).detach()), dim=-1)
    torch.testing.assert_close(scores, models.gpt(shape)(tokens))

    trainer.step(tokens, targets)
    whole = (shape.depth * 6 + 2 + shape.context) * shape.width  # norms, biases behind a sum, positions
    mine = (shape.parameters - whole) // 2 + whole
    held = trainer.held()
    assert (held.parameters, held.gradients, held.optimizer) == (4 * mine, 4 * mine, 8 * mine)

    losses = []
    for several in (False, True):  # scores that are too large to be exponents
        model = models.gpt(shape)
        torch.nn.init.constant_(model.get_parameter("layers.5.norm.weight"), 1e5)
        whole_or_cut = TensorParallel(model, Recipe(), team.group).model if several else model
        losses.append(whole_or_cut(tokens, targets).item())
    assert losses[0] > 1e5
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)

    for kind in ("norm", "up.weight"):  # trained alone: what is whole on every worker, and what is cut

        def some(kind: str = kind) -> models.Chain:
            model = models.gpt(shape)
            for name, weight in model.named_parameters():
                weight.requires_grad = kind in name
            return model

        single, several_workers = (
            Single(some(), Recipe(clip=0.1)),
            TensorParallel(some(), Recipe(clip=0.1), team.group, True),
        )
        for step in range(3):
            single.step(*corpus.passages(step, 4, 16, 64))
            several_workers.step(*corpus.passages(step, 4, 16, 64))
        assert differs(several_workers.weights(), single.weights()) is None
