"""Threads or processes: what do they cost to start and to hand data to, and what do they bring?     python labs/threads_vs_processes.py

One task, the orbits of an array's elements, which must agree bit for bit: by threads of Python with the GIL and without, by `prange`, by
processes that are sent the data pickled, by processes that share memory, by MPI ranks. And the same in plain Python, where the GIL rules:
threads, processes, and threads of a Python without it, if there is one. For 1, 2 and 4 of them: --workers 1,2,4. What new interpreters
and MPI ranks take to start is measured with --budget full.
"""

import multiprocessing
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from functools import partial
from math import inf
from typing import NamedTuple

import numpy as np

from parlab import launch
from parlab.bench import Bench, Case
from parlab.checks import equals
from parlab.errors import BadRequest
from parlab.judge import on_free_cores
from parlab.measure import Alone, Array
from parlab.openmp_like import pools
from parlab.openmp_like.interpreter_pool import Interpreter, free_threaded
from parlab.openmp_like.orbit import FLOPS_PER_STEP
from parlab.openmp_like.pools import Arrays, Block, by_pickling, by_sharing, by_views, interpreted
from parlab.openmp_like.rank_pool import RankPool
from parlab.records import Comparison, Measurement, Record, all_say, compared, measured
from parlab.start import lab
from parlab.stats import Interval
from parlab.units import nbytes as size
from parlab.units import seconds, span

# Numba is imported where it is used: processes that are spawned import this file, and need Numba only for compiled steps.

STEPS = {"smoke": 40, "quick": 120, "full": 400}
ELEMENTS = 1 << 17  # 1 MiB, and with 40 steps some 10 ms of work
IN_PYTHON = 1 << 12  # elements in plain Python, which takes some thirty times as long
SWEEP = {"smoke": (10, 20), "quick": (10, 15, 20, 24), "full": range(10, 27)}  # arrays of 2^k bytes are handed over
SHARE = {"smoke": 1.0, "quick": 3.0, "full": 2.0}  # of the usual time, for starting: six rounds are wanted
CLOSE = 1.25  # a prediction within this factor is good enough to decide by
FREE = 0.7  # threads that together reach less of p times the speed of one had no core each
LONGER = {"smoke": 0.5, "quick": 3.0, "full": 0.5}  # of the usual time, for work: some ten rounds are wanted
HAND, WORK, PLAIN = "hand-over", "work", "work in plain Python"
GAINING = ("nogil threads", "prange", "shared memory", "MPI ranks", "free-threaded Python")


class Way(NamedTuple):
    """One way to do the task: where its data lie, how it runs, and whether it keeps its cores busy from begin to end."""

    arrays: Arrays
    run: Callable[[int, int, int], object]  # count, parts, steps
    busy: bool = False


Ways = dict[str, Way]
Label = dict[str, str | int | float]


def main(bench: Bench) -> None:
    """Start and end the workers; start all of them, hand arrays to them, let them work; then see whether each had a core."""
    from parlab.openmp_like import threads

    most = max(bench.workers)
    for team in bench.threads(None, most):
        start_up(bench, team)
    with ExitStack() as stack:
        measure(bench, stack, most)
    for _ in bench.threads(threads, most):
        pass  # for what is measured on entering and leaving
    bench.conclude(judge)


