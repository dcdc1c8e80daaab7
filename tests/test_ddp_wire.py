"""Bytes on the wire: the kernel's count is the law's within 1 %, the program's exactly; also of torch's own wrappers."""

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("torch")
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from parlab.ddp import corpus, models, wire

if TYPE_CHECKING:
    from parlab.workers import Workers

N = 2**18  # float32: 1 MiB


@pytest.mark.workers(2)
def test_two_counts_of_an_all_reduce(team: "Workers") -> None:
    check_all_reduce(team)


@pytest.mark.workers(4)
def test_four_counts_of_an_all_reduce(team: "Workers") -> None:
    check_all_reduce(team)


def check_all_reduce(team: "Workers") -> None:
    x = torch.ones(N)
    team.barrier()
    before = wire.sent()
    with wire.Calls() as calls:
        dist.all_reduce(x, group=team.group)
    team.barrier()  # what was sent has arrived
    law = wire.ring_all_reduce(team.size, x.nbytes)
    assert calls.calls == {"all-reduce": 1}
    assert calls.total == law
    assert wire.sent() - before == pytest.approx(law, rel=0.01)


@pytest.mark.workers(2)
def test_gathers_scatters_and_messages_are_counted_by_their_laws(team: "Workers") -> None:
    whole, part = torch.ones(N), torch.ones(N // 2)
    with wire.Calls() as calls:
        dist.all_gather(list(whole.chunk(2)), part)
        dist.reduce_scatter(part, list(whole.chunk(2)))
        if team.rank == 0:
            dist.send(part, 1)
        else:
            dist.recv(part, 0)
    expected = {"all-gather": whole.nbytes / 2, "reduce-scatter": whole.nbytes / 2}
    assert calls.bytes == expected | ({"send": part.nbytes} if team.rank == 0 else {})


@pytest.mark.workers(2)
def test_the_all_reduces_of_torchs_wrapper_are_seen(team: "Workers") -> None:
    model = models.gpt(models.TINY)
    wrapped = DistributedDataParallel(model)
    inputs, targets = corpus.passages(0, 4, 16, vocabulary=64)
    with wire.Calls() as calls:
        wrapped(inputs, targets).backward()
    assert calls.bytes["all-reduce"] == wire.ring_all_reduce(2, 4 * models.TINY.parameters)
