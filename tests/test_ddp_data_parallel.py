"""Data parallel equals the single process, bit for bit the library where it should, and each classical mistake is found."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")
import torch
import torch.distributed as dist
from torch import Tensor, nn

from parlab import records
from parlab.ddp import corpus, exposed, models, wire
from parlab.ddp.buckets import Bucket, Wait, all_reduce, cut
from parlab.ddp.data_parallel import Bucketed, Flat, Naive, Replica, TorchDDP
from parlab.ddp.training import Recipe, Single, differs
from parlab.stats import median_interval

if TYPE_CHECKING:
    from parlab.workers import Workers

LAB = "data_parallel"
STEPS = 20
Small = partial(Bucketed, cap=16_000, first=5_000)  # several buckets of the tiny network
MODES: list[Callable[..., Replica]] = [Naive, Flat, Small, partial(TorchDDP, cap=16_000)]


def gpt(tied: bool = False, frozen: bool = False) -> nn.Module:
    model = models.gpt(models.Shape(width=32, depth=1, heads=4, vocabulary=64, context=16, tied=tied))
    if frozen:
        model.layers[0].requires_grad_(False)
        model.layers[1].norm1.requires_grad_(False)
    return model


VARIANTS: list[tuple[Callable[[], nn.Module], Recipe]] = [
    (partial(gpt, tied=True), Recipe(clip=0.5)),
    (partial(gpt, frozen=True), Recipe()),
    (partial(gpt, tied=True, frozen=True), Recipe(clip=0.5)),
]


def batches(least: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of at least so many rows, that seldom divide; the last is uneven too."""
    for step in range(STEPS):
        yield corpus.passages(step, least + (least // 2 if step == STEPS - 1 else step % 4), 16, vocabulary=64)


def train(mode: Replica | Single, least: int, **options: int) -> dict[str, Tensor]:
    for inputs, targets in batches(least):
        mode.step(inputs, targets, **options)
    return mode.weights()


def test_the_recipe_of_the_variants_clips() -> None:
    single = Single(gpt(), Recipe(clip=0.5))
    single.step(*next(batches(2)))
    assert torch.stack([p.grad.square().sum() for p in single.trained if p.grad is not None]).sum() == pytest.approx(
        0.25, rel=1e-4
    )


@pytest.mark.workers(2)
def test_two_equal_one(team: "Workers") -> None:
    for model, recipe in VARIANTS:
        equal_one(team, model, recipe)


@pytest.mark.workers(4)
def test_four_equal_one(team: "Workers") -> None:
    equal_one(team, *VARIANTS[-1])


def equal_one(team: "Workers", model: Callable[[], nn.Module], recipe: Recipe) -> None:
    wanted = train(Single(model(), recipe), team.size)
    for mode in MODES:
        trainer = mode(model(), recipe, team.group)
        assert differs(train(trainer, team.size), wanted) is None, (mode, model, recipe)
        same = team.gathered([w.sum().item() for w in trainer.weights().values()])
        assert same.count(same[0]) == team.size


@pytest.mark.workers(2)
def test_parts_and_losses_add_up_and_gradients_are_sent_once(team: "Workers") -> None:
    wanted = train(Single(gpt(), Recipe()), 6)
    for mode in MODES:
        assert differs(train(mode(gpt(), Recipe(), team.group), 6, parts=3), wanted) is None, mode
    each, once = TorchDDP(gpt(), Recipe(), team.group, each=True), Small(gpt(), Recipe(), team.group)
    assert differs(train(each, 6, parts=3), wanted) is None
    nbytes = wire.ring_all_reduce(2, sum(p.nbytes for p in each.trained))
    for trainer, times in ((once, 1), (each, 3)):
        with wire.Calls() as calls:
            trainer.step(*corpus.passages(0, 6, 16, vocabulary=64), parts=3)
        assert calls.bytes == {"all-reduce": times * nbytes}
    inputs, targets = corpus.passages(0, 5, 16, vocabulary=64)
    single = Single(gpt(), Recipe("adamw", 1e-3))
    loss = single.step(inputs, targets).item()
    for mode in MODES:
        whole = mode(gpt(), Recipe("adamw", 1e-3), team.group)
        assert sum(team.gathered(whole.step(inputs, targets).item())) == pytest.approx(loss, abs=1e-6)
        assert whole.held() == single.held()


@pytest.mark.workers(2)
def test_ours_is_the_librarys_bit_for_bit(team: "Workers") -> None:
    for recipe in (Recipe(), Recipe("adamw", 1e-3, clip=0.5)):
        for cap in (16_000, 10**9):
            ours = Bucketed(gpt(), recipe, team.group, cap=cap, first=cap)
            library = TorchDDP(gpt(), recipe, team.group, cap=cap)
            assert differs(train(ours, 2), train(library, 2), tolerance=0.0) is None
            told = library.wrapped._get_ddp_logging_data()["rebuilt_bucket_sizes"]
            assert len(ours.buckets) == len(told.split(",")), told


@pytest.mark.workers(2)
def test_what_does_not_fit_is_refused_before_anything_is_sent(team: "Workers") -> None:
    inputs, targets = corpus.passages(0, 3, 16, vocabulary=64)
    for mode in MODES:
        trainer = mode(gpt(), Recipe(), team.group)
        with wire.Calls() as calls, pytest.raises(ValueError, match=r"3 rows cannot .* 2 shares of 2 parts: hand in 4"):
            trainer.step(inputs, targets, parts=2)
        assert not calls.calls
    for other in (Flat, Bucketed):
        model = gpt()
        model.register_parameter("idle", nn.Parameter(torch.ones(3)))
        with pytest.raises(ValueError, match="no gradient: freeze"):
            other(model, Recipe(), team.group).step(inputs, targets)
    team.barrier()


def off(team: "Workers", trainer: Replica, model: Callable[[], nn.Module] = gpt) -> float:
    """Train, and return by how much the weights are off the single process'."""
    found, wanted = train(trainer, team.size), train(Single(model(), Recipe()), team.size)
    return max((found[name] - wanted[name]).abs().max().item() for name in wanted)


class SumsTheWeights(Bucketed):
    """The mistake of who takes the hook's argument for the gradient."""

    def _complete(self, number: int, place: int, parameter: Tensor) -> None:
        with torch.no_grad():
            dist.all_reduce(parameter.div_(self.size), group=self.group)


@pytest.mark.workers(2)
def test_the_classical_mistakes_are_found(team: "Workers") -> None:
    def averages(bucket: Bucket) -> Wait:
        bucket.flat.div_(team.size)
        return all_reduce(team.group)(bucket)

    assert off(team, Small(gpt(), Recipe(), team.group)) < 1e-6
    assert off(team, Small(gpt(), Recipe(), team.group, send=averages)) > 1e-3
    assert off(team, Small(gpt(), Recipe(), team.group, send=exposed.nothing)) > 1e-3
    weights = SumsTheWeights(gpt(), Recipe(), team.group)
    weights.sum_gradients = lambda: None  # type: ignore[method-assign]
    assert off(team, weights) > 1e-3


class Fork(nn.Module):
    """Two layers of one size side by side, whose gradients are complete in an order that differs from worker to worker."""

    def __init__(self, first: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.left, self.right = first, nn.Linear(16, 16, bias=False), nn.Linear(16, 16, bias=False)

    def forward(self, x: Tensor, targets: Tensor) -> Tensor:
        vectors = nn.functional.one_hot(x % 16, 16).float()
        branches = [self.left, self.right] if self.first == 0 else [self.right, self.left]
        first = branches[0](vectors)
        second = branches[1](vectors)
        return (torch.tanh(first) * torch.tanh(second)).sum() + targets.sum() * 0


class SendsWhatIsFull(Bucketed):
    """Does not let a full bucket wait for those before it."""

    def _complete(self, number: int, place: int, parameter: Tensor) -> None:
        self.buckets[number].claim(place)
        self.missing[number] -= 1
        if not self.missing[number]:
            self.sent.append(self.send(self.buckets[number]))


@pytest.mark.workers(2)
def test_buckets_go_in_one_order_though_they_fill_in_another(team: "Workers") -> None:
    orders = {}
    for mode in (Bucketed, SendsWhatIsFull):
        order: list[Bucket] = []

        def send(bucket: Bucket, order: list[Bucket] = order) -> Wait:
            order.append(bucket)
            return all_reduce(team.group)(bucket)

        trainer = mode(Fork(team.rank), Recipe(rate=0.01), team.group, cap=1, first=1, send=send)
        wanted = train(Single(Fork(0), Recipe(rate=0.01)), 2)
        found = differs(train(trainer, 2), wanted)
        orders[mode] = team.gathered([trainer.buckets.index(bucket) for bucket in order[:2]])
        assert (found is None) == (mode is Bucketed), found
    assert orders == {Bucketed: [[0, 1], [0, 1]], SendsWhatIsFull: [[0, 1], [1, 0]]}


@settings(derandomize=True, deadline=None, database=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.integers(0, 400), st.integers(0, 400))
def test_buckets_hold_every_parameter_once_the_last_first(sizes: list[int], cap: int, first: int) -> None:
    parameters = [torch.full((n,), float(i)) for i, n in enumerate(sizes)]
    buckets = list(cut(parameters, cap, first))
    assert [id(p) for b in buckets for p in b.parameters] == [id(p) for p in reversed(parameters)]
    for i, bucket in enumerate(buckets[:-1]):
        limit = cap if i else first
        assert bucket.flat.nbytes >= limit
        assert bucket.flat.nbytes - bucket.parameters[-1].nbytes < max(limit, 1)
    for bucket in buckets:
        assert bucket.flat.numel() == sum(v.numel() for v in bucket.views)
        assert all(v.untyped_storage().data_ptr() == bucket.flat.data_ptr() for v in bucket.views)


def test_late_waits_when_the_bucket_is_sent_again() -> None:
    seen, bucket = [], Bucket([torch.zeros(3)])

    def send(bucket: Bucket) -> Wait:
        seen.append("sent")
        return lambda: seen.append("awaited")

    late = exposed.Late(send)
    for _ in range(2):
        late(bucket)()
    assert seen == ["sent", "awaited", "sent"]
    late.close()
    assert seen[3:] == ["awaited"]


@pytest.mark.gpu(2)
@pytest.mark.workers(2)
def test_two_gpus_equal_one(gpu: None, team: "Workers") -> None:
    wanted = train_there(Single(gpt().to(team.device), Recipe()), team)
    for mode in (Naive, Flat, Small, TorchDDP):
        assert differs(train_there(mode(gpt().to(team.device), Recipe(), team.group), team), wanted) is None, mode
    copied = Small(gpt().to(team.device), Recipe(), team.group, send=exposed.Copied())
    assert differs(train_there(copied, team), wanted) is not None  # each worker's own gradients


def train_there(mode: Replica | Single, team: "Workers") -> dict[str, Tensor]:
    for inputs, targets in batches(team.size):
        mode.step(inputs.to(team.device), targets.to(team.device))
    return mode.weights()


def contrast(kind: str, times: dict[str, float], case: dict[str, str], noise: float = 0.002) -> list[records.Record]:
    """The measurements of a contrast, in seconds by way, with samples around them."""
    facts, how = {"MiB": 12.6, "calls": 2, "called / law": 1.0, "sent / law": 1.002}, {"oversubscribed": False}
    found: list[records.Record] = []
    for seed, (way, t) in enumerate(times.items()):
        samples = list(t * np.random.default_rng(seed).uniform(1 - noise, 1 + noise, 25))
        seconds = median_interval(samples)
        found.append(
            records.Measurement(LAB, {**case, "way": way}, 2, kind, seconds, samples, {}, True, how=how, facts=facts)
        )
    return found


STEP = {"serial": 1.0, "alone": 1.0, "sums only": 0.05, "bucketed": 1.02, "DDP": 1.02, "DDP again": 1.02}
CPU = {"scaling": "weak", "GPT": "3.31M", "a worker": "32 x 64 tokens"}


@pytest.mark.parametrize(
    ("changed", "noise", "says", "expected"),
    [
        ({}, 0.002, "times DDP's step", True),
        ({"bucketed": 1.2}, 0.002, "times DDP's step", False),
        ({"bucketed": 1.07}, 0.1, "times DDP's step", None),
        ({}, 0.002, "weak efficiency", True),
        ({"bucketed": 1.2}, 0.002, "weak efficiency", False),
        ({"bucketed": 1.2, "alone": 1.15}, 0.002, "weak efficiency", None),  # the machine's doing
        ({}, 0.002, "strong", True),
        ({"bucketed, batch kept": 0.7}, 0.002, "strong", False),
        ({}, 0.002, "by the kernel's count", True),
    ],
)
def test_the_judge_of_steps(
    judged: Callable[[Sequence[records.Record]], list[tuple[str, bool | None]]],
    changed: dict[str, float],
    noise: float,
    says: str,
    expected: bool | None,
) -> None:
    times = {**STEP, **changed}
    kept = times.pop("bucketed, batch kept", 0.52)
    found = contrast("processes", times, CPU, noise)
    found += contrast(
        "processes", {"bucketed": kept}, {**CPU, "scaling": "strong", "a worker": "16 x 64 tokens"}, noise
    )
    assert [holds for sentence, holds in judged(found) if says in sentence] == [expected]


def test_the_judge_adds_up_what_a_step_costs_on_gpus(
    judged: Callable[[Sequence[records.Record]], list[tuple[str, bool | None]]],
) -> None:
    times = {**STEP, "alone": 1.001, "not sent": 1.004, "sent, late": 1.014, "bucketed": 1.019}
    found = contrast("GPUs", times, {**CPU, "GPT": "124M compiled by layer"}, 1e-4)
    (said,) = [(sentence, holds) for sentence, holds in judged(found) if "weak" in sentence]
    assert said[1] is True
    for part in ("ms beside others", "ms to fill", "ms slower", "ms of sums exposed"):
        assert part in said[0]


def test_the_judge_holds_overlap_against_sleep_as_it_was(
    judged: Callable[[Sequence[records.Record]], list[tuple[str, bool | None]]],
) -> None:
    """Without a link the step takes 1.02, of which backward is two thirds; the link takes 0.6."""
    case = {"layers": "asleep", "link": "emulated"}
    for times, noise, asked, expected in (
        ({1: 1.62, 4: 1.17}, 1e-3, 1.0, True),
        ({1: 1.62, 4: 1.40}, 1e-3, 1.0, False),
        ({1: 1.62, 4: 1.40}, 1e-3, 0.9, None),  # the machine woke late
        ({1: 1.62, 4: 1.17}, 0.3, 1.0, None),
    ):
        found = [
            replace(m, case={**m.case, "buckets": n}, facts={"seconds asleep": asked, "seconds on the link": 0.6})
            for n, way, t in [(1, "not sent", 1.02), *((n, "bucketed", t) for n, t in times.items())]
            for m in contrast("processes", {way: t}, case, noise)
            if isinstance(m, records.Measurement)
        ]
        assert [holds for sentence, holds in judged(found) if "emulated link" in sentence] == [expected]


def test_the_judge_holds_nccl_against_its_own_test(
    judged: Callable[[Sequence[records.Record]], list[tuple[str, bool | None]]],
) -> None:
    for rate, expected in ((295e9, True), (280e9, False)):
        found = []
        for size in (2**12, 2**28):
            (m,) = contrast("GPUs", {"NCCL": size / rate}, {"sums": "float32"})
            assert isinstance(m, records.Measurement)
            found.append(replace(m, case={**m.case, "bytes": size}, work={"bytes": size}))
        assert [holds for sentence, holds in judged(found) if "NCCL" in sentence] == [expected]


def test_the_judge_finds_bytes_that_are_not_the_laws(
    judged: Callable[[Sequence[records.Record]], list[tuple[str, bool | None]]],
) -> None:
    for fact, value in (("sent / law", 1.02), ("called / law", 1.001)):
        found = contrast("processes", STEP, CPU)
        assert isinstance(found[3], records.Measurement)
        found[3].facts[fact] = value  # the same facts for all
        assert [holds for sentence, holds in judged(found) if "kernel's count" in sentence] == [False]