def measure(bench: Bench, stack: ExitStack, most: int) -> None:
    """Hand arrays to the workers and let them work."""
    sizes, steps = [1 << k for k in SWEEP[bench.budget.name]], STEPS[bench.budget.name]
    hand, work, plain = opened(bench, stack, most, sizes[-1] // 8)
    for team in bench.threads():  # nobody is pinned, for processes are not: where a core is taken, all may leave it
        contrast(bench, team, {"part": WORK}, work, ELEMENTS, steps, "serial")
        if team.size == most:
            contrast(bench, team, {"part": PLAIN}, plain, IN_PYTHON, steps, "alone")
            for nbytes in sizes:
                contrast(bench, team, {"part": HAND, "bytes": nbytes}, hand, nbytes // 8, 0, "pickled")


def start_up(bench: Bench, team: Alone) -> None:
    """Time starting so many workers, until all are ready, and ending them."""
    from parlab.openmp_like.workload import fresh_team

    p = team.size
    with Block(p) as block:
        starts: dict[str, Callable[[], object]] = {
            "threads": lambda: pools.threads(p).shutdown(),
            "forkserver": lambda: pools.processes(p, "forkserver").shutdown(),
        }
        if bench.layer == "omp":
            starts["prange"] = partial(fresh_team, p)
        if bench.budget.name == "full":  # each takes a large part of a second, and six rounds at least
            starts["spawn"] = lambda: pools.processes(p, "spawn").shutdown()
            if there := ranks(bench, block, p):
                there.close()
                starts["MPI ranks"] = lambda: RankPool(block, p, LOCAL).close()
        cases = {name: Case(start, nobody_left) for name, start in starts.items()}
        bench.contrast(team, {"part": "start-up"}, "way", cases, against="threads", seconds=SHARE[bench.budget.name])


LOCAL = partial(launch.ranks, environ={})  # on this machine, where the memory is, also inside a Slurm allocation


def ranks(bench: Bench, block: Block, workers: int) -> RankPool | None:
    """Start MPI ranks, where there is an MPI."""
    try:
        return RankPool(block, workers, LOCAL)
    except (BadRequest, RuntimeError) as error:
        bench.skip(f"MPI ranks: {error}")
        return None


def nobody_left() -> str | None:
    """Check that the workers are gone."""
    left = [*multiprocessing.active_children(), *(one for one in threading.enumerate() if "Pool" in one.name)]
    return f"{len(left)} workers are left: {left[0]}" if left else None


def opened(bench: Bench, stack: ExitStack, workers: int, count: int) -> tuple[Ways, Ways, Ways]:
    """Start all pools, with room for `count` elements. Returns the ways to hand over, to work, to work in plain Python."""
    from parlab.openmp_like.workload import iterate, released, shared

    block = stack.enter_context(Block(count))
    own, apart = Arrays(bench.random(count) - 0.5, np.zeros(count)), block.arrays
    apart.values[:], apart.results[:] = own
    threads = stack.enter_context(pools.threads(workers))
    processes = stack.enter_context(pools.processes(workers, "forkserver"))
    hand = {
        "nogil threads": Way(own, partial(by_views, threads, own, task=released), True),
        "prange": Way(own, lambda n, parts, steps: shared(own.values[:n], own.results[:n], parts, steps), True),
        "pickled": Way(own, partial(by_pickling, processes, own)),
        "shared memory": Way(apart, partial(by_sharing, processes, block)),
    }
    if there := ranks(bench, block, workers):
        hand["MPI ranks"] = Way(apart, stack.enter_context(closing(there)).run)
    for name in hand.keys() & {"shared memory", "MPI ranks"}:
        hand[name].run(workers, workers, 1)  # now they load Numba, all at once
    work = {
        "serial": Way(own, lambda n, parts, steps: iterate(own.values[:n], own.results[:n], steps), True),
        "GIL threads": Way(own, partial(by_views, threads, own)),
        **hand,
    }
    plain = {
        "alone": Way(own, lambda n, parts, steps: interpreted(own.values[:n], own.results[:n], steps), True),
        "GIL threads": Way(own, partial(by_views, threads, own, task=interpreted)),
        "shared memory": Way(apart, partial(by_sharing, processes, block, task=interpreted)),
    }
    if python := free_threaded():
        plain["free-threaded Python"] = Way(own, stack.enter_context(closing(Interpreter(own, workers, python))).run)
    else:
        bench.skip("threads of a Python without the GIL: no python3.13t or newer is on PATH")
    return hand, work, plain


def contrast(bench: Bench, team: Alone, label: Label, ways: Ways, count: int, steps: int, against: str) -> None:
    """Let the ways do the task on the first `count` values, in a part for each thread of the team."""
    first = {id(way.arrays): Arrays(*(array[:count] for array in way.arrays)) for way in ways.values()}
    work = {"flops": FLOPS_PER_STEP * steps * count} if steps else {"bytes": 2 * 8 * count}  # there and back
    cases = {}
    for name, way in ways.items():
        values, results = first[id(way.arrays)]
        parts = 1 if name in ("serial", "alone") else team.size
        run, check = partial(way.run, count, parts, steps), right(values, results, steps)
        cases[name] = Case(run, check, [results], [values], work=work, busy=parts if way.busy and steps else 0)
    bench.contrast(
        team,
        label,
        "way",
        cases,
        against=against,
        control=against == "serial",
        seconds=LONGER[bench.budget.name] if steps else 1.0,
    )


def right(values: Array, results: Array, steps: int) -> Callable[[], str | None]:
    """Compare with the orbits computed here, bit for bit."""
    from parlab.openmp_like.workload import iterate

    def check() -> str | None:
        expected = np.empty_like(values)
        iterate(values, expected, steps)
        return None if np.array_equal(results, expected) else equals(results, expected)()

    return check


def judge(records: list[Record]) -> Iterable[tuple[str, bool | None]]:
    """Say what starting and handing over cost, what the ways bring, and from what size of task on they pay."""
    p = max(m.workers for m in measured(records))
    slower = [c for c in compared(records, p, part="start-up") if c.faster["way"] != "prange"]
    told = f"{p} workers are ready and gone again after: {times(measured(records, p, part='start-up'))}"
    yield f"{told}: no process is as quick as a thread", all_say(slower, "slower")
    sizes = sorted({int(m.case["bytes"]) for m in measured(records, p, part=HAND)})
    # The least shows what the way itself costs, the most what copying costs.
    for nbytes, better in ((sizes[0], ("nogil threads", "prange")), (sizes[-1], ("shared memory",))):
        pairs = [c for c in compared(records, p, part=HAND, bytes=nbytes) if c.faster["way"] in better]
        told = f"to hand {size(nbytes)} to {p} workers and get as much back takes: {times(measured(records, p, part=HAND, bytes=nbytes))}"
        yield f"{told}; {gains(pairs)} times as fast as pickling", if_free(records, p, all_say(pairs, "faster"))
    if p > 1:
        yield from working(records, p)
        yield paying(records, p)


def working(records: list[Record], p: int) -> Iterable[tuple[str, bool | None]]:
    """Compare with the work of one thread."""
    for part in (WORK, PLAIN):
        for c in compared(records, p, part=part, way="GIL threads"):
            holds = True if c.ratio.high < 1.1 else False if c.ratio.low > 1.1 else None
            told = f"{part}: {p} threads that keep the GIL are {span(c.ratio)} times as fast as one: they bring nothing"
            yield told, if_free(records, p, holds)
        others = [c for c in compared(records, p, part=part) if c.faster["way"] in GAINING]
        told = f"{part}: on {p} cores {gains(others)} times as fast as one thread"
        yield told, if_free(records, p, all_say(others, "faster"))


def paying(records: list[Record], p: int) -> tuple[str, bool | None]:
    """Foretell the work's time from the hand-over's, and from it the task that pays: w > w / p + h where w > h p / (p - 1)."""
    took = {m.case["way"]: m.seconds for m in measured(records, p, part=WORK)}
    share = took["serial"].map(lambda w: w / p)
    hand = {m.case["way"]: m.seconds for m in measured(records, p, part=HAND, bytes=8 * ELEMENTS)}
    off = {way: over(took[way], share, h) for way, h in hand.items()}
    close = all(ratio.low >= 1 / CLOSE and ratio.high <= CLOSE for ratio in off.values())
    far = any(ratio.high < 1 / CLOSE or ratio.low > CLOSE for ratio in off.values())
    least = ", ".join(f"{way} {seconds(h.median * p / (p - 1))} ({span(off[way])})" for way, h in hand.items())
    told = (
        f"work / {p} + hand-over foretells the time (in brackets: measured over foretold), so with {size(8 * ELEMENTS)}"
    )
    return f"{told} a task pays that takes longer than: {least}", if_free(records, p, close or (False if far else None))


def over(took: Interval, work: Interval, hand: Interval) -> Interval:
    """Return took / (work + hand), with all three at their worst; unbounded where one of them is."""
    ratio, least, most = took.median / (work.median + hand.median), work.low + hand.low, work.high + hand.high
    return Interval(ratio, took.low / most, took.high / least if least > 0 else inf, took.n)


def if_free(records: list[Record], p: int, holds: bool | None) -> bool | None:
    """Return `holds`, or None where the threads had no core each: not in the proof, or not in prange, which hands nothing over."""
    prange = [c.ratio.low for c in compared(records, p, part=WORK, way="prange")]
    return on_free_cores(records, p, holds) if p == 1 or all(low > FREE * p for low in prange) else None


def times(ways: list[Measurement]) -> str:
    """List the times of the ways."""
    return ", ".join(f"{m.case['way']} {seconds(m.seconds.median)}" for m in ways)


def gains(ways: list[Comparison]) -> str:
    """List how many times as fast the ways are as what they are compared with."""
    return ", ".join(f"{c.faster['way']} {span(c.ratio)}" for c in ways)


if __name__ == "__main__":
    lab("threads_vs_processes", main)
