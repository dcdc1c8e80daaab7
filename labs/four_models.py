"""One problem by every model: when MPI, when threads, when a GPU?     python labs/four_models.py

The heat equation of mpi_halo on square grids, from the first cache to beyond all of them: NumPy, one loop, the loop over threads, MPI
ranks, ranks of threads, torch; where there is a GPU, the same on it, on two, and streamed through it in tiles as if its memory were small.
Every way must give the bits of the serial program, torch its values to a rounding a step. All take turns in one contrast: ranks sleep on a
socket until it is theirs. Counted apart: what it takes to get a grid there and back, and what a program costs with but one step in it.
"""

from collections.abc import Mapping
from contextlib import ExitStack, closing
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, cast

import numpy as np
import psutil

from parlab import energy, gpus, results
from parlab.bench import Bench, Case
from parlab.checks import equals
from parlab.errors import BadRequest
from parlab.experiments import heat_starts, heat_verdicts, heat_ways
from parlab.experiments.heat_names import (
    CARRY,
    GPU,
    GRID,
    HYBRID,
    MPI,
    NUMPY,
    POINT,
    PRANGE,
    SERIAL,
    TIME_OF,
    TORCH,
)
from parlab.experiments.heat_ranks import HeatRanks
from parlab.experiments.heat_ways import Make, Racer, There, by_ranks, rested
from parlab.measure import Alone, Gpus
from parlab.mpi.hybrid import shape
from parlab.openmp_like import heat, threads
from parlab.openmp_like.plate import Grid, Plate
from parlab.start import lab
from parlab.units import nbytes

if TYPE_CHECKING or find_spec("cupy"):
    from parlab.cuda import device
    from parlab.experiments import heat_gpus

SIDES = {"smoke": [64], "quick": [128, 512, 2048], "full": [64, 128, 256, 512, 1024, 2048, 4096, 8192]}
POINTS = {"smoke": 1 << 16, "quick": 1 << 22, "full": 1 << 22}  # that a run sweeps: 1 to 2 ms of the serial program
ROOM = {"smoke": 48 << 10, "quick": 32 << 20, "full": 256 << 20}  # bytes of a GPU that tiles may take together
VISIT = {"smoke": 4, "quick": 32, "full": 32}  # steps that a tile does while it is there
LONGER = {"smoke": 0.5, "quick": 2.0, "full": 1.0}  # of the usual time: six rounds are wanted
COUNTED = {"smoke": 0.02, "quick": 0.5, "full": 2.0}  # seconds for which the energy of a way is counted
SHARE = 0.8  # of the memory that is free
WORK = {"points": 1.0, "flops": heat.FLOPS_PER_POINT, "bytes": heat.BYTES_PER_POINT}
judge = heat_verdicts.judge


def main(bench: Bench) -> None:
    """Race the ways on each number of cores, then start the program of each by itself."""
    bench.kind = "cores"  # that the workers have, be these threads or ranks
    torch = [TORCH] if find_spec("torch") else []
    for p in bench.workers:
        with ExitStack() as stack:
            pools, driver = ranks(bench, stack, p), on_gpus(bench) if p == max(bench.workers) else None
            if torch:
                from parlab.ddp.heat import start_threads

                start_threads(p)
            for team in bench.threads(threads, p):  # pinned: what is started from here on would have but one core
                for side in SIDES[bench.budget.name]:
                    if fits(bench, side):
                        race(bench, team, side, pools, driver)
        programs = [NUMPY, SERIAL, PRANGE, *pools, *torch, *([GPU] if driver else [])]
        heat_starts.measure(bench, p, programs)
    heat_verdicts.draw(bench, results.read(bench.out).of(bench.lab))
    bench.conclude(judge)


def ranks(bench: Bench, stack: ExitStack, cores: int) -> dict[str, HeatRanks]:
    """Start MPI ranks, one for each core; and fewer with several threads in each, where there are cores enough."""
    found: dict[str, HeatRanks] = {}
    for way, each in {MPI: (cores, 1), HYBRID: shape(cores)}.items():
        if each is None:
            bench.skip(f"{way}: it takes 4 cores, or more that are ranks times threads, at least two of both")
            continue
        try:
            found[way] = stack.enter_context(closing(HeatRanks(*each)))
        except (BadRequest, RuntimeError) as error:
            bench.skip(f"{way}: {error}")
    return found


