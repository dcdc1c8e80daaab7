"""Measure cases against each other: calibrated batches, rounds in random order, the slowest worker counts, one shared stop rule.

The rules and their grounds stand in ARCHITECTURE.md, "Measuring". Nothing here knows what is measured or who runs it: the workers that
run a case together are a `Team` (one process, the ranks of a communicator, ...).
"""

import math
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, Protocol, cast

import numpy as np

from parlab.stats import Interval, median_interval, should_stop

MOST_ROUNDS = 192  # where the stop rule looks for the last time
LEAST = 6  # samples that have a 95 % interval
CLOCK_STEPS = 200  # a sample lasts at least this many steps of the clock: reading it then costs under 1 % of the sample
INVOLUNTARY = 2  # more involuntary context switches than this, and a sample is dropped
DUTY = 0.9  # a computing sample that got less than this share of its cores is dropped
DUTY_FROM = 2e-3  # seconds; below this the accounting of CPU time is too coarse to judge a sample

Array = np.ndarray[Any, np.dtype[Any]]


class Team(Protocol):
    """The workers that run a case together, as seen by one of them."""

    def barrier(self) -> None:
        """Let all workers arrive before any goes on."""

    def slowest(self, values: Array) -> Array:
        """Return the elementwise maximum over the workers, the same on all of them."""

    def words(self, mine: str | None) -> dict[int, str]:
        """Return what any of the workers has to say, by worker, the same on all of them."""


@dataclass(frozen=True)
class Alone:
    """A team of one process, which runs `size` threads by itself; pinned: each of them on a core of its own."""

    size: int = 1
    pinned: bool = False

    def barrier(self) -> None:
        """Do nothing: nobody else is there."""

    def slowest(self, values: Array) -> Array:
        """Return the values: nobody else is there."""
        return values

    def words(self, mine: str | None) -> dict[int, str]:
        """Return this worker's words, if any."""
        return {0: mine} if mine else {}


@dataclass(frozen=True)
class Trials:
    """The samples of one case, seconds for one operation by round; a dropped trial is NaN so that rounds stay paired.

    disturbed: how many trials the scheduler disturbed. They are dropped, unless fewer than six rounds would be left that are complete:
    then the machine is too busy to be choosy, all are kept, and their interval shows it.
    """

    samples: Array
    batch: int
    disturbed: int

    @property
    def kept(self) -> Array:
        """Samples without the dropped ones."""
        return self.samples[~np.isnan(self.samples)]

    @property
    def dropped(self) -> int:
        """Number of trials that were left out."""
        return int(np.isnan(self.samples).sum())

    @property
    def seconds(self) -> Interval:
        """Median with its order-statistic interval."""
        return median_interval(self.kept)


@dataclass(frozen=True)
class Clock:
    """How runs are timed. time: do a run so many times, return the seconds of all of them. step: the least difference that it sees."""

    name: str
    time: Callable[[Callable[[], object], int], float]
    step: float


@dataclass(frozen=True)
class Gpus(Alone):
    """A team of one process that drives `size` GPUs. events, gated: their clocks, without and behind the gate. settle: waits for them."""

    events: Clock = field(kw_only=True)
    gated: Clock = field(kw_only=True)
    settle: Callable[[int], None] = field(kw_only=True)

    def barrier(self) -> None:
        """Wait for the GPUs: what fills and changes arrays is issued to another stream than the runs."""
        self.settle(self.size)


def host_clock() -> Clock:
    """Return the clock of this process."""
    return Clock("host", _by_host, clock_step())


def _by_host(run: Callable[[], object], batch: int) -> float:
    start = time.perf_counter()
    for _ in range(batch):
        run()
    return time.perf_counter() - start


@dataclass(frozen=True)
class Part:
    """A run of which only `run` counts, not what comes before and after it: for `part_clock`. A call returns the seconds."""

    run: Callable[[], object]
    before: Callable[[], object] = lambda: None
    after: Callable[[], object] = lambda: None

    def __call__(self) -> float:
        """Do all of it, once."""
        self.before()
        seconds = _by_host(self.run, 1)
        self.after()
        return seconds


def part_clock() -> Clock:
    """Return the clock of this process for runs that are a `Part`."""
    return Clock("host, of a part", lambda run, batch: sum(cast(Part, run)() for _ in range(batch)), clock_step())


