"""How do the collectives work, and which algorithm wins at which size?     mpirun -n 4 python -m mpi4py labs/mpi_collectives.py

Each collective by the library's own call, by our algorithms over point-to-point messages and, with Open MPI, by the library's
algorithm of the same name; the all-reduce also through shared memory. The bound of the all-reduce is `copy`: every rank copies
such a vector at once, for each input must be read and each output written.
"""

from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import numpy as np
from mpi4py import MPI

from parlab.bench import AGAIN, Bench, Case
from parlab.checks import arrival, equals
from parlab.hockney import fit_hockney
from parlab.judge import crossing, hidden_share
from parlab.mpi.buffers import Array
from parlab.mpi.collectives import COLLECTIVES
from parlab.mpi.costmodel import Call, predict
from parlab.mpi.costs import COSTS
from parlab.mpi.forced import TUNED, forced
from parlab.mpi.node import one_node
from parlab.mpi.overlap import compute, compute_while, nonblocking, persistent
from parlab.mpi.problems import Problem, problem
from parlab.mpi.shared_window import Copied, InWindow
from parlab.mpi.two_level import TwoLevel
from parlab.records import Case as CaseLabel
from parlab.records import Record, all_say, compared, measured
from parlab.start import lab
from parlab.units import nbytes as size
from parlab.units import span

MOST_BYTES = 64 << 20  # for one vector of blocks: with many ranks the largest blocks are left out
BLOCKS = {"scatter", "gather", "allgather", "alltoall"}  # their arrays grow with the number of ranks
PIECES = 16  # of the computation in the overlap; with Test, one call after each

Model = tuple[Callable[[float], float], float]  # seconds of a message by its bytes; seconds to combine one byte


def main(bench: Bench) -> None:
    """Contrast every collective on every communicator."""
    for comm in bench.communicators():
        model = building_blocks(bench, comm)
        for nbytes in bench.sizes("8 B", "8 MiB", steps=2):
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
            "Sendrecv": Case(partial(comm.Sendrecv, x, right, 0, y, left), inputs=[x], work={"bytes": nbytes}),
            "combine": Case(partial(np.add, x, y, y), work={"bytes": nbytes}),
        }
        trials = bench.contrast(comm, {"op": "building block", "bytes": nbytes}, "algorithm", cases, seconds=0.2)
        exchanged.append(trials["Sendrecv"].seconds.median)
        combined = trials["combine"].seconds.median / nbytes
    if not bench.first or len(sizes) < 3:
        return (lambda nbytes: 0.0), 0.0  # rank 0 alone records predictions: the others need not load SciPy to fit
    return fit_hockney(sizes, exchanged).seconds, combined


