"""What the processes of a launch do around a lab's `main`, where the workers train over torch.distributed: join, say what failed, leave.

`parlab run` starts one process, which forks the workers. torchrun starts them itself: then the run is theirs to begin and to show.
"""

import argparse
import os
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import torch

from parlab import by_hand, forked, gpus, witness, workers
from parlab.bench import RUNNING, Bench
from parlab.catalogue import labs
from parlab.errors import BAD_REQUEST, DONE, FAILED, BadRequest, CheckFailed, ParlabError
from parlab.machine import affinity, cores
from parlab.options import BUDGETS, doubling

LOST_PEER = re.compile(r"(closed|reset) by peer|Connection refused|Broken pipe|remote process exited", re.IGNORECASE)

Main = Callable[[Bench], None]


def fork_workers(name: str, main: Main, options: argparse.Namespace) -> int:
    """Be the process of a launch: fork its workers; return the exit status that tells of them all."""
    import torch._dynamo  # noqa: F401  # the first optimizer imports it, which takes more than a second: once, before the fork

    count = max(options.workers)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        statuses = forked.run(count, lambda rank: run_worker(name, main, options, rank, count, store))
    return DONE if not any(statuses) else BAD_REQUEST if BAD_REQUEST in statuses else FAILED


def run_worker(
    name: str, main: Main, options: argparse.Namespace, rank: int, size: int, store: Path | None = None
) -> NoReturn:
    """Be one of the workers, run `main`, and end the process. store: see workers.join."""
    lab, launched = labs()[name], os.environ.get(RUNNING)
    out = Path(launched or options.out or Path("results") / time.strftime("%Y-%m-%dT%H-%M-%S"))
    words, status = witness.DONE, DONE
    try:
        if launched:
            witness.testify(out, rank)
        on_gpus = lab.on_gpus and (options.device or ("cpu" if gpus.count() < size else "gpu")) == "gpu"
        if on_gpus and torch.version.cuda is None:
            raise BadRequest("this PyTorch was built without CUDA: install one with it, or ask for --device cpu")
        world = workers.join(rank, size, store, on_gpus)
        out = Path(world.gathered(str(out))[0])
        counts = options.workers if launched else lab.wanted(options.workers or doubling(size))
        together = cores(set().union(*world.gathered(affinity())))  # mpirun binds each to a core of its own
        bench = Bench(name, world, together, counts, BUDGETS[options.budget].within(options.minutes), options.seed, out)
        bench.kind = "GPUs" if on_gpus else "processes"
        if not launched:
            more = {"torch": f"{torch.__version__}, {'NCCL' if on_gpus else 'gloo'}"}
            refused = by_hand.begin(bench, size, options, more, "torchrun --nproc-per-node") if rank == 0 else None
            if refused := world.gathered(refused)[0]:
                raise BadRequest(refused)
        main(bench)
        if not launched and rank == 0:
            by_hand.end(bench)
    except (BadRequest, CheckFailed) as error:  # raised on all workers alike: they leave together, and worker 0 speaks
        words, status = witness.FOR_ALL + str(error), error.status
    except BaseException as error:  # SystemExit too: the others would wait for this one for ever
        words, status = str(error) if isinstance(error, ParlabError) else witness.last_words(error), FAILED
        words = witness.LEFT_ALONE + witness.where(error) if LOST_PEER.search(words) else words
        if options.debug:
            traceback.print_exc()
    if status and (rank == 0 or not words.startswith(witness.FOR_ALL)):
        told = words.removeprefix(witness.FOR_ALL) if words.startswith(witness.FOR_ALL) else f"rank {rank}: {words}"
        print(f"{name}: {told}", file=sys.stderr, flush=True)
    if launched and (rank == 0 or not words.startswith(witness.FOR_ALL)):
        witness.say(out, rank, words)
    workers.leave(status)
