"""How do the collectives work, and which algorithm wins at which size?     mpirun -n 4 python -m mpi4py labs/mpi_collectives.py

Each collective by the library's own call, by our algorithms over point-to-point messages and, with Open MPI, by the library's
algorithm of the same name; the all-reduce also through shared memory. The bound of the all-reduce is `copy`: every rank copies
such a vector at once, for each input must be read and each output written.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
from mpi4py import MPI

from parlab.bench import AGAIN, Bench, Case, lab
from parlab.checks import arrival, equals
from parlab.hockney import fit_hockney
from parlab.mpi.collectives import COLLECTIVES
from parlab.mpi.costmodel import Call, predict
from parlab.mpi.costs import COSTS
from parlab.mpi.forced import ALGORITHMS, forced
from parlab.mpi.overlap import allreduce_while
from parlab.mpi.problems import Problem, problem
from parlab.mpi.shared_window import Copied, InWindow
from parlab.mpi.two_level import TwoLevel
from parlab.results import Comparison, Measurement, Record
from parlab.units import nbytes as size

MOST_BYTES = 64 << 20  # for one vector of blocks: with many ranks the largest blocks are left out
PIECES = 16  # of the computation in the overlap; with Test, one call after each

Model = tuple[Callable[[float], float], float]  # seconds of a message by its bytes; seconds to combine one byte


def main(bench: Bench) -> None:
    """Contrast every collective on every communicator."""
    for comm in bench.communicators():
        model = building_blocks(bench, comm)
        for nbytes in bench.sizes("8 B", "4 MiB", steps=2):
            contrast(bench, comm, "allreduce", nbytes, model)
        for operation in COLLECTIVES:
            if operation != "allreduce" and comm.size > 1:  # alone there is nobody to talk to
                for nbytes in [0] if operation == "barrier" else bench.sizes("8 B", "512 KiB", steps=3):
                    contrast(bench, comm, operation, nbytes, model)
        if comm.size > 1:
            for nbytes in bench.sizes("64 KiB", "1 MiB", steps=2):
                overlap(bench, comm, nbytes)
    bench.conclude(judge)


def building_blocks(bench: Bench, comm: MPI.Intracomm) -> Model:
    """Time what the algorithms are made of: all ranks exchange with their neighbours at once, and combine two vectors."""
    right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    sizes, exchanged, combined = bench.sizes("8 B", "4 MiB"), [], 0.0
    for nbytes in sizes:
        x, y = bench.random(nbytes // 8), bench.random(nbytes // 8)
        cases = {
            "Sendrecv": Case(lambda x=x, y=y: comm.Sendrecv(x, right, recvbuf=y, source=left), inputs=[x], work={"bytes": nbytes}),
            "combine": Case(partial(np.add, x, y, y), work={"bytes": nbytes}),
        }
        trials = bench.contrast(comm, {"op": "building block", "bytes": nbytes}, "algorithm", cases, seconds=0.3)
        exchanged.append(trials["Sendrecv"].seconds.median)
        combined = trials["combine"].seconds.median / nbytes
    if not bench.first or len(sizes) < 3:
        return (lambda nbytes: 0.0), 0.0  # rank 0 alone records predictions: the others need not load SciPy to fit
    return fit_hockney(sizes, exchanged).seconds, combined


def contrast(bench: Bench, comm: MPI.Intracomm, operation: str, nbytes: int, model: Model) -> None:
    """Race all ways to do one collective at one size; for blocks, nbytes is the size of one."""
    if nbytes * comm.size > MOST_BYTES:
        return
    given = problem(operation, comm, bench.random(nbytes // 8))
    usual: dict[str, Any] = {
        "check": equals(given.output, given.expected, roundings=comm.size),
        "poison": [x for x in [given.output] if x is not None],
        "inputs": [*given.inputs, *(x for x in [given.expected] if x is not None)],  # linear: they change their signs together
        "work": {"bytes": nbytes},
    }
    cases = {"library": partial(given.library, comm)}
    cases |= {name: partial(function, comm, *given.arguments) for name, function in COLLECTIVES[operation].items()}
    twins = {name: forced(comm, operation, name) for name in ALGORITHMS.get(operation, {})}
    cases |= {f"library's {name}": partial(given.library, twin) for name, twin in twins.items() if twin is not None}
    call = Call(comm.size, nbytes // 8, 8)
    ready = {}
    for name, run in cases.items():
        told = ("Hockney", predict(COSTS[operation, name].steps(call), *model)) if (operation, name) in COSTS else None
        check = {"check": arrival(comm, run)} if operation == "barrier" else {}
        ready[name] = Case(run, prediction=told, **(usual | check))
    common = {"op": operation, "bytes": nbytes}
    if operation == "allreduce":
        allreduce(bench, comm, given, ready, usual, common)
    else:
        bench.contrast(comm, common, "algorithm", ready, against="library", seconds=0.3)
    for twin in twins.values():
        if twin is not None:
            twin.Free()


def allreduce(bench: Bench, comm: MPI.Intracomm, given: Problem, cases: dict[str, Case], usual: dict[str, Any], common: dict[str, Any]) -> None:
    """Add to the headline's cases what only it has: a persistent call, shared memory, a bound and a control."""
    send, recv = given.arguments
    assert send is not None
    assert recv is not None
    x, y = bench.random(len(send)), bench.random(len(send))
    floor = "copy", Case(partial(np.copyto, y, x), inputs=[x], work=usual["work"])
    p = comm.size
    with Copied(comm, send.shape, float) as copied, InWindow(comm, send.shape, float) as window:
        window.input[...] = send
        inside = usual | {"inputs": [*usual["inputs"], window.input]}
        whole = {"poison": [], "check": equals(window.result, given.expected, roundings=p), "share": (p + 1) / (2 * p)}
        cases["shared copied"] = Case(partial(copied, send, recv), **usual)
        cases["shared in window"] = Case(partial(window, recv), **inside)
        cases["shared result"] = Case(window.reduce, **(inside | whole))
        bench.contrast(comm, common, "algorithm", cases, against="library", control=True, floor=floor)