def contrast(bench: Bench, comm: MPI.Intracomm, operation: str, nbytes: int, model: Model) -> None:
    """Race all ways to do one collective at one size; for blocks, nbytes is the size of one."""
    if operation in BLOCKS and nbytes * comm.size > MOST_BYTES:
        return
    given = problem(operation, comm, bench.random(nbytes // 8))
    usual: dict[str, Any] = {
        "check": equals(given.output, given.expected, roundings=comm.size),
        "poison": [x for x in [given.output] if x is not None],
        "inputs": [
            *given.inputs,
            *(x for x in [given.expected] if x is not None),
        ],  # linear: they change their signs together
        "work": {"bytes": nbytes},
        "share": 1.0,  # of the floor, where there is one
    }
    runs: dict[str, Callable[[], object]] = {"library": partial(given.library, comm)}
    runs |= {name: partial(function, comm, *given.arguments) for name, function in COLLECTIVES[operation].items()}
    twins = library_twins(bench, comm, operation)
    runs |= {f"library's {name}": partial(given.library, twin) for name, twin in twins.items()}
    call = Call(comm.size, nbytes // 8, 8)
    cases = {}
    for name, run in runs.items():
        told = (
            ("Hockney", predict(COSTS[operation, name].steps(call), *model))
            if (operation, name) in COSTS and model[1] and comm.size > 1
            else None
        )
        check = {"check": arrival(comm, run)} if operation == "barrier" else {}
        cases[name] = Case(run, prediction=told, **(usual | check))
    common: CaseLabel = {"op": operation, "bytes": nbytes}
    if operation == "allreduce":
        contrast_allreduce(bench, comm, given, cases, usual, common)
    else:
        bench.contrast(comm, common, "algorithm", cases, against="library", seconds=0.3)
    for twin in twins.values():
        twin.Free()


def library_twins(bench: Bench, comm: MPI.Intracomm, operation: str) -> dict[str, MPI.Intracomm]:
    """Duplicate the communicator once for each of our algorithms that the library has too and lets us choose."""
    twins: dict[str, MPI.Intracomm] = {}
    for name in TUNED.get(operation, {}):
        try:
            twins[name] = forced(comm, operation, name)
        except LookupError as error:
            bench.skip(str(error))
    return twins


def contrast_allreduce(
    bench: Bench,
    comm: MPI.Intracomm,
    given: Problem,
    cases: dict[str, Case],
    usual: dict[str, Any],
    common: CaseLabel,
) -> None:
    """Add to the headline's cases what only it has: a persistent call, shared memory, two levels, a bound and a control."""
    send, recv = given.vectors
    p = comm.size
    whole = one_node(comm)
    with ExitStack() as stack:
        with suppress(NotImplementedError):  # the overlap says that this library has no persistent collectives
            start, free = persistent(comm, send, recv)
            stack.callback(free)
            cases["library persistent"] = Case(lambda: start().Wait(), **usual)
        if not whole or p >= 4:
            levels = stack.enter_context(TwoLevel(comm, send.shape, float, node=2 * comm.rank // p if whole else None))
            cases["two-level (2 virtual nodes)" if whole else "two-level"] = Case(partial(levels, send, recv), **usual)
        if whole:
            copied = stack.enter_context(Copied(comm, send.shape, float))
            window = stack.enter_context(InWindow(comm, send.shape, float))
            window.input[...] = send
            inside = usual | {"inputs": [*usual["inputs"], window.input]}
            shared = {
                "poison": [],
                "check": equals(window.result, given.expected, roundings=p),
                "share": (p + 1) / (2 * p),
            }
            cases["shared copied"] = Case(partial(copied, send, recv), **usual)
            cases["shared in window"] = Case(partial(window, recv), **inside)
            cases["shared result"] = Case(window.reduce, **(inside | shared))
        floor = (
            "copy",
            Case(partial(np.copyto, recv, send), work=usual["work"]),
        )  # the same arrays: as hot in the caches as theirs
        bench.contrast(comm, common, "algorithm", cases, against="library", control=True, floor=floor)


def overlap(bench: Bench, comm: MPI.Intracomm, nbytes: int) -> None:
    """How much of an all-reduce hides behind a computation that takes as long?"""
    for form, make in (("non-blocking", nonblocking), ("persistent", persistent)):
        given = problem("allreduce", comm, bench.random(nbytes // 8))
        send, recv = given.vectors
        try:
            start, free = make(comm, send, recv)
        except NotImplementedError:
            bench.skip("persistent collectives: this MPI library does not have them")
            return
        usual: dict[str, Any] = {"check": equals(recv, given.expected, comm.size), "poison": [recv]}
        usual["inputs"] = [send, given.expected]
        alone = Case(partial(compute_while, start, int, 0, False), **usual)
        piece = partial(np.sin, *fitting(bench, comm, alone, {"form": form, "bytes": nbytes}))
        cases = {
            "communicate": alone,
            "compute": Case(partial(compute, piece, PIECES)),
            "both": Case(partial(compute_while, start, piece, PIECES, False), **usual),
            "both with Test": Case(partial(compute_while, start, piece, PIECES, True), **usual),
        }
        bench.contrast(comm, {"op": "overlap", "form": form, "bytes": nbytes}, "algorithm", cases, seconds=0.5)
        free()


def fitting(bench: Bench, comm: MPI.Intracomm, alone: Case, common: CaseLabel) -> tuple[Array, Array]:
    """Find a block of which PIECES sines take as long as the communication alone; input and output are the same array."""
    block = np.linspace(0, 1, 1024)
    probe = {"communicate": alone, "compute": Case(partial(np.sin, block, block))}
    t = bench.contrast(comm, {"op": "overlap's parts", **common}, "algorithm", probe, seconds=0.2)
    fill = t["communicate"].seconds.median / t["compute"].seconds.median / PIECES
    block = np.linspace(0, 1, max(1, int(fill * len(block))))
    return block, block


def judge(records: list[Record]) -> Iterable[tuple[str, bool | None]]:
    """Say where each all-reduce stands against the library, whether the model named the winner, and what was hidden."""
    for p in sorted({m.workers for m in measured(records, op="allreduce") if m.workers > 1}):
        shared = [
            c
            for c in compared(records, p, op="allreduce", algorithm="shared copied")
            if int(c.faster["bytes"]) >= 16 << 10
        ]
        if shared:
            least, most = min(c.ratio.median for c in shared), max(c.ratio.median for c in shared)
            told = f"{p} ranks: through shared memory, copies included, an all-reduce of 16 KiB and more is "
            yield f"{told}{least:.2f} to {most:.2f} times as fast as the library's", all_say(shared, "faster")
        yield from fastest(records, p)
        yield from crossovers(records, p)
        control = compared(records, p, op="allreduce", algorithm="library" + AGAIN)
        unlike = [f"{c.faster['bytes']} B {c.says}" for c in control if c.says in ("faster", "slower")]
        yield (
            f"{p} ranks: the library's all-reduce against itself differs at {', '.join(unlike) or 'no size'}",
            not unlike,
        )
        yield from hidden(records, p)


def fastest(records: list[Record], p: int) -> Iterable[tuple[str, bool | None]]:
    """Hold the fastest of our message algorithms at each size against the one that the model names."""
    told, named, unsure = [], 0, 0
    sizes = sorted({int(m.case["bytes"]) for m in measured(records, p, op="allreduce") if m.prediction})
    for nbytes in sizes:
        ours = [m for m in measured(records, p, op="allreduce", bytes=nbytes) if m.prediction]
        best = min(ours, key=lambda m: m.seconds.median)
        guess = min(ours, key=lambda m: m.prediction.seconds if m.prediction else 0.0)
        named += guess is best
        unsure += guess is not best and guess.seconds.low <= best.seconds.high
        told.append(
            f"{size(nbytes)} {best.case['algorithm']}"
            + ("" if guess is best else f" (predicted {guess.case['algorithm']})")
        )
    if sizes:
        holds = True if named == len(sizes) else None if named + unsure == len(sizes) else False
        yield (
            f"{p} ranks, fastest all-reduce by messages: {', '.join(told)}; the model names {named} of {len(sizes)}",
            holds,
        )


def crossovers(records: list[Record], p: int) -> Iterable[tuple[str, bool | None]]:
    """Hold the size from which a bandwidth algorithm beats recursive doubling against the size that the model names."""
    curves = {
        name: [m for m in measured(records, p, op="allreduce", algorithm=name) if m.prediction]
        for name in ("recursive_doubling", "rabenseifner", "ring")
    }
    short = curves.pop("recursive_doubling")
    sizes = [float(m.case["bytes"]) for m in short]
    for name, curve in curves.items():
        found = crossing(sizes, [m.seconds.median for m in short], [m.seconds.median for m in curve])
        told = crossing(sizes, *([m.prediction.seconds for m in c if m.prediction] for c in (short, curve)))
        where = [size(at) if at else "no size" for at in (found, told)]
        holds = max(found, told) <= 2 * min(found, told) if found and told else None
        yield (
            f"{p} ranks: {name} overtakes recursive_doubling at {where[0]}, predicted at {where[1]} (goal: within 2)",
            holds,
        )


def hidden(records: list[Record], p: int) -> Iterable[tuple[str, bool | None]]:
    """Say which share of an all-reduce hid behind the computation, with Test and without."""
    for m in measured(records, p, op="overlap", algorithm="communicate"):
        group = {key: m.case[key] for key in ("form", "bytes")}
        t = {str(x.case["algorithm"]): x.seconds for x in measured(records, p, op="overlap", **group)}
        without, gains = (hidden_share(t["communicate"], t["compute"], t[n]) for n in ("both", "both with Test"))
        told = (
            f"{p} ranks, {size(float(group['bytes']))}: of a {group['form']} all-reduce {span(without)} hides behind a "
        )
        told += f"computation without Test, {span(gains)} with {PIECES} calls of it: Test helps"
        yield told, True if gains.low > without.high else False if gains.high < without.low else None


if __name__ == "__main__":
    lab("mpi_collectives", main)
