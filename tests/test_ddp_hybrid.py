"""Grids of workers: who is on a line with whom, what is refused, and what two kinds of parallel at once send."""

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("torch")
import torch.distributed as dist

from parlab import workers
from parlab.ddp import corpus, hybrid, models, wire
from parlab.ddp.tensor_parallel import sent_per_step
from parlab.ddp.training import Recipe

if TYPE_CHECKING:
    from parlab.workers import Workers

WIDE = models.Shape(width=256, depth=1, heads=4, vocabulary=64, context=128)


@pytest.mark.workers(4)
def test_neighbours_share_the_network_and_a_wrong_product_is_refused(team: "Workers") -> None:
    for part in workers.curve(
        team, [2, 4]
    ):  # a group of some of the workers has grids too, and those of the next do not meet them
        with pytest.raises(ValueError, match=f"{part.size} workers are no grid of 3 x 2: take"):
            hybrid.grid(part.group, part.device, data=3, tensor=2)
        grid = hybrid.grid(part.group, part.device, data=part.size // 2, tensor=2)
        lines = [dist.get_process_group_ranks(grid.get_group(axis)) for axis in ("data", "tensor")]
        first = team.rank // 2 * 2
        assert lines == [list(range(team.rank % 2, part.size, 2)), [first, first + 1]]
        trainer = hybrid.data_tensor(models.gpt(models.TINY), Recipe(), grid)
        trainer.step(*corpus.passages(0, 4, 16, 64))


@pytest.mark.workers(4)
def test_two_kinds_of_parallel_send_the_bytes_of_both(team: "Workers") -> None:
    batch = corpus.passages(0, 8, WIDE.context, WIDE.vocabulary)
    grid = hybrid.grid(team.group, team.device, data=2, tensor=2)
    trainer = hybrid.data_tensor(models.gpt(WIDE), Recipe(), grid)
    team.barrier()
    before = wire.sent()
    with wire.Calls() as calls:
        trainer.step(*batch)
    team.barrier()
    gradients = wire.ring_all_reduce(2, trainer.held().gradients)  # of a half of the network, with one other worker
    assert calls.total == sent_per_step(WIDE, 4, 2) + gradients  # a half of the batch
    assert wire.sent() - before == pytest.approx(calls.total, rel=0.01)

    with pytest.raises(ValueError, match="1 rows cannot be cut into 2 shares"):
        trainer.step(*(part[:1] for part in batch))
