"""What does one message cost, and what does each way of sending it add?     mpirun -n 2 python -m mpi4py labs/mpi_point_to_point.py

A ladder of ping-pongs between two ranks, from pickled objects to plain stores in shared memory, beside the same loop in C and, where
numba-mpi is installed, in Numba; then the bandwidth with many messages in flight. Times are one way. The times of `buffer` are fitted
by Hockney's model, in one line and in segments, and judged at sizes that the fit has not seen.
"""

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
from mpi4py import MPI

from parlab.bench import Bench, Case
from parlab.hockney import fit_hockney, fit_line, fit_segments, held_out_error
from parlab.judge import within
from parlab.mpi.c_rung import CLoop, build
from parlab.mpi.ladder import LADDER
from parlab.mpi.message_rungs import Windowed
from parlab.mpi.rung import Rung
from parlab.records import Record, all_say, compared, measured
from parlab.start import lab
from parlab.units import nbytes as size
from parlab.units import rate, seconds, span

SURVEY = "ping-pong, all sizes in each round"
ONE_RUN = 256 << 10  # bytes each way in one run of a ping-pong, 50 round trips at most
IN_FLIGHT = 64  # messages, as in the OSU benchmarks' bandwidth test
MOST_IN_FLIGHT = 16 << 20  # bytes: with long messages fewer are needed to fill the way


def main(bench: Bench) -> None:
    """Climb the ladder at some sizes, take `buffer` at many for the model, and flood the way for its bandwidth."""
    for comm in bench.communicators(2):
        sizes = bench.sizes("1 B", "4 MiB", steps=2, full="64 MiB")
        loops = compiled(bench)
        for nbytes in [0, *sizes]:
            climb(bench, comm, nbytes, LADDER | (loops if nbytes else {}))
        survey(bench, comm, sizes[-1])
        for nbytes in [0, *sizes]:
            flood(bench, comm, nbytes)
    bench.conclude(judge)


def compiled(bench: Bench) -> dict[str, type[Rung]]:
    """Return the rungs outside of Python that this machine can build; the others are recorded as skipped."""
    found: dict[str, type[Rung]] = {}
    try:
        build()
        found["C"] = CLoop
    except (FileNotFoundError, RuntimeError) as error:
        bench.skip(f"the rung in C: {str(error).splitlines()[0]}")
    try:
        from parlab.mpi.njit_rung import NjitLoop

        found["njit"] = NjitLoop
    except ImportError:
        bench.skip("the rung under Numba: numba-mpi is not installed (pip install numba-mpi)")
    return found


def climb(bench: Bench, comm: MPI.Intracomm, nbytes: int, rungs: dict[str, type[Rung]]) -> None:
    """Race the rungs at one size."""
    open_rungs = {name: make(comm, nbytes) for name, make in rungs.items()}
    cases = {name: pingpong(bench, comm, rung) for name, rung in open_rungs.items()}
    bench.contrast(comm, {"pattern": "ping-pong", "bytes": nbytes}, "rung", cases, against="buffer")
    for rung in open_rungs.values():
        rung.free()


def survey(bench: Bench, comm: MPI.Intracomm, most: int) -> None:
    """Time `buffer` at every power of two and half way between, all sizes in the same rounds: the model's data."""
    sizes = sorted({0, *(1 << k for k in range(most.bit_length())), *(3 << k for k in range(most.bit_length() - 2))})
    open_rungs = {nbytes: LADDER["buffer"](comm, nbytes) for nbytes in sizes}
    cases = {nbytes: pingpong(bench, comm, rung) for nbytes, rung in open_rungs.items()}
    bench.contrast(comm, {"pattern": SURVEY, "rung": "buffer"}, "bytes", cases)
    for rung in open_rungs.values():
        rung.free()


