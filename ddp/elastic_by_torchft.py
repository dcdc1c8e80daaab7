"""Training of which one worker may die while the others go on: torchft's way, without a restart and without the disk.

Before every step those who are there agree on it, through a lighthouse that hears their heartbeats; a step that somebody did not finish is
thrown away and done again by those who are left. A worker that comes anew is sent weights and optimizer state by one that has them. Each
step works on the whole global batch, whoever is there, so that the weights are those of an undisturbed run but for rounding.
Source: torchft's documentation of Manager. It needs the package torchft-nightly.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from parlab.ddp.training import Recipe, share

PATIENCE = timedelta(seconds=20)
SILENT_MILLISECONDS = 1500  # without a heartbeat for so long, a worker is taken for dead


def lighthouse() -> Any:
    """Start the server that knows who is there, on a port that is free. Keep it; its address() is for the workers."""
    from torchft.coordination import LighthouseServer

    return LighthouseServer("[::]:0", min_replicas=1, join_timeout_ms=1000, heartbeat_timeout_ms=SILENT_MILLISECONDS)


def train(
    model: nn.Module,
    recipe: Recipe,
    batch: Callable[[int], tuple[Tensor, Tensor]],
    steps: int,
    worker: int,
    address: str,
    reached: Callable[[str], None],
) -> None:
    """Train until `steps` steps are done, together with whoever else is there. The rest: as in elastic.train.

    address: of the lighthouse. reached: is told of "joined", "resumed 6" where another worker had done so many steps, "step 7".
    """
    from torchft import Manager, ProcessGroupGloo

    optimizer = recipe.optimizer_for(model.parameters())
    parts: Mapping[str, Any] = {"model": model, "optimizer": optimizer}

    def load(state: dict[str, Any]) -> None:
        for name, part in parts.items():
            part.load_state_dict(state[name])

    # Its Manager waits for ever for a store that nobody has started: torchrun's, or this.
    store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    manager = Manager(
        pg=ProcessGroupGloo(timeout=PATIENCE),
        load_state_dict=load,
        state_dict=lambda: {name: part.state_dict() for name, part in parts.items()},
        min_replica_size=1,
        use_async_quorum=False,
        timeout=PATIENCE,
        quorum_timeout=PATIENCE,
        connect_timeout=PATIENCE,
        rank=0,
        world_size=1,
        store_addr="localhost",
        store_port=store.port,
        lighthouse_addr=address,
        replica_id=f"worker {worker}",
        hostname="localhost",
        init_sync=False,
    )
    weights = list(model.parameters())
    begun = False
    while manager.current_step() < steps:
        manager.start_quorum()
        if not begun:
            reached(f"resumed {manager.current_step()}")
            begun = True
        rank, count = manager.participating_rank(), manager.num_participants()
        if rank is None:
            continue
        inputs, targets = batch(manager.current_step() + 1)
        optimizer.zero_grad()
        recipe.loss(model, share(inputs, rank, count), share(targets, rank, count), of=targets.numel()).backward()
        gradient = torch.cat([w.grad.flatten() for w in weights if w.grad is not None])
        manager.allreduce(gradient, reduce_op=dist.ReduceOp.SUM).wait()
        if manager.should_commit():
            for w, piece in zip(weights, gradient.split([w.numel() for w in weights]), strict=True):
                w.grad = piece.view_as(w)
            gradients = [w.grad for w in weights if w.grad is not None]
            recipe.cut(gradients, gradient.norm)
            optimizer.step()
            reached(f"step {manager.current_step()}")
    manager.shutdown(wait=False)
