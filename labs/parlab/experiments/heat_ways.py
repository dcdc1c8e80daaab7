"""The ways to hold a square grid of the heat equation and to advance it on the cores of this machine, as a contrast sees them.

Two OpenMP runtimes (Numba's and torch's) and MPI ranks take turns on the same cores, and who has just finished a parallel loop spins for
some milliseconds, to be ready for the next. So before each sample all rest, and then a step that is not timed wakes those whose turn it is.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any, Protocol, cast

import numpy as np

from parlab.checks import equals
from parlab.energy import Counter, per_run
from parlab.experiments.heat_names import NUMPY, PRANGE, SERIAL, TORCH
from parlab.experiments.heat_ranks import HeatRanks
from parlab.measure import Clock, clock_step
from parlab.openmp_like.heat import Shared, by_loop
from parlab.openmp_like.plate import Grid, Plate

REST = 0.015  # seconds; GNU OpenMP spins for 3 ms, give or take a factor of 5 (libgomp, env.c); 4 to 8 ms were seen
GRIDS = 12  # that all ways hold together, with what they need besides: of two arrays each


class Held(Protocol):
    """A grid as one of the ways holds it."""

    def load(self, start: Grid, /) -> object:
        """Start afresh from the values of all points."""

    def points(self) -> Grid:
        """Return the present values in main memory; what was issued is done by then."""


Make = Callable[[], Any]  # makes an empty grid: a Held


@dataclass(frozen=True)
class Racer:
    """A grid, and the run that does `steps` time steps on it. busy: cores of this process that it keeps busy.

    roundings: by how many a step it may differ from the serial program; 0: the bits are the same. wait: until what was issued is done.
    """

    held: Held
    run: Callable[[], object]
    steps: int
    clock: Clock
    busy: int = 0
    roundings: int = 0
    wait: Callable[[], object] = lambda: None

    def wrong(self, start: Grid, truth: Plate) -> str | None:
        """Start afresh, do a run, say where the values are not those of the same steps by another program; None: they are."""
        self.held.load(start)
        self.run()
        truth.load(start)
        truth.advance(self.steps)
        found, expected = self.held.points(), truth.points()
        return None if np.array_equal(found, expected) else equals(found, expected, self.roundings * self.steps)()

    def joules(self, counters: list[Counter], seconds: float) -> dict[str, float]:
        """Return the joules of a step by what spent them; its run is repeated for so many seconds."""
        return {of: spent / self.steps for of, spent in per_run(self.run, self.wait, counters, seconds).items()}


def makes(side: int) -> dict[str, Make]:
    """Return what makes an empty grid, for each way of this process."""
    found: dict[str, Make] = {
        NUMPY: lambda: Plate(side, side),
        SERIAL: lambda: Plate(side, side, by_loop),
        PRANGE: lambda: Shared(side, side),
    }
    if find_spec("torch"):
        from parlab.ddp import heat

        found[TORCH] = lambda: heat.Plate(side, side)
    return found


def racers(made: Mapping[str, Make], steps: int, threads: int, pools: Mapping[str, HeatRanks]) -> dict[str, Racer]:
    """Return the ways that run on the cores, with a grid each. pools: of ranks, by the name of their way."""
    found = {}
    for name, make in made.items():
        held = make()
        busy = 1 if name in (NUMPY, SERIAL) else threads
        run, one = partial(held.advance, steps), partial(held.advance, 1)
        found[name] = Racer(held, run, steps, rested(one), busy, roundings=int(name == TORCH))
    for name, pool in pools.items():
        run, one = partial(pool.advance, steps), partial(pool.advance, 1)
        found[name] = Racer(pool, run, steps, rested(one, by_ranks))
    return found


def by_host(run: Callable[[], object], batch: int) -> float:
    """Return the seconds of so many runs."""
    begin = time.perf_counter()
    for _ in range(batch):
        run()
    return time.perf_counter() - begin


def by_ranks(run: Callable[[], object], batch: int) -> float:
    """Return the same of runs by ranks, which time themselves: each returns the seconds of the slowest."""
    return sum(cast(float, run()) for _ in range(batch))


def rested(one: Callable[[], object] = lambda: None, timed: Callable[..., float] = by_host) -> Clock:
    """Return the clock of runs before which all rest, and then `one` is done."""

    def after_rest(run: Callable[[], object], batch: int) -> float:
        time.sleep(REST)
        one()
        return timed(run, batch)

    return Clock("slowest rank, rested" if timed is by_ranks else "host, rested", after_rest, clock_step())


class There:
    """A run that makes a grid by one of the ways, takes the values there and back, and keeps them to be checked."""

    def __init__(self, make: Make, start: Grid) -> None:
        self.make, self.start, self.back = make, start, start

    def __call__(self) -> None:
        """Do it."""
        held = self.make()
        held.load(self.start)
        self.back = held.points()

    def wrong(self) -> str | None:
        """Say what did not come back."""
        return equals(self.back, self.start)()
