"""Processes that train one network: how they join torch.distributed, how they leave it, and the groups of a scaling curve.

Control messages (arrive, the slowest time, words) go through gloo on the CPU also where the tensors are on GPUs: waiting in gloo sleeps.
"""

import gc
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import _world
from torch.distributed.rendezvous import rendezvous

from parlab.measure import Array, Clock, clock_step

PATIENCE = timedelta(hours=1)  # of gloo; what launched the workers bounds them in time, and asks where they stand


@dataclass(frozen=True)
class Workers:
    """A group of processes as a `Team`, as seen by one of them: `rank` of `size`, its tensors on `device`."""

    rank: int
    size: int
    group: dist.ProcessGroup
    device: torch.device

    @property
    def clock(self) -> Clock | None:
        """Return what times a run: on a GPU it ends when the GPU has done it."""
        return Clock("host, GPU awaited", _awaited, clock_step()) if self.device.type == "cuda" else None

    @property
    def library(self) -> str:
        """Return what carries tensors from worker to worker."""
        return "NCCL" if self.device.type == "cuda" else "gloo"

    def barrier(self) -> None:
        """Let all workers arrive before any goes on; a GPU has then done all that was asked of it."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        dist.all_reduce(torch.zeros(1), group=self.group)

    def slowest(self, values: Array) -> Array:
        """Return the elementwise maximum over the workers."""
        most = torch.from_numpy(values.copy())
        dist.all_reduce(most, dist.ReduceOp.MAX, group=self.group)
        found: Array = most.numpy()
        return found

    def words(self, mine: str | None) -> dict[int, str]:
        """Give all workers what any of them has to say, by rank."""
        return {rank: words for rank, words in enumerate(self.gathered(mine)) if words}

    def gathered(self, mine: Any) -> list[Any]:
        """Return what each worker has, by rank, the same on all of them."""
        found = [None] * self.size
        dist.all_gather_object(found, mine, group=self.group)
        return found


def _awaited(run: Callable[[], object], batch: int) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(batch):
        run()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def join(rank: int, size: int, store: Path | None, on_gpus: bool = False) -> Workers:
    """Join the other processes; return all of them as a team.

    store: the file by which they find each other: no port that could be taken. None: as torchrun says, through the environment.
    on_gpus: worker k has GPU k, its tensors there go through NCCL.
    """
    device = torch.device("cuda", rank) if on_gpus else torch.device("cpu")
    if on_gpus:
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(1)  # one core a worker
    backend = "cpu:gloo,cuda:nccl" if on_gpus else "gloo"
    found: Any = dist.FileStore(str(store), size) if store else _store_of_torchrun()  # type: ignore[attr-defined]
    dist.init_process_group(backend, rank=rank, world_size=size, timeout=PATIENCE, store=found)
    assert dist.group.WORLD is not None
    return Workers(rank, size, dist.group.WORLD, device)


def _store_of_torchrun() -> Any:
    """Return the store that torchrun keeps, as this life of the workers sees it.

    torchrun keeps the same one when it starts workers again: without a name of its own, a life may take the addresses of the one before it
    for its own, whose processes are dead (pytorch/pytorch#135712).
    """
    kept, _, _ = next(rendezvous("env://"))
    return dist.PrefixStore(f"life {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", kept)  # type: ignore[attr-defined]


def curve(world: Workers, sizes: Iterable[int]) -> Iterator[Workers]:
    """Yield on each worker the groups that it belongs to, one for each size; those who sit out wait in gloo, which sleeps."""
    for size in sizes:
        group = dist.new_group(list(range(size)), timeout=PATIENCE)
        if world.rank < size:
            assert isinstance(group, dist.ProcessGroup)
            yield Workers(world.rank, size, group, world.device)
        world.barrier()
        for made in list(_world.pg_map)[1:]:  # those too that were made meanwhile
            dist.destroy_process_group(made)
        # torch numbers groups as they are made: those who sat out must not give a number again that the others have used.
        _world.group_count = int(world.slowest(np.array([_world.group_count]))[0])


def leave(status: int) -> NoReturn:
    """End this process: the one way out of a group that is safe.

    gloo's threads may still hold Python objects when the interpreter is taken down, which aborts the process (a third of the runs with
    DistributedDataParallel). So: free what hangs on the group, arrive together, take the group down, and skip the interpreter's end.
    A worker that failed (status > 0) does not wait for the others.
    """
    if dist.is_initialized() and status == 0:
        gc.collect()
        dist.all_reduce(torch.zeros(1))
        dist.destroy_process_group()
        if (
            "mpi4py.MPI" in sys.modules
        ):  # started by mpirun, which takes a rank that does not say so for one that failed
            sys.modules["mpi4py.MPI"].Finalize()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
