"""Our rings give what the library's collectives give, for parts of any lengths and types, and send what the law says, no more."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("torch")
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from parlab.ddp import rings, wire

if TYPE_CHECKING:
    from parlab.workers import Workers

TYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.int64, torch.uint8]


@pytest.mark.workers(2)
def test_two_workers(team: "Workers") -> None:
    check_rings(team)


@pytest.mark.workers(3)
def test_three_workers(team: "Workers") -> None:
    check_rings(team)


@pytest.mark.workers(4)
def test_four_workers(team: "Workers") -> None:
    check_rings(team)


@pytest.mark.workers(1)
def test_one_worker_keeps_what_it_has(team: "Workers") -> None:
    check_rings(team)


def check_rings(team: "Workers") -> None:
    @settings(derandomize=True, deadline=None, database=None, max_examples=25)
    @given(st.lists(st.integers(0, 40), min_size=team.size, max_size=team.size), st.sampled_from(TYPES))
    def holds(lengths: list[int], dtype: torch.dtype) -> None:
        all_have = [numbers(sum(lengths), dtype, rank) for rank in range(team.size)]
        mine, total = all_have[team.rank], torch.stack(all_have).sum(0, dtype=dtype)
        parts = mine.split(lengths)
        out = torch.empty_like(parts[team.rank])
        rings.reduce_scatter(out, parts, team.group)
        assert torch.equal(out, total.split(lengths)[team.rank])
        assert torch.equal(mine, numbers(sum(lengths), dtype, team.rank))  # the inputs are as they were
        whole = torch.zeros_like(mine)
        rings.all_gather(whole.split(lengths), out, team.group)
        assert torch.equal(whole, total)
        shaped = mine.clone().view(1, -1)
        rings.all_reduce(shaped, team.group)
        assert torch.equal(shaped[0], total)

    holds()
    check_against_the_library(team)
    check_bytes(team)


def numbers(n: int, dtype: torch.dtype, rank: int) -> Tensor:
    """Small whole numbers: their sums are exact in every type, in any order."""
    return torch.randint(0, 20, (n,), generator=torch.Generator().manual_seed(rank + 7 * n)).to(dtype)


def check_against_the_library(team: "Workers") -> None:
    x = torch.randn(team.size * 1000, generator=torch.Generator().manual_seed(team.rank))
    out, wanted = torch.empty(1000), torch.empty(1000)
    rings.reduce_scatter(out, x.chunk(team.size), team.group)
    dist.reduce_scatter(wanted, list(x.chunk(team.size)), group=team.group)
    torch.testing.assert_close(out, wanted, rtol=0, atol=1e-5)
    whole, other = torch.empty_like(x), [torch.empty(1000) for _ in range(team.size)]
    rings.all_gather(whole.chunk(team.size), out, team.group)
    dist.all_gather(other, out, group=team.group)
    assert torch.equal(whole, torch.cat(other))


def check_bytes(team: "Workers") -> None:
    x = torch.ones(2**18 + 5)  # 1 MiB, and a rest that does not divide
    parts, p = x.tensor_split(team.size), team.size
    out = torch.empty_like(parts[team.rank])
    ways: dict[Callable[[], None], float] = {
        lambda: rings.reduce_scatter(out, parts, team.group): wire.ring_half(p, x.nbytes),
        lambda: rings.all_gather(parts, out, team.group): wire.ring_half(p, x.nbytes),
        lambda: rings.all_reduce(x, team.group): wire.ring_all_reduce(p, x.nbytes),
    }
    for run, law in ways.items():
        team.barrier()
        before = wire.sent()
        with wire.Calls() as calls:
            run()
        team.barrier()
        assert calls.total == pytest.approx(law, abs=2 * x.itemsize)  # a worker's parts may be one number longer
        if p > 1:
            assert wire.sent() - before == pytest.approx(law, rel=0.01)


@pytest.mark.workers(2)
def test_gloos_reduce_scatter_sends_twice_as_much(team: "Workers") -> None:
    x, out = torch.ones(2**18), torch.empty(2**17)
    team.barrier()
    before = wire.sent()
    dist.reduce_scatter(out, list(x.chunk(2)), group=team.group)
    team.barrier()
    assert wire.sent() - before == pytest.approx(2 * wire.ring_half(2, x.nbytes), rel=0.01)


@pytest.mark.workers(2)
def test_the_checks_see_a_sum_that_lacks_a_part(team: "Workers", monkeypatch: pytest.MonkeyPatch) -> None:
    right = rings.reduce_scatter

    def lossy(out: Tensor, parts: Sequence[Tensor], group: dist.ProcessGroup) -> None:
        right(out, parts, group)
        out.sub_(parts[group.rank()])

    monkeypatch.setattr(rings, "reduce_scatter", lossy)
    with pytest.raises(AssertionError):
        check_against_the_library(team)


@pytest.mark.gpu(2)
@pytest.mark.workers(2)
def test_the_rings_run_over_nccl(team: "Workers", gpu: None) -> None:
    for n in (0, 1, 2, 1001, 2**20):
        for dtype in (torch.float32, torch.bfloat16, torch.int64):
            x = numbers(n, dtype, team.rank).to(team.device)
            total = numbers(n, dtype, 0) + numbers(n, dtype, 1)
            out = torch.empty_like(x.tensor_split(2)[team.rank])
            rings.reduce_scatter(out, x.tensor_split(2), team.group)
            whole = torch.empty_like(x)
            rings.all_gather(whole.tensor_split(2), out, team.group)
            assert torch.equal(whole.cpu(), total)
            rings.all_reduce(x, team.group)
            assert torch.equal(x.cpu(), total)
