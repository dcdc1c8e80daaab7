"""Uneven iterations: which schedule evens them out, and what does handing out cost?     python labs/loop_schedules.py --workers 1,2,4

Rows of the Mandelbrot set from the real axis upwards: the first half of them holds 95 % of the work. Each schedule is predicted by list
scheduling from the known cost of each row and the serial rate. A loop that does nothing shows what a chunk costs. "prange,1" is prange
under numba.set_parallel_chunksize(1). One run aside leaves a log, from which come the imbalance (most work of a thread over the mean), the
proof that every row is done once, and the timeline.
"""

from collections.abc import Iterable
from ctypes import CDLL, c_int, c_long, c_void_p
from functools import partial
from statistics import median

import numba
import numpy as np

from parlab.bench import Bench, Case
from parlab.checks import equals
from parlab.judge import on_free_cores
from parlab.measure import Alone
from parlab.openmp_like import gcc, schedules, stamps, threads
from parlab.openmp_like.escape import FLOPS_PER_ITERATION
from parlab.openmp_like.list_scheduling import handed_out, makespan
from parlab.openmp_like.schedules import DYNAMIC, GUIDED, SHARES, STATIC, Counts
from parlab.openmp_like.stamps import BEGIN, END, Log
from parlab.records import Record, compared, measured
from parlab.start import lab
from parlab.stats import Interval
from parlab.units import seconds, span

ROWS = {"smoke": 64, "quick": 256, "full": 1024}  # of the picture, each of 3/4 as many points
LIMIT = 250  # iterations at most
EMPTY = 100_000  # iterations of the empty loop
KINDS = {"static": STATIC, "dynamic": DYNAMIC, "guided": GUIDED}
LANED = ("static", "static,1", "static,16", "dynamic,1", "dynamic,16", "guided,1")
PRANGES = ("prange", "prange,1")
IN_C = ("gcc static", "gcc dynamic,1", "gcc guided,1")
BARE = ("static", "dynamic,1", "gcc static", "gcc dynamic,1")  # enough for an empty loop, and on one thread
DRAWN = ("static", "dynamic,16", "guided,1")  # as timelines


