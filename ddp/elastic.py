"""Training that a kill only interrupts: started again, it goes on from the latest complete checkpoint as if nothing had been.

That holds bit by bit on the same number of workers, because all that a step depends on is in the checkpoint or follows from the step's
number: weights, what the optimizer keeps for each of them, and the batch, which is drawn anew from the number. (A network with dropout
would have to save the state of its random numbers too.) The sharded trainer ZeRO1 has all of it as flat vectors already, a slice on each
worker; other numbers of workers load other slices of the same files.
"""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from parlab.ddp.checkpoints import latest, load, save
from parlab.ddp.sharded import ZeRO1


def train(
    trainer: ZeRO1,
    batch: Callable[[int], tuple[Tensor, Tensor]],
    steps: int,
    folder: Path,
    every: int,
    reached: Callable[[str], None] = lambda point: None,
) -> int:
    """Train until `steps` steps are done, from the latest checkpoint in the folder; return the step after which that was written.

    batch: the inputs and targets of a step, which are numbered from 1. every: steps from one checkpoint to the next. reached: is told
    what this worker has done: "resumed 10", "step 11", "saved 15". All workers see the same folder.
    """
    begin = resume(trainer, folder)
    reached(f"resumed {begin}")
    for step in range(begin + 1, steps + 1):
        trainer.step(*batch(step))
        reached(f"step {step}")
        if step % every == 0:
            save(folder, step, *slices(trainer), trainer.group)
            reached(f"saved {step}")
    return begin


def resume(trainer: ZeRO1, folder: Path) -> int:
    """Load the latest complete checkpoint into a fresh trainer, whatever the number of workers that wrote it.

    Returns the step after which it was written; 0 where there is none.
    """
    told = [latest(folder) if trainer.group.rank() == 0 else None]  # one looks, lest two find different ones
    dist.broadcast_object_list(told, group=trainer.group, group_src=0)
    (checkpoint,) = told
    if checkpoint is None:
        return 0
    mine = trainer.units[0].mine
    first = int(mine.storage_offset())
    vectors = load(folder, checkpoint, first, first + mine.numel())
    with torch.no_grad():
        mine.copy_(vectors.pop("weights"))
    if vectors:  # plain SGD keeps nothing
        steps_done = torch.tensor(float(checkpoint.step))
        trainer.optimizer.state[mine] = {"step": steps_done} | {
            name: vector.to(mine.device) for name, vector in vectors.items()
        }
    trainer.spread()
    return checkpoint.step


def slices(trainer: ZeRO1) -> tuple[int, dict[str, Tensor]]:
    """Return what a checkpoint has to hold of this worker: the place of its slice, and the slice of each flat vector."""
    mine = trainer.units[0].mine
    state = trainer.optimizer.state[mine]
    kept = {name: value for name, value in state.items() if isinstance(value, Tensor) and value.dim()}
    return int(mine.storage_offset()), {"weights": mine.detach(), **kept}
