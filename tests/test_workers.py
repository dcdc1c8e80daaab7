"""Processes over torch.distributed: their groups, their messages, and the one way out."""

from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("torch")
import torch
import torch.distributed as dist

from parlab import workers

if TYPE_CHECKING:
    from parlab.workers import Workers


@pytest.mark.workers(3)
def test_a_team_arrives_agrees_and_speaks(team: "Workers") -> None:
    team.barrier()
    assert team.slowest(np.array([team.rank, -team.rank], float)).tolist() == [2, 0]
    assert team.words("mine" if team.rank == 1 else None) == {1: "mine"}
    assert team.gathered(team.rank) == [0, 1, 2]


@pytest.mark.workers(4)
def test_the_groups_of_a_curve_hold_the_first_workers(team: "Workers") -> None:
    seen = []
    for part in workers.curve(team, [1, 2, 4]):
        total = torch.ones(1)
        dist.all_reduce(total, group=part.group)
        seen.append((part.rank, part.size, int(total)))
    assert seen == [(team.rank, size, size) for size in (1, 2, 4) if team.rank < size]