@cache
def clock_step() -> float:
    """Return the smallest step, in seconds, that the clock was seen to make."""
    now = time.perf_counter
    steps = []
    for _ in range(200):
        start = now()
        while (end := now()) == start:
            pass
        steps.append(end - start)
    return float(np.median(steps))


def interleave(
    runs: Mapping[str, Callable[[], object]],
    team: Team,
    *,
    limit: float,
    seed: int,
    refresh: Callable[[], None] = lambda: None,
    gate: bool = True,
    busy: Mapping[str, int] = MappingProxyType({}),
    clocks: Mapping[str, Clock] = MappingProxyType({}),
    gauge: Callable[[], float] | None = None,
    polite: int = 0,
) -> dict[str, Trials]:
    """Time every run in rounds of random order until all medians are known to 3 % or `limit` seconds have passed.

    refresh: called once before each round, to change the inputs. gate: drop trials in which the scheduler took a core away (not to be
    asked where workers outnumber the cores). busy: how many cores a run of this process keeps busy from begin to end; its CPU time is then
    held against its wall time too. clocks: what times a run, where it is not the clock of this process. gauge: seconds so far in which
    threads of this process were ready and had no core; where there is one it alone tells which trials of busy runs were disturbed.
    polite: threads that wait by giving their core to those that work.
    All workers must call with the same arguments; all get the same trials.
    """
    order = np.random.default_rng(seed)
    names = list(runs)
    clock = {name: clocks.get(name) or host_clock() for name in names}
    refresh()  # what it needs is compiled on first use, which is not to count against the limit
    batches = {name: _calibrate(runs[name], team, clock[name]) for name in names}
    table, hit = np.empty((2, MOST_ROUNDS, len(names)))
    start = time.perf_counter()
    for done in range(1, MOST_ROUNDS + 1):
        refresh()
        mine = np.empty(2 * len(names) + 1)
        for i in order.permutation(len(names)):
            team.barrier()
            name = names[i]
            mine[i], mine[len(names) + i] = _sample(
                runs[name], batches[name], clock[name], busy.get(name, 0), gauge, polite
            )
        mine[-1] = time.perf_counter() - start
        shared = team.slowest(mine)  # one exchange a round: times, disturbances and the clock, so that all decide alike
        table[done - 1], hit[done - 1], elapsed = shared[: len(names)], shared[len(names) : -1], shared[-1]
        quiet = np.where(gate & (hit[:done] > 0), np.nan, table[:done])
        complete = np.count_nonzero(~np.isnan(quiet).any(axis=1))  # rounds of which every pair can be compared
        out_of_time = elapsed > limit and (complete >= LEAST or elapsed > 3 * limit)
        if out_of_time or all(should_stop(column) for column in quiet.T):
            break
    columns = (quiet if complete >= LEAST else table[:done]).T
    return {name: Trials(columns[i].copy(), batches[name], int(hit[:done, i].sum())) for i, name in enumerate(names)}


def _calibrate(run: Callable[[], object], team: Team, clock: Clock) -> int:
    """Warm the run up and find how many calls fill a sample, agreed by all workers."""
    batch = 1
    clock.time(run, batch)
    while True:
        team.barrier()
        seconds, least = team.slowest(np.array([clock.time(run, batch), CLOCK_STEPS * clock.step]))
        if seconds >= least:
            return batch
        batch *= 2 ** min(4, math.ceil(math.log2(least / max(seconds, least / 16))))


def _sample(
    run: Callable[[], object], batch: int, clock: Clock, busy: int, gauge: Callable[[], float] | None, polite: int
) -> tuple[float, float]:
    """Return seconds for one call, and whether the scheduler disturbed it (0 or 1)."""
    waited = gauge() if gauge else 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
    cpu = time.process_time()
    wall = clock.time(run, batch)
    cpu = time.process_time() - cpu
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - before
    if gauge:
        return wall / batch, float(busy > 0 and gauge() - waited > (polite + 1 - DUTY) * wall)
    starved = wall > DUTY_FROM and cpu < DUTY * busy * wall
    return wall / batch, float(taken > INVOLUNTARY or starved)
