"""How does a stencil scale over ranks, and which halo exchange serves it best?     mpirun -n 4 python -m mpi4py labs/mpi_halo.py

The 2-D heat equation by Jacobi sweeps, on a grid of fixed size (strong scaling) and on one that grows with the ranks (weak). The
base is the serial sweep in Numba; the bound is `copy`: each point is read once and written once.
"""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial

import numpy as np
from mpi4py import MPI

from parlab.bench import Bench, Case
from parlab.checks import equals
from parlab.mpi.block import Block
from parlab.mpi.halo import VARIANTS
from parlab.mpi.heat import FLOPS_PER_POINT, Grid, Plate, decay, first_mode
from parlab.mpi.node import one_node
from parlab.records import Record, compared, measured
from parlab.scaling import speed_up
from parlab.start import lab
from parlab.units import rate, span

STEPS = (
    10  # in one run: ranks then wait for their neighbours as they do in a long run, not for the barrier of the sample
)
SIDES = {"smoke": [120], "quick": [1000], "full": [250, 1000, 4000]}


def main(bench: Bench) -> None:
    """Contrast the variants on each grid and communicator."""
    for comm in bench.communicators():
        cart = comm.Create_cart(MPI.Compute_dims(comm.size, 2))
        for side in SIDES[bench.budget.name]:
            contrast(bench, cart, {"scaling": "strong", "grid": f"{side} x {side}"}, side, side)
            contrast(bench, cart, {"scaling": "weak", "grid": f"{side} x {side} a rank"}, side * comm.size, side)
        cart.Free()
    bench.conclude(judge)


def contrast(bench: Bench, cart: MPI.Cartcomm, common: dict[str, str | int | float], n: int, m: int) -> None:
    """Race all exchanges on one n x m grid; alone, the serial program too."""
    start = first_mode(n, m)
    expected = serial_result(start) if cart.rank == 0 else None
    work = {"flops": FLOPS_PER_POINT * n * m}
    with ExitStack() as stack:
        blocks = {
            name: stack.enter_context(make(cart, n, m))
            for name, make in VARIANTS.items()
            if name != "shared" or one_node(cart)
        }
        for block in blocks.values():
            block.scatter(start)
        cases = {
            name: Case(partial(advance, block), check(block, start, expected), units=STEPS, work=work, share=1.0)
            for name, block in blocks.items()
        }
        if cart.size == 1:
            plate = Plate(n, m)
            plate.points[:] = start
            cases = {
                "serial": Case(partial(advance, plate), decays(plate, start), units=STEPS, work=work, share=1.0),
                **cases,
            }
        there, here = blocks["sendrecv"].u  # the arrays of a case, so that the bound finds them as hot as a case does
        floor = "copy", Case(partial(copy, there, here), units=STEPS, work={"bytes": 2 * here.nbytes})
        bench.contrast(cart, common, "variant", cases, against="sendrecv", floor=floor, seconds=3.0)


def advance(plate: Plate) -> None:
    """Do the time steps of one run."""
    for _ in range(STEPS):
        plate.step()


def copy(there: Grid, here: Grid) -> None:
    """Read and write every point as often as a run does, and compute nothing."""
    for _ in range(STEPS):
        np.copyto(there, here)


def serial_result(start: Grid) -> Grid:
    """Return the grid after one run of the serial program."""
    plate = Plate(*start.shape)
    plate.points[:] = start
    advance(plate)
    return plate.points


def check(block: Block, start: Grid, expected: Grid | None) -> Callable[[], str | None]:
    """Start afresh, advance, and compare the whole grid with the serial program's, bit for bit."""

    def compare() -> str | None:
        block.scatter(start)
        advance(block)
        return equals(block.gather(), expected)()

    return compare


def decays(plate: Plate, start: Grid) -> Callable[[], str | None]:
    """Check the serial program: the first mode must have decayed as the eigenvalue of the sweep says."""

    def compare() -> str | None:
        plate.points[:] = start
        advance(plate)
        return equals(
            plate.points, decay(plate.points.shape[0], plate.points.shape[1], STEPS) * start, roundings=20 * STEPS
        )()

    return compare


def judge(records: list[Record]) -> Iterable[tuple[str, bool | None]]:
    """Say how the best exchange scales against the serial program, and which exchanges differ from Sendrecv."""
    for serial in measured(records, variant="serial"):
        group = {key: value for key, value in serial.case.items() if key != "variant"}
        weak = group["scaling"] == "weak"
        for p in sorted({m.workers for m in measured(records, **group) if m.verified and m.workers > 1}):
            at = [m for m in measured(records, p, **group) if m.verified]
            best = min(at, key=lambda m: m.seconds.median)
            s = speed_up(np.array(serial.samples) * (p if weak else 1), best.samples)
            told = f"{group['scaling']} scaling, {group['grid']}, {p} ranks: {best.case['variant']} is "
            told += f"{span(s)} times the serial program at {rate(best.work['flops'], 'Flop', best.seconds.median)}"
            differ = [
                f"{c.faster['variant']} {c.says} ({span(c.ratio)})"
                for c in compared(records, p, **group)
                if c.says in ("faster", "slower")
            ]
            told += f"; against sendrecv: {', '.join(differ)}" if differ else "; no exchange can be told from sendrecv"
            crowded = best.how["oversubscribed"]
            yield (
                told + ("; more ranks than cores" if crowded else ""),
                None if crowded or s.low <= 1.05 <= s.high else s.low > 1.05,
            )


if __name__ == "__main__":
    lab("mpi_halo", main)