def on_gpus(bench: Bench) -> Gpus | None:
    """Open one GPU, or two where they are, and return them as a team."""
    if reason := gpus.missing(1):
        bench.skip(f"the ways of a GPU: {reason}")
        return None
    return next(iter(gpus.teams(bench, device, [1 if gpus.missing(2) else 2])))


def fits(bench: Bench, side: int) -> bool:
    """Tell whether main memory has room for a grid by every way."""
    need, free = heat_ways.GRIDS * 16 * side**2, int(SHARE * psutil.virtual_memory().available)
    if need > free:
        bench.skip(f"side {side}: a grid by every way takes {nbytes(need)}, {nbytes(free)} may be taken")
    return need <= free


def race(bench: Bench, team: Alone, side: int, pools: Mapping[str, HeatRanks], driver: Gpus | None) -> None:
    """Contrast the ways on one grid; for the largest grid, with the full budget for all, what it takes to get it there and back too."""
    budget, largest = bench.budget.name, side == SIDES[bench.budget.name][-1]
    start = np.random.default_rng((bench.seed, side)).random((side, side))
    makes, number = heat_ways.makes(side), max(2, 2 * round(POINTS[budget] / side**2 / 2))
    racers = heat_ways.racers(makes, number, team.size, pools)
    if driver:
        there = heat_gpus.makes(side, driver.size, ROOM[budget], VISIT[budget])
        makes, racers = makes | there, racers | heat_gpus.racers(driver, there, number)
    for racer in racers.values():
        racer.held.load(start)
    steps(bench, team, start, racers, energy.counters() if largest else [])
    if largest or budget == "full":
        racers.clear()  # their memory
        there_and_back(bench, team, start, makes, pools)


def steps(bench: Bench, team: Alone, start: Grid, racers: Mapping[str, Racer], counters: list[energy.Counter]) -> None:
    """Contrast the steps, a point of one being the operation; where energy is counted, count it way by way."""
    plates = {name: cast(Plate, racers[name].held) for name in (NUMPY, SERIAL, PRANGE)}
    truths = {SERIAL: NUMPY, NUMPY: SERIAL, PRANGE: SERIAL}  # whose values a way must have; others those of prange
    cases = {}
    for name, racer in racers.items():
        counted = partial(racer.joules, counters, COUNTED[bench.budget.name]) if counters else dict[str, float]
        cases[name] = Case(
            racer.run,
            partial(racer.wrong, start, plates[truths.get(name, PRANGE)]),
            units=racer.steps * start.size,
            work=WORK,
            share=1.0 if name == PRANGE else None,
            facts=counted,
            busy=racer.busy,
            clock=racer.clock,
        )
    times, (there, here) = racers[PRANGE].steps, plates[PRANGE].u
    carried = partial(carry, there, here, times)
    bound = Case(carried, units=times * start.size, busy=team.size, clock=rested(partial(carry, there, here, 1)))
    told: dict[str, str | int | float] = {TIME_OF: POINT, "side": len(start)}
    longer = LONGER[bench.budget.name]
    bench.contrast(team, told, "way", cases, against=SERIAL, control=True, floor=(CARRY, bound), seconds=longer)


def carry(there: Grid, here: Grid, times: int) -> None:
    """Read and write all points as often as a run does, by all threads."""
    for _ in range(times):
        heat.carry(there, here)


def there_and_back(
    bench: Bench, team: Alone, start: Grid, makes: Mapping[str, Make], pools: Mapping[str, HeatRanks]
) -> None:
    """Contrast what it takes to have a grid in memory, to fill it, and to have its values back."""
    cases = {}
    for name, make in makes.items():
        trip = There(make, start)
        cases[name] = Case(trip, trip.wrong, clock=rested())
    for name, pool in pools.items():
        pool.load(start)
        cases[name] = Case(pool.there_and_back, partial(dealt, pool, start), clock=rested(timed=by_ranks))
    told: dict[str, str | int | float] = {TIME_OF: GRID, "side": len(start)}
    bench.contrast(team, told, "way", cases, against=SERIAL)


def dealt(pool: HeatRanks, start: Grid) -> str | None:
    """Say what the ranks do not have that they were dealt."""
    return equals(pool.points(), start)()


if __name__ == "__main__":
    lab("four_models", main)
