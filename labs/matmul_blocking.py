"""Matrix multiplication: what does each use of data that is near gain?     python labs/matmul_blocking.py --workers 1,2,4

The same n^3 multiplications and additions climb from three plain loops to the speed of the library: other orders, tiles, blocks of the
result in registers, packed operands. Each with the time that a model predicts from what it moves and from bandwidths measured here, under
the roof of multiply-adds that need no memory, against OpenBLAS on the same threads.
"""

from collections.abc import Callable, Iterator
from functools import partial
from math import inf
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from parlab.bench import Bench, Case
from parlab.checks import equals
from parlab.judge import at_once, on_free_cores, within
from parlab.measure import Alone, Array
from parlab.openmp_like import caches, matmul_loops, matmul_registers, peak, stream, threads
from parlab.openmp_like.matmul_model import REUSE, TILE, Machine
from parlab.records import Measurement, Record, compared, measured
from parlab.scaling import speed_up
from parlab.start import lab
from parlab.units import nbytes, span

LIBRARY, OWN = "OpenBLAS", "np.matmul"
IJK, IKJ, BY_INDEX, BY_SLICES, DOTS, PACKED = REUSE
GOALS = {1: 0.55, 2: 0.65}  # of the library's speed, by threads
LADDER = {"smoke": [128], "quick": [256], "full": [256, 512, 1024]}  # n, all rungs
TOP = {"smoke": [], "quick": [768], "full": [2048, 4096]}  # n, the fast rungs only
SWEPT = {"smoke": 1 << 20, "quick": 32 << 20, "full": 256 << 20}  # bytes that a bandwidth is measured over
MISS = 3  # a prediction within this factor is called right: rungs that differ by less the model does not tell apart
Said = Iterator[tuple[str, bool | None]]  # sentences, and whether they hold


def main(bench: Bench) -> None:
    """Measure what the model needs, then climb the ladder, on every team."""
    ladder, top = LADDER[bench.budget.name], TOP[bench.budget.name]
    for team in bench.threads(threads):
        for n in (*ladder, *top):
            on_threads_of_its_own(bench, team, n)
        with threadpool_limits(1, user_api="blas"):  # the team's threads call it: it shall not start threads of its own
            machine = survey(bench, team, max([*ladder, *top]))
            for n in ladder:
                climb(bench, team, n, machine, list(REUSE))
            for n in top:
                climb(bench, team, n, machine, [DOTS, PACKED])
    bench.conclude(judge)