def pingpong(bench: Bench, comm: MPI.Intracomm, rung: Rung) -> Case:
    """Make a case of a rung, of as many round trips in Python as in C, so that the caches are as hot; the time is one way."""
    rung.outgoing[:] = bench.random(rung.nbytes) * 100
    rounds = int(np.clip(ONE_RUN // max(1, rung.nbytes), 1, 50))
    run, work = partial(rung.repeat, rounds), {"bytes": rung.nbytes}
    return Case(run, arrives(comm, rung), [rung.incoming], [rung.outgoing], units=2 * rounds, work=work)


def arrives(comm: MPI.Intracomm, rung: Rung) -> Callable[[], str | None]:
    """Compare what came in with what the other rank says that it sent."""

    def check() -> str | None:
        sent = comm.sendrecv(rung.outgoing, 1 - comm.rank, source=1 - comm.rank)
        return (
            None
            if np.array_equal(rung.incoming, sent)
            else f"{np.count_nonzero(rung.incoming != sent)} of {sent.size} bytes differ"
        )

    return check


def flood(bench: Bench, comm: MPI.Intracomm, nbytes: int) -> None:
    """Time many messages in flight; the seconds are for one of them."""
    width = int(np.clip(MOST_IN_FLIGHT // max(1, nbytes), 2, IN_FLIGHT))
    with Windowed(comm, nbytes, width) as rung:
        rung.outgoing[:] = 100 * np.random.default_rng(bench.seed).random(rung.outgoing.shape)

        def check() -> str | None:
            sent = comm.bcast(rung.outgoing)
            return (
                None if comm.rank == 0 or np.array_equal(rung.incoming, sent) else "the messages did not arrive as sent"
            )

        inputs, poison = ([rung.outgoing], []) if comm.rank == 0 else ([], [rung.incoming])
        case = Case(rung, check, poison, inputs, units=width, work={"bytes": nbytes})
        bench.contrast(comm, {"pattern": f"{IN_FLIGHT} messages in flight", "bytes": nbytes}, "rung", {"Isend": case})


def judge(records: list[Record]) -> Iterable[tuple[str, bool | None]]:
    """Fit the model, compare with C, and say what the ladder shows."""
    points = {int(m.case["bytes"]): m for m in measured(records, pattern=SURVEY)}
    sizes, times = np.array(sorted(points)), np.array([points[n].seconds.median for n in sorted(points)])
    flood = [m for m in measured(records, rung="Isend") if m.case["bytes"]]
    if flood:
        best = max(flood, key=lambda m: m.work["bytes"] / m.seconds.median)
        told = f"one message of 1 B takes {seconds(points[1].seconds.median)}; with many in flight the way carries "
        yield (
            told + f"{rate(best.work['bytes'], 'B', best.seconds.median)} in messages of {size(best.work['bytes'])}",
            True,
        )
    if len(sizes) >= 12:
        fitted = fit_hockney(sizes, times)
        line = held_out_error(fit_line, sizes, times)
        many = held_out_error(partial(fit_segments, segments=len(fitted.segments)), sizes, times)
        pieces = ", ".join(
            f"{seconds(s.alpha)} + n / ({rate(1, 'B', s.beta) if s.beta else 'any'})" for s in fitted.segments
        )
        breaks = " and ".join(size(b) for b in fitted.breaks) or "nowhere"
        told = f"Hockney's model: {pieces}; the line breaks after {breaks}; at sizes left out of the fit it misses by "
        yield f"{told}{many.median:.1%} in the median, one line by {line.median:.1%}", many.median <= 0.05
    for pick, limit in ((1, 2.5), (64 << 10, 1.1)):
        for c in compared(records, pattern="ping-pong", rung="C", bytes=pick):
            holds = within(c.ratio, high=limit)
            yield (
                f"Python's Send and Recv take {span(c.ratio)} times as long as C's at {size(pick)} (goal: {limit})",
                holds,
            )
    small = {name: c for name in LADDER for c in compared(records, pattern="ping-pong", rung=name, bytes=1)}
    if small:
        told = ", ".join(f"{name} {span(c.ratio.map(lambda x: 1 / x))}" for name, c in small.items())
        yield f"at 1 B, in units of buffer's time: {told}", all_say([small["pickle"]], "slower")


if __name__ == "__main__":
    lab("mpi_point_to_point", main)
