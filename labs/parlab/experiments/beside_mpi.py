"""MPI in gloo's place, in processes that are ranks of both: the sums by themselves, and a step of training."""

from collections.abc import Iterator, Sequence
from functools import partial

from parlab import units
from parlab.bench import Bench
from parlab.ddp import mpi_step
from parlab.ddp.data_parallel import Bucketed, Flat
from parlab.ddp.models import Shape
from parlab.ddp.workload import Workload
from parlab.experiments import summing
from parlab.experiments.replicas import by_all
from parlab.predictions import Verdict
from parlab.records import Record, compared
from parlab.workers import Workers


def measure(bench: Bench, team: Workers, shape: Shape) -> None:
    """Sum by MPI what gloo sums; train a GPT of this shape."""
    from mpi4py import MPI

    comm = MPI.COMM_WORLD.Create_group(MPI.COMM_WORLD.group.Incl(range(team.size)))
    summing.measure(bench, team, {"mpi4py": mpi_step.blocking(comm)}, launcher="mpirun")
    if bench.budget.name != "quick":
        task = Workload(team.device, shape, 1, 16)
        cases = {
            "flat, gloo": by_all(team, task, Flat),
            "flat, mpi4py": by_all(team, task, partial(Flat, send=mpi_step.blocking(comm))),
            "bucketed, mpi4py": by_all(team, task, partial(Bucketed, send=mpi_step.nonblocking(comm))),
        }
        told = {**task.told, "launcher": "mpirun"}
        bench.contrast(team, told, "way", cases, against="flat, gloo", control=True, seconds=8.0)
    comm.Free()


def judge(records: Sequence[Record]) -> Iterator[Verdict]:
    """Say whether MPI is faster."""
    for c in compared(records, launcher="mpirun"):
        if c.faster["way"] in ("mpi4py", "flat, mpi4py"):
            what = f"sums of {units.nbytes(float(c.faster['bytes']))}" if "bytes" in c.faster else "a step"
            words = f"{what} by MPI: {units.span(c.ratio)} times as fast as by gloo"
            yield words, {"faster": True, "slower": False}.get(c.says)