def main(bench: Bench) -> None:
    """Share out the rows of the picture, then the iterations of an empty loop, on every team."""
    rows = ROWS[bench.budget.name]
    expected = np.empty((rows, 3 * rows // 4), np.int32)
    schedules.serial(expected, LIMIT)
    costs = expected.sum(axis=1).tolist()
    usual = {"flops": FLOPS_PER_ITERATION * float(sum(costs))}
    library = compiled(bench)
    all_names = (*LANED, *PRANGES, *(IN_C if library else ()))
    bare = [name for name in BARE if name in all_names]
    common = {"layer": bench.layer, "loop": "uneven"}
    rate = 0.0  # seconds for one iteration of one point; known after the first team
    for team in bench.threads(threads):
        picture = np.empty_like(expected)
        serial = partial(schedules.serial, picture, LIMIT)
        cases = {"serial": Case(serial, equals(picture, expected), [picture], work=usual, busy=1)}
        names = all_names if team.size > 1 else bare
        ways = {name: Way(name, team.size, np.empty_like(expected), library) for name in names}
        for name, way in ways.items():
            ideal = predicted(name, bench.layer, costs, team.size)
            cases[name] = Case(
                way.run,
                partial(way.wrong, expected),
                [way.counts],
                work=usual,
                prediction=("list scheduling", rate * ideal) if rate else None,
                facts=partial(way.imbalance, costs),
                busy=int(1.05 * sum(costs) / ideal),  # threads that have work nearly to the end
            )
        found = bench.contrast(team, common, "schedule", cases, against="serial", seconds=0.8)
        rate = rate or found["serial"].seconds.median / sum(costs)
        empty(bench, team, bare, library)
        for name in DRAWN if team.size == max(bench.workers) > 1 else ():
            bench.lanes(team, {"layer": bench.layer, "schedule": name}, ways[name].timeline())
    bench.conclude(judge)


def compiled(bench: Bench) -> CDLL | None:
    """Return the loop in C, where it runs on the threads that Numba runs on."""
    if bench.layer != "omp":
        return None
    try:
        library = gcc.load("schedules.c", "-ffp-contract=off")  # as Numba rounds: the same picture, bit for bit
    except RuntimeError as error:
        bench.skip(str(error))
        return None
    library.loop.argtypes = [c_void_p, c_long, c_long, c_long, c_int, c_int, c_int, c_void_p]
    return library


def parsed(name: str) -> tuple[str, str, int]:
    """Split the name of a case: who shares out (gcc, prange or nobody named), the kind of schedule, the chunk (0: not given)."""
    kind, _, chunk = name.partition(",")
    who, _, kind = kind.rpartition(" ")
    return ("prange", "static", int(chunk or 0)) if kind == "prange" else (who, kind, int(chunk or 0))


class Way:
    """One way to share out the rows of a picture among threads."""

    def __init__(self, name: str, threads: int, counts: Counts, library: CDLL | None) -> None:
        who, kind, self.chunk = parsed(name)
        self.counts, self.threads, self.library = counts, threads, library
        self.kind = KINDS[kind]
        self.draw = {"": self.by_lane, "prange": self.by_numba, "gcc": self.by_gcc}[who]
        self.lanes, self.turns = (len(counts), 1) if who else (threads, len(counts))  # of its log
        self.no_log = stamps.empty_log(self.lanes)

    def by_lane(self, log: Log) -> None:
        """Let each lane fetch its rows."""
        schedules.LOOPS[self.kind](self.counts, LIMIT, self.chunk, self.threads, log)

    def by_numba(self, log: Log) -> None:
        """Leave it to prange; chunk 0 is its default."""
        with numba.parallel_chunksize(self.chunk):
            schedules.numba_loop(self.counts, LIMIT, log)

    def by_gcc(self, log: Log) -> None:
        """Use gcc's schedule(runtime)."""
        assert self.library
        noted = log.ctypes.data if log.size else None
        self.library.loop(
            self.counts.ctypes.data, *self.counts.shape, LIMIT, self.kind, self.chunk, self.threads, noted
        )

    def run(self) -> None:
        """Do all rows."""
        self.draw(self.no_log)

    def noted(self) -> Log:
        """Return who did which rows when, from a run of its own."""
        log = stamps.empty_log(self.lanes, self.turns)
        self.draw(log)
        return stamps.noted(log)

    def wrong(self, expected: Counts) -> str | None:
        """Compare the picture with the serial one, and see that every row is done once."""
        once = stamps.once(self.noted(), len(expected))
        return equals(self.counts, expected)() or (None if once else "not every iteration was done once")

    def imbalance(self, costs: list[int]) -> dict[str, float]:
        """Give the most work of a thread over the mean."""
        work = [0] * self.threads
        for first, last, _, _, thread in self.noted().tolist():
            work[thread] += sum(costs[first:last])
        return {"imbalance": max(work) * self.threads / sum(work)}

    def timeline(self) -> list[tuple[str, list[tuple[float, float, str]]]]:
        """Give for each thread when it did which rows, in seconds."""
        noted = self.noted()
        spans = (1e-9 * (noted[:, [BEGIN, END]] - noted[:, BEGIN].min())).tolist()
        chunks = [
            (t, (*span, f"{first}-{last - 1}"))
            for span, (first, last, _, _, t) in zip(spans, noted.tolist(), strict=True)
        ]
        return [(f"thread {thread}", sorted(s for t, s in chunks if t == thread)) for thread in range(self.threads)]


def predicted(name: str, layer: str, costs: list[int], threads: int) -> float:
    """Return what a schedule takes by list scheduling, in the unit of costs."""
    who, kind, chunk = parsed(name)
    if who == "prange":
        kind, chunk = ("dynamic", chunk) if layer == "tbb" and chunk else ("static", 0)
    shares = 1 if who == "gcc" else SHARES
    return makespan(KINDS[kind], costs, handed_out(KINDS[kind], chunk, len(costs), threads, shares), threads)


def empty(bench: Bench, team: Alone, names: list[str], library: CDLL | None) -> None:
    """Time schedules of a loop that does nothing; the time is for one iteration."""
    nothing = np.empty((EMPTY, 0), np.int32)
    ways = {name: Way(name, team.size, nothing, library) for name in names}
    cases = {name: Case(way.run, partial(way.wrong, nothing), units=EMPTY) for name, way in ways.items()}
    bench.contrast(team, {"layer": bench.layer, "loop": "empty"}, "schedule", cases, against="dynamic,1")


def judge(records: list[Record]) -> Iterable[tuple[str, bool | None]]:
    """Say for each layer and number of threads what was gained, what prange does, what a chunk costs, how good the model is."""
    for layer in dict.fromkeys(str(m.case["layer"]) for m in measured(records, loop="uneven")):
        for p in sorted({m.workers for m in measured(records, layer=layer) if m.workers > 1}):
            ups = {str(c.faster["schedule"]): c.ratio for c in compared(records, p, layer=layer, loop="uneven")}
            for sentence, holds in (*gains(layer, p, ups), *chunk_costs(records, layer, p), model(records, layer, p)):
                holds = None if holds is False and disturbed(records, layer, p) else holds
                yield f"{layer}, {p} threads: {sentence}", on_free_cores(records, p, holds, layer)


def disturbed(records: list[Record], layer: str, p: int) -> bool:
    """Tell whether the scheduler had a hand in a quarter of the trials: a goal may then be missed through no fault of a schedule."""
    here = measured(records, p, layer=layer, loop="uneven")
    taken = sum(int(m.how["disturbed"]) for m in here)
    return 4 * taken > sum(m.seconds.n + int(m.how["dropped"]) for m in here)


def above(one: Interval, other: Interval, factor: float = 1.1) -> bool | None:
    """Tell whether one is clearly more than `factor` times the other; None where the intervals do not say."""
    return True if one.low > factor * other.high else False if one.high < factor * other.low else None


def gains(layer: str, p: int, ups: dict[str, Interval]) -> Iterable[tuple[str, bool | None]]:
    """Speed-ups over the serial program: by counter, by prange, by gcc."""
    static, dynamic = ups["static"], ups["dynamic,1"]
    told = f"speed-up {span(dynamic)} under dynamic,1 where static gives {span(static)}"
    if p == 2:
        met = dynamic.low >= 1.9 and static.high <= 1.1
        missed = dynamic.high < 1.9 or static.low > 1.1
        yield f"{told} (goal: at least 1.9 where static gives at most 1.1)", True if met else False if missed else None
    else:
        yield told, above(dynamic, static)
    plain, sized = ups["prange"], ups["prange,1"]
    effect = "hands out rows as threads become free" if layer == "tbb" else "changes nothing"
    gained = above(sized, plain)
    told = f"set_parallel_chunksize(1) {effect}: prange gives {span(plain)} without and {span(sized)} with it"
    yield told, None if gained is None else gained == (layer == "tbb")
    if "gcc guided,1" in ups:
        told = f"guided depends on the first chunk: {span(ups['guided,1'])} where it is 1/{2 * p} of the rows, in gcc "
        yield (
            f"{told}{span(ups['gcc guided,1'])} where it is 1/{p}, as under static",
            above(ups["guided,1"], ups["gcc guided,1"]),
        )


def chunk_costs(records: list[Record], layer: str, p: int) -> Iterable[tuple[str, bool | None]]:
    """What a chunk of one iteration costs: dynamic,1 less static, for one iteration of the empty loop."""
    times = {str(m.case["schedule"]): m.seconds for m in measured(records, p, layer=layer, loop="empty")}
    for who in ("", "gcc "):
        if who + "static" in times:
            few, many = times[who + "static"], times[who + "dynamic,1"]
            cost = Interval(many.median - few.median, many.low - few.high, many.high - few.low, many.n)
            told = f"{who}dynamic,1 adds {seconds(cost.median)} [{seconds(max(0, cost.low))}, {seconds(cost.high)}] for each chunk"
            yield f"{told} to what an empty loop takes under {who}static", cost.low > 0 or None


def model(records: list[Record], layer: str, p: int) -> tuple[str, bool | None]:
    """How far the measured times are from list scheduling."""
    guessed = [m for m in measured(records, p, layer=layer, loop="uneven") if m.prediction]
    errors = {str(m.case["schedule"]): m.seconds.median / m.prediction.seconds - 1 for m in guessed if m.prediction}
    if not errors:
        return "nothing was predicted: the serial rate was not measured before", None
    worst = max(errors, key=lambda name: abs(errors[name]))
    middle = median(abs(error) for error in errors.values())
    told = f"list scheduling from the cost of each row misses the times of {len(errors)} schedules by {middle:.1%} in the median"
    return f"{told}, by {errors[worst]:+.0%} at most ({worst})", middle <= 0.05


if __name__ == "__main__":
    lab("loop_schedules", main)
