"""What is sent less of is the law's, the same on all workers, and nothing is lost: it is kept and comes later."""

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("torch")
import torch

from parlab.ddp import corpus, models, wire
from parlab.ddp.buckets import Bucket
from parlab.ddp.data_parallel import Bucketed, Flat
from parlab.ddp.gradient_compression import Half, PowerSGD, TopK
from parlab.ddp.training import Recipe, Single, differs

if TYPE_CHECKING:
    from parlab.workers import Workers

SHAPES = [(40, 30), (7,), (6, 5, 4), (3, 2)]


def bucket() -> Bucket:
    return Bucket([torch.zeros(shape) for shape in SHAPES])


def over_workers(team: "Workers", x: torch.Tensor) -> torch.Tensor:
    return torch.stack(team.gathered(x.clone())).sum(0)


@pytest.mark.workers(4)
def test_what_is_left_out_is_kept_and_nothing_is_lost(team: "Workers") -> None:
    chance = torch.Generator().manual_seed(team.rank)
    for send in (TopK(team.group, 0.1), PowerSGD(team.group, 2)):
        used = bucket()
        before = torch.zeros(used.flat.shape)
        for _ in range(4):
            used.flat.copy_(torch.randn(used.flat.shape, generator=chance))
            owed = over_workers(team, used.flat + before)
            with wire.Calls() as calls:
                send(used)()
            assert calls.total == send.nbytes(used)
            results = team.gathered(used.flat.clone())
            assert all(torch.equal(result, results[0]) for result in results)
            before = send.left[used].flat.clone()
            assert before.abs().sum() > 1  # something was left out
            assert (used.flat + over_workers(team, before) - owed).abs().max() < 1e-5


@pytest.mark.workers(2)
def test_what_can_be_exact_is_and_rounding_is_to_eleven_bits(team: "Workers") -> None:
    used, half = bucket(), Half(team.group)
    gradients = torch.linspace(-3, 3, used.flat.numel()) * (team.rank + 1)
    exact = over_workers(team, gradients)
    used.flat.copy_(gradients)
    TopK(team.group, 1.0)(used)()
    assert torch.equal(used.flat, exact)
    used.flat.copy_(gradients)
    with wire.Calls() as calls:
        half(used)()
    assert calls.total == half.nbytes(used) == used.flat.nbytes / 2
    assert ((used.flat - exact).abs() <= 2 * 2**-11 * exact.abs() + 1e-7).all()
    low, power = Bucket([torch.zeros(40, 30)]), PowerSGD(team.group, 2)  # of rank 1: found in one step
    low.views[0].copy_(torch.outer(torch.arange(40.0), torch.linspace(1, 2, 30)) * (team.rank + 1))
    exact = over_workers(team, low.flat)
    power(low)()
    assert (low.flat - exact).abs().max() < 1e-5 * exact.abs().max()
    assert [power.thin(view) for view in bucket().views] == [True, False, True, False]


@pytest.mark.workers(2)
def test_training_by_them_learns_and_all_workers_agree(team: "Workers") -> None:
    shape = models.Shape(width=32, depth=1, heads=4, vocabulary=64, context=16)
    losses, least = {}, torch.inf
    for name, send in (
        ("exact", None),
        ("half", Half(team.group)),
        ("top-k", TopK(team.group, 0.05)),
        ("power", PowerSGD(team.group, 2)),
    ):
        trainer = Flat(models.gpt(shape), Recipe(rate=0.3), team.group, send=send)
        for step in range(21):
            loss = sum(team.gathered(trainer.step(*corpus.passages(step % 3, 8, 16, vocabulary=64)).item()))
            least = min(least, loss) if name == "exact" else least
        losses[name] = loss
        everywhere = team.gathered([w.double().sum().item() for w in trainer.weights().values()])
        assert everywhere[0] == everywhere[1]
    assert losses["exact"] == least < 4.0
    assert losses["half"] == pytest.approx(least, abs=1e-3)
    assert all(loss < least + 0.25 for loss in losses.values()), losses
    batch, single = corpus.passages(0, 5, 16, vocabulary=64), Single(models.gpt(shape), Recipe())
    single.step(*batch)
    for during in (Half(team.group), TopK(team.group, 1.0)):  # while backward goes on
        bucketed = Bucketed(models.gpt(shape), Recipe(), team.group, cap=16_000, first=5_000, send=during)
        bucketed.step(*batch)
        assert differs(bucketed.weights(), single.weights(), tolerance=1e-4) is None