def overlap(bench: Bench, comm: MPI.Intracomm, nbytes: int) -> None:
    """How much of an all-reduce hides behind a computation that takes as long?"""
    given = problem("allreduce", comm, bench.random(nbytes // 8))
    send, recv = given.arguments
    block = np.linspace(0, 1, 1024)
    common = {"op": "iallreduce", "bytes": nbytes}
    probe = {"communicate": Case(partial(given.library, comm)), "compute": Case(partial(np.sin, block, block))}
    alone = bench.contrast(comm, common | {"op": "iallreduce, parts"}, "algorithm", probe, seconds=0.3)
    fill = alone["communicate"].seconds.median / alone["compute"].seconds.median / PIECES
    block = np.linspace(0, 1, max(1, int(fill * len(block))))
    piece = partial(np.sin, block, block)
    both = {test: partial(allreduce_while, comm, send, recv, piece, PIECES, test) for test in (False, True)}
    usual = {"check": equals(recv, given.expected, comm.size), "poison": [recv], "inputs": [send, given.expected]}
    cases = {
        "communicate": Case(partial(allreduce_while, comm, send, recv, piece, 0, False), **usual),
        "compute": Case(lambda: [piece() for _ in range(PIECES)]),
        "both": Case(both[False], **usual),
        "both with Test": Case(both[True], **usual),
    }
    bench.contrast(comm, common, "algorithm", cases)


def judge(records: list[Record]) -> Iterable[tuple[str, bool | None]]:
    """Say where each all-reduce stands against the library, whether the model named the winner, and what was hidden."""
    yield "x", None


if __name__ == "__main__":
    lab("mpi_collectives", main)
