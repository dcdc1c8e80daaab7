"""How a lab script starts: `lab(id, main)` is its last line.

Under mpirun it is one of the ranks, under torchrun one of the workers, in a launch of `parlab run` its process; typed by hand it asks
`parlab run` to launch it.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from parlab.bench import RUNNING, Bench
from parlab.errors import BAD_REQUEST
from parlab.options import Parser, add_run_options

UNDER_MPI = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMI_RANK", "PMIX_RANK")  # one of them is set by every mpirun and srun
UNDER_TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR")  # it sets all of them


def lab(name: str, main: Callable[[Bench], None], predict: Callable[[Bench], None] | None = None) -> None:
    """Run a lab script: as one of the ranks of a launch, as the process of a launch, or, started plainly, through `parlab run`.

    A lab of processes that compares itself with MPI has a launch by mpirun too: its workers are then ranks as well.

    predict: what it can say where it needs a GPU and there is none.
    """
    from parlab.catalogue import labs

    parser = Parser(prog=f"{name}.py", description=(sys.modules["__main__"].__doc__ or "").split("\n")[0])
    add_run_options(parser)
    options = parser.parse_args()
    by_ranks = name not in labs() or "ranks" in labs()[name].needs
    under_mpi = any(variable in os.environ for variable in UNDER_MPI)
    if under_mpi and not by_ranks and name in labs() and labs()[name].over_mpi and RUNNING in os.environ:
        from mpi4py import MPI

        from parlab import witness
        from parlab.by_worker import run_worker

        store = Path(os.environ[RUNNING]) / witness.FOLDER / "store"  # cleared away between launches
        run_worker(name, main, options, MPI.COMM_WORLD.rank, MPI.COMM_WORLD.size, store)
    if under_mpi and not by_ranks:
        print(f"{name}: it runs in one process: start it as `python labs/{name}.py`", file=sys.stderr)
        sys.exit(BAD_REQUEST)
    if by_ranks and under_mpi:
        from parlab.by_rank import run_rank

        sys.exit(run_rank(name, main, options))
    by_torchrun = all(variable in os.environ for variable in UNDER_TORCHRUN)
    by_workers = name in labs() and "processes" in labs()[name].needs
    if by_torchrun and not by_workers:
        print(f"{name}: it is not for torchrun: start it as `python labs/{name}.py`", file=sys.stderr)
        sys.exit(BAD_REQUEST)
    if by_workers and (by_torchrun or RUNNING in os.environ):
        from parlab.by_worker import fork_workers, run_worker

        if by_torchrun:
            run_worker(name, main, options, int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
        sys.exit(fork_workers(name, main, options))
    if not by_ranks and RUNNING in os.environ:
        from parlab.by_process import run_process

        sys.exit(run_process(name, main, predict, options))
    os.execv(sys.executable, [sys.executable, "-m", "parlab", "run", name, *sys.argv[1:]])
