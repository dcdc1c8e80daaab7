"""Uneven work: share it out beforehand, or hand it out as it is done?     mpirun -n 4 python -m mpi4py labs/mpi_farm.py

The Mandelbrot set by rows: some cost a thousand times as much as others. The base is the serial program; the bound is an equal
share: every rank does 1/p of all iterations, and nothing is handed out. The picture is written as mandelbrot.png.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
from mpi4py import MPI

from parlab.bench import Bench, Case
from parlab.checks import equals
from parlab.mpi.farm import SCHEDULES, Counts, Share, farm, gather, imbalance
from parlab.mpi.mandelbrot import FLOPS_PER_ITERATION, escape_counts
from parlab.pictures import write_counts
from parlab.records import Record, compared, measured
from parlab.start import lab
from parlab.units import span

SIDE = {"smoke": 64, "quick": 256, "full": 1024}  # points of the picture in each direction
LIMIT = 1000  # iterations at most
CHUNK = 4  # rows


def main(bench: Bench) -> None:
    """Contrast the schedules on every communicator."""
    side = SIDE[bench.budget.name]
    work = partial(escape_counts, height=side, width=side, limit=LIMIT)
    expected = work(0, side)
    rows = expected.sum(axis=1)
    if bench.first:
        write_counts(expected, LIMIT, bench.out / "mandelbrot.png")
    usual: dict[str, Any] = {"work": {"flops": FLOPS_PER_ITERATION * float(expected.sum())}, "share": 1.0}
    for comm in bench.communicators():
        farms = {
            name: Farm(partial(farm, schedule, comm, side, CHUNK, work), comm, expected)
            for name, schedule in SCHEDULES.items()
        }
        cases = {name: Case(one.run, one.check, facts=one.facts, **usual) for name, one in farms.items()}
        if comm.size == 1:
            picture = np.empty_like(expected)
            cases = {
                "serial": Case(partial(draw, work, picture), equals(picture, expected), [picture], **usual),
                **cases,
            }
        first, last = equal_share(rows, comm.size)
        floor = "equal share", Case(partial(work, first, last))
        bench.contrast(
            comm,
            {"rows": side, "chunk": CHUNK},
            "way",
            cases,
            against="block",
            floor=floor,
            seconds=8.0,
        )
    bench.conclude(judge)


class Farm:
    """One schedule as a case: keeps what this rank did in the last run."""

    def __init__(self, do: Callable[[], Share], comm: MPI.Intracomm, expected: Counts) -> None:
        self.do, self.comm, self.expected = do, comm, expected
        self.share = Share([], [])
        self.imbalance = 0.0

    def run(self) -> None:
        """Do all rows together with the other ranks."""
        self.share = self.do()

    def check(self) -> str | None:
        """Compare the whole picture with the serial one, bit for bit."""
        self.imbalance = imbalance(self.comm, self.share)
        return equals(gather(self.comm, self.share), self.expected)()

    def facts(self) -> dict[str, float]:
        """Give the load imbalance: the most iterations that a rank did over their mean."""
        return {"imbalance": self.imbalance}


def draw(work: Callable[[int, int], Counts], picture: Counts) -> None:
    """Be the serial program."""
    picture[:] = work(0, len(picture))


def equal_share(rows: Counts, p: int) -> tuple[int, int]:
    """Return a run of rows in the middle of the picture that holds 1/p of all iterations, or a little less."""
    middle = len(rows) // 2
    half = 1
    while 2 * half < len(rows) and rows[middle - half : middle + half].sum() * p <= rows.sum():
        half += 1
    return (0, len(rows)) if p == 1 else (middle - half + 1, middle + half - 1)


def judge(records: list[Record]) -> Iterable[tuple[str, bool | None]]:
    """Say whether handing out beats sharing out, and how uneven the shares were."""
    for p in sorted({m.workers for m in measured(records) if m.workers > 1}):
        even = {str(m.case["way"]): m.facts["imbalance"] for m in measured(records, p) if m.facts}
        for c in compared(records, p, way="shared_counter"):
            told = (
                f"{p} ranks: handing out by a shared counter is {span(c.ratio)} times as fast as equal blocks of rows: "
            )
            told += f"{c.says}; imbalance " + ", ".join(f"{way} {value:.2f}" for way, value in even.items())
            yield told, None if c.says == "cannot tell" else c.says == "faster"


if __name__ == "__main__":
    lab("mpi_farm", main)
