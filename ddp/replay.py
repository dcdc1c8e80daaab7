"""An asynchronous run done again, in one process: the order and the versions of its gradients determine every bit of its weights.

So what a parameter server says of staleness can be proven, and its loss be looked at, after the run and without disturbing it; and one
measured order can be replayed from other seeds.
"""

from collections.abc import Iterable, Iterator
from copy import deepcopy

import torch
from torch import nn

from parlab.ddp.pace import Pace
from parlab.ddp.parameter_server import Arrival, Batches, Keeper, pack, put_gradient, unpack
from parlab.ddp.training import Recipe


def replay(
    model: nn.Module, recipe: Recipe, workers: int, bound: float, arrivals: Iterable[Arrival], batches: Batches
) -> Iterator[nn.Module]:
    """Do in one process what a server did with its workers, from the order and the versions of the arrivals alone.

    Takes the model that they started from; yields it, trained so far, after each arrival: bit for bit the weights of the server.
    """
    keeper, pace, theirs = Keeper(model, recipe), Pace(workers, bound), deepcopy(model)
    current = torch.empty(sum(p.numel() for p in keeper.trained))
    pack(current, keeper.trained)
    past = [current.clone()]  # by version
    for arrival in arrivals:
        unpack(past[arrival.version], [p for p in theirs.parameters() if p.requires_grad])
        batch = batches(pace.sent[arrival.worker])
        put_gradient(current, theirs, recipe, batch, arrival.worker, workers)
        pace.sent_by(arrival.worker)
        keeper.add(current, complete=bound > 0 or pace.level)
        if keeper.version == len(past):
            pack(current, keeper.trained)
            past.append(current.clone())
        yield model
