"""What every rank of a launch does around a lab's `main`: agree on where records go, say why it failed, leave together."""

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from mpi4py import MPI

from parlab import by_hand, witness
from parlab.bench import RUNNING, Bench
from parlab.catalogue import labs
from parlab.errors import BAD_REQUEST, DONE, BadRequest, CheckFailed, ParlabError
from parlab.options import BUDGETS, doubling
from parlab.ranks import cores_of, library, sleep_until_all


def run_rank(name: str, main: Callable[[Bench], None], options: argparse.Namespace) -> int:
    """Run `main` on this rank and return its exit status; a fault that the other ranks cannot know of aborts them all."""
    world = MPI.COMM_WORLD
    if told := _mixed(world):
        if "0" in (os.environ.get("OMPI_COMM_WORLD_RANK"), os.environ.get("PMI_RANK")):
            print(f"{name}: {told}", file=sys.stderr)
        return BAD_REQUEST
    launched = os.environ.get(RUNNING)
    out = (
        world.bcast(options.out or Path("results") / time.strftime("%Y-%m-%dT%H-%M-%S"))
        if launched is None
        else Path(launched)
    )
    workers = options.workers if launched else labs()[name].wanted(options.workers or doubling(world.size))
    bench = Bench(
        name, world, cores_of(world), workers, BUDGETS[options.budget].within(options.minutes), options.seed, out
    )
    words, status = witness.DONE, DONE
    try:
        if launched:
            witness.testify(out, world.rank)
        else:
            _begin(bench, options)
        main(bench)
        if not launched and bench.first:
            by_hand.end(bench)
        sleep_until_all(world)
    except (BadRequest, CheckFailed) as error:  # raised on all ranks alike: they leave together, and rank 0 speaks
        if world.rank == 0:
            words = witness.FOR_ALL + str(error)
            print(f"{name}: {error}", file=sys.stderr, flush=True)
        status = error.status
    except BaseException as error:  # SystemExit too: the other ranks would wait for this one for ever
        words = str(error) if isinstance(error, ParlabError) else witness.last_words(error)
        print(f"{name}: rank {world.rank}: {words}", file=sys.stderr, flush=True)
        if options.debug:
            traceback.print_exc()
        status = 1
    if launched:
        witness.say(out, world.rank, words)
    if status == 1 and words != witness.DONE and not words.startswith(witness.FOR_ALL):
        world.Abort(1)
    return status


def _begin(bench: Bench, options: argparse.Namespace) -> None:
    """Started by hand: rank 0 begins a run of its own while the others sleep. Raises BadRequest on all ranks."""
    world = MPI.COMM_WORLD
    refused = by_hand.begin(bench, world.size, options, {"mpi": library()}, "mpirun -n") if bench.first else None
    sleep_until_all(world)
    if refused := world.bcast(refused):
        raise BadRequest(refused)


def _mixed(world: MPI.Intracomm) -> str | None:
    """Tell an mpirun of one MPI that started processes of another: each of them then believes that it is alone."""
    for kind, size in (("Open MPI's", "OMPI_COMM_WORLD_SIZE"), ("MPICH's", "PMI_SIZE")):
        if int(os.environ.get(size, "1")) > 1 and world.size == 1:
            text = f"{kind} mpirun started {os.environ[size]} processes, but Python's MPI is {library()}: two MPI libraries are mixed"
            return text + "; use the mpirun beside this Python, or `parlab run`, which pairs them"
    return None