def survey(bench: Bench, team: Alone, n: int) -> Machine:
    """Measure arithmetic, and the bandwidth of each level up to the one that holds a matrix of n x n."""
    p, x, swept = team.size, peak.registers(team.size, np.float64), SWEPT[bench.budget.name]
    rounds = swept // x.nbytes
    first, second = sorted(caches.sizes().values())[:2]
    levels: dict[float, int] = {
        first: first * p // 2,
        second: second * p // 2,
        caches.last_bytes(): caches.last_bytes() // 2,
    }
    levels = {level: size for level, size in levels.items() if level <= second or 8 * n**2 > second}
    if 8 * n**2 > max(levels):
        levels[inf] = 4 * caches.last_bytes()
    sums, adds = "sums that wait", "multiply-adds"
    cases = {
        sums: Case(partial(peak.wait_for_sums, x, rounds), busy=p),
        adds: Case(partial(peak.multiply_add, x, rounds), busy=p),
    }
    names, moved = dict[float, str](), dict[float, int]()
    for level, size in levels.items():
        a, b, c = stream.arrays(3, size // 192 * 8, p)
        sweeps = max(1, swept // size)
        names[level] = f"triad in {nbytes(size)}"
        moved[level] = 24 * a.size * sweeps
        cases[names[level]] = Case(partial(stream.triad, a, b, c, sweeps, p), busy=p)
    trials = bench.contrast(team, {"measured": "what the model needs"}, "way", cases)
    seconds = {name: one.seconds.median for name, one in trials.items()}
    bandwidth = {level: moved[level] / seconds[name] for level, name in names.items()}
    return Machine(seconds[adds] / (x.size * rounds), seconds[sums] / (p * rounds), bandwidth)


def matrices(bench: Bench, team: Alone, n: int) -> tuple[Array, Array, Array]:
    """Return a and b, seeded, and c, of n x n, touched by the threads that compute the rows."""
    a, b, c = (x.reshape(n, n) for x in stream.arrays(3, n * n, team.size))
    a[:], b[:] = bench.random(2 * n * n).reshape(2, n, n)
    return a, b, c


def on_threads_of_its_own(bench: Bench, team: Alone, n: int) -> None:
    """Time the library with its own threads, in rounds of its own: two sets of threads would wait, spinning, on the same cores."""
    a, b, c = matrices(bench, team, n)
    with threadpool_limits(team.size, user_api="blas"):
        case = Case(partial(np.matmul, a, b, out=c), equals(c, a @ b), [c], work={"flops": 2 * n**3}, busy=team.size)
        bench.contrast(team, {"n": n}, "way", {OWN: case})


def climb(bench: Bench, team: Alone, n: int, machine: Machine, rungs: list[str]) -> None:
    """Race the rungs against the library on the same threads."""
    (a, b, c), p = matrices(bench, team, n), team.size
    x, work = peak.registers(p, np.float64), {"flops": 2 * n**3}
    room = matmul_registers.workspace(n, p)
    ways: dict[str, Callable[[], object]] = {
        IJK: partial(matmul_loops.ijk, a, b, c),
        IKJ: partial(matmul_loops.ikj, a, b, c),
        BY_INDEX: partial(matmul_loops.tiled_by_index, a, b, c, TILE, p),
        BY_SLICES: partial(matmul_loops.tiled_by_slices, a, b, c, TILE, p),
        DOTS: partial(matmul_registers.dots, a, b, c, room[1].reshape(n, -1), p),
        PACKED: partial(matmul_registers.packed, a, b, c, *room),
    }
    rounds = n**3 // x.size
    usual: dict[str, Any] = {"work": work, "share": n**3 / (x.size * rounds), "busy": p}
    check = equals(c, a @ b, roundings=n)
    cases = {
        name: Case(ways[name], check, [c], prediction=("reuse", REUSE[name].seconds(n, machine)), **usual)
        for name in rungs
    }
    cases[LIBRARY] = Case(partial(matmul_registers.blas, a, b, c, p), check, [c], **usual)
    floor = "multiply-adds", Case(partial(peak.multiply_add, x, rounds), busy=p)
    bench.contrast(team, {"n": n}, "way", cases, against=LIBRARY, control=True, floor=floor, seconds=1.5)


def judge(records: list[Record]) -> Said:
    """Hold the blocks in registers against the library, the model against the clock, and tiles against none."""
    for p in sorted({m.workers for m in measured(records, way=LIBRARY)}):
        who = f"{p} threads" if p > 1 else "1 thread"
        sizes = sorted({int(m.case["n"]) for m in measured(records, p, way=LIBRARY)})
        for n in sizes:
            at = {str(m.case["way"]): m for m in measured(records, p, n=n)}
            for rung in (DOTS, PACKED):
                for c in compared(records, p, n=n, way=rung):
                    goal = GOALS.get(p) if (rung, n) == (PACKED, sizes[-1]) else None
                    told = f"{who}, n = {n}: {rung} has {span(c.ratio)} of {LIBRARY}'s speed"
                    yield (
                        told + (f" (goal: {goal})" if goal else ""),
                        at_once(records, p, within(c.ratio, goal or 0)),
                    )
            if IJK in at:
                yield from rungs(records, p, who, n, at)
        own = speed_up(at[LIBRARY].samples, at[OWN].samples)
        told = f"{who}, n = {sizes[-1]}: {OWN} on threads of its own is {span(own)} times as fast as {LIBRARY} on these"
        yield told, at_once(records, p, within(own.map(lambda ratio: 1 / ratio), 1 / 1.1))


def rungs(records: list[Record], p: int, who: str, n: int, at: dict[str, Measurement]) -> Said:
    """Say what each rung reaches, as measured and as predicted, and what tiles gain."""
    rates, missed = [], []
    for name in REUSE:
        m = at[name]
        assert m.prediction
        flops = m.work["flops"] * 1e-9
        rates.append(f"{name} {flops / m.seconds.median:.3g} ({flops / m.prediction.seconds:.3g})")
        if not m.seconds.low / MISS <= m.prediction.seconds <= m.seconds.high * MISS:
            missed.append(name)
    told = f"{who}, n = {n}, GFlop/s measured (predicted): {', '.join(rates)}; by more than a factor of {MISS} misses "
    yield told + (", ".join(missed) or "none"), on_free_cores(records, p, not missed)
    plain, index, slices = (at[name].samples for name in (IKJ, BY_INDEX, BY_SLICES))
    slower, faster = speed_up(plain, index), speed_up(index, slices)
    told = f"{who}, n = {n}: tiled by index is {span(slower)} times as fast as without tiles: each index is tested;"
    told += f" by slices it is {span(faster)} times as fast as by index"
    yield told, at_once(records, p, True if faster.low > 1.05 else False if faster.high < 1 else None)


if __name__ == "__main__":
    lab("matmul_blocking", main)
