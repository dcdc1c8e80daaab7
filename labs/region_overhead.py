"""What does each construct of a parallel program cost by itself?     python labs/region_overhead.py --workers 1,2,4

Each construct is put around a delay of some 0.1 us and repeated. The same delays without it, in a serial loop, are the reference: what a
repetition takes beyond it is the construct's overhead (the method of the EPCC micro-benchmarks). Numba's regions on every threading
layer, and in them the constructs of parlab.openmp_like.waiting, beside gcc's OpenMP. gcc is measured in the launch of the omp layer
only: there both use the same threads; elsewhere gcc's would spin on the cores that the layer's threads need. A reference that the
compiler had removed would make every construct look dear: so its loop is looked for in the machine code, and with twice the delay it
must take twice as long.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from math import inf

from parlab.bench import Bench, Case
from parlab.judge import at_once, within
from parlab.measure import Alone
from parlab.openmp_like import gcc, threads
from parlab.openmp_like.assembly import inner_loops
from parlab.openmp_like.layers import Refused, refuse
from parlab.openmp_like.regions import CONSTRUCTS, REFERENCE, Construct, Counted, Kernel, Words, in_c, reference, words
from parlab.records import Record, compared, measured
from parlab.start import lab
from parlab.stats import Interval, paired_ratio
from parlab.units import interval, seconds, span

TURNS = 100  # dependent additions in a delay: some 0.1 us, as in the EPCC benchmarks
REGIONS = 100  # repetitions of a whole region
REPS = 20 * REGIONS  # within one region, of whose own cost each then carries less than 1 ns
ADDS = 20 * REPS  # of the atomic addition, which is shorter
SLOW = 10  # workqueue's region takes 0.1 ms: so many times fewer of them, and half as many times more within one
GOALS = {"region": 2.2, "barrier": 1.2, "atomic": 1.15}  # overhead in units of gcc's, at most
ONCE, TWICE, C = "reference", "twice the delay", "gcc "

Arrays = tuple[Words, Words]  # out and state, the same for all kernels
Overheads = dict[str, Interval]  # by construct: seconds that a repetition adds to the reference


def main(bench: Bench) -> None:
    """Contrast all constructs with the reference, for each number of threads."""
    for team in bench.threads(threads):
        arrays = words(team.size)
        cases = references(reference, arrays, "", is_there) | constructs(bench, team, arrays)
        if bench.layer == "omp":
            cases |= in_gcc(bench, arrays)
        trials = bench.contrast(
            team, {"layer": bench.layer}, "construct", cases, against=ONCE, control=True, seconds=0.3
        )
        samples = {name: trials[name].samples / case.units for name, case in cases.items()}
        times = {name: trials[name].seconds.map(lambda t, n=case.units: t / n) for name, case in cases.items()}  # type: ignore[misc]
        table(bench, team, overheads(times, {name: paired_ratio(samples[ONCE], samples[name]) for name in cases}))
    bench.conclude(judge)


def references(kernel: Kernel, arrays: Arrays, prefix: str, check: Callable[[], str | None]) -> dict[str, Case]:
    """Make the reference, and the same with twice the delay."""
    once, twice = (Counted(REFERENCE, kernel, arrays, REPS, turns) for turns in (TURNS, 2 * TURNS))
    return {
        prefix + ONCE: Case(once.run, lambda: once.check() or check(), units=REPS, busy=1),
        prefix + TWICE: Case(twice.run, twice.check, units=REPS, busy=1),
    }


@cache
def is_there() -> str | None:
    """Look for the delay's additions in the reference's machine code, which does not change."""
    try:
        found = any("addsd" in line for loop in inner_loops(reference) for line in loop.lines)
    except NotImplementedError:  # another processor: the doubled delay remains
        return None
    return None if found else "the compiler removed the reference's loop: there is no addition in it"


def constructs(bench: Bench, team: Alone, arrays: Arrays) -> dict[str, Case]:
    """Make a case of each construct that this layer can run."""
    chosen = CONSTRUCTS
    try:
        refuse("waiting", threads=team.size)
    except Refused as error:
        chosen = {name: construct for name, construct in CONSTRUCTS.items() if not construct.waiting}
        bench.skip(f"{', '.join(CONSTRUCTS.keys() - chosen.keys())}: {error}")
    return {name: case(bench, arrays, construct, construct.kernel) for name, construct in chosen.items()}


def in_gcc(bench: Bench, arrays: Arrays) -> dict[str, Case]:
    """Make a case of each of the C functions, where there is a compiler."""
    try:
        library = gcc.load("regions.c")
    except RuntimeError as error:
        bench.skip(str(error))
        return {}
    pairs = [(name, construct) for construct in CONSTRUCTS.values() for name in construct.gcc]
    made = {C + name: case(bench, arrays, construct, in_c(library, name)) for name, construct in pairs}
    return references(in_c(library, "reference"), arrays, C, lambda: None) | made


def case(bench: Bench, arrays: Arrays, construct: Construct, kernel: Kernel) -> Case:
    """Make a case of a construct, with as many repetitions as fill a sample."""
    reps = REGIONS if construct.regions else REPS if construct.delays else ADDS
    if bench.layer == "workqueue":
        reps = reps // SLOW if construct.regions else reps * SLOW // 2
    counted = Counted(construct, kernel, arrays, reps, TURNS)
    return Case(counted.run, counted.check, units=reps)


def overheads(times: Mapping[str, Interval], ratios: Mapping[str, Interval]) -> Overheads:
    """Return what each construct adds to the reference; ratios: the reference's time over its own, paired by round."""
    bare = {name for one in CONSTRUCTS.items() if not one[1].delays for name in (one[0], *(C + c for c in one[1].gcc))}
    return {
        name: times[name] if name in bare else ratio.map(lambda r: (1 / r - 1) * times[ONCE].median)
        for name, ratio in ratios.items()
    }


def table(bench: Bench, team: Alone, added: Overheads) -> None:
    """Record the overheads in a line for the layer, and in one for the first of the C functions that do the same."""
    lines = {bench.layer: {name: name for name in CONSTRUCTS}}
    if C + ONCE in added:
        lines["gcc"] = {name: C + construct.gcc[0] for name, construct in CONSTRUCTS.items() if construct.gcc}
    for who, cases in lines.items():
        cells = {name: told(added[cases[name]]) if cases.get(name) in added else "" for name in CONSTRUCTS}
        bench.row({"adds": who, "threads": str(team.size)} | cells)


def told(overhead: Interval) -> str:
    """Write an overhead with its interval; where that holds 0, nothing was seen."""
    return f"< {seconds(overhead.high)}" if overhead.low <= 0 < overhead.high < inf else interval(overhead)


def judge(records: list[Record]) -> Iterable[tuple[str, bool | None]]:
    """Say whether the references stayed, what a region costs on each layer, and how the constructs stand to gcc's."""
    yield stayed(records)
    places = dict.fromkeys((m.workers, str(m.case["layer"])) for m in measured(records, construct=ONCE))
    for p in sorted({p for p, _ in places}):
        added = {layer: recorded(records, p, layer) for workers, layer in places if workers == p}
        costs = {layer: found["region"] for layer, found in added.items()}
        most = max(costs, key=lambda layer: costs[layer].median)
        apart = all(costs[most].low > cost.high for layer, cost in costs.items() if layer != most)
        words = (
            f"{threads_of(p)}: an empty region adds {', '.join(f'{told(c)} on {layer}' for layer, c in costs.items())}"
        )
        yield f"{words}{f'; most on {most}' * (len(costs) > 1)}", True if apart else None
        for name, goal in GOALS.items():
            rival = C + CONSTRUCTS[name].gcc[0]
            if p > 1 and rival in added.get("omp", {}):
                yield against_gcc(records, p, name, added["omp"][name], added["omp"][rival], goal)


def stayed(records: list[Record]) -> tuple[str, bool | None]:
    """Hold the references with twice the delay against the reference."""
    found = [c.ratio.map(lambda x: 1 / x) for name in (TWICE, C + TWICE) for c in compared(records, construct=name)]
    least, most = min(ratio.median for ratio in found), max(ratio.median for ratio in found)
    words = f"no reference was removed: with twice as many turns they take {least:.2f} to {most:.2f} times as long"
    removed = any(ratio.high < 1.5 for ratio in found)  # they would take as long as before, or no time
    return words, False if removed else True if all(ratio.low > 1.5 for ratio in found) else None


def recorded(records: list[Record], p: int, layer: str) -> Overheads:
    """Return the overheads on p threads of a layer."""
    times = {str(m.case["construct"]): m.seconds for m in measured(records, p, layer=layer)}
    return overheads(times, {str(c.faster["construct"]): c.ratio for c in compared(records, p, layer=layer)})


def against_gcc(
    records: list[Record], p: int, name: str, mine: Interval, other: Interval, goal: float
) -> tuple[str, bool | None]:
    """Hold an overhead against gcc's; the interval takes both at their worst."""
    ratio = Interval(mine.median / other.median, mine.low / other.high, mine.high / other.low, mine.n)
    words = f"{threads_of(p)} of omp: {name} adds {told(mine)}, gcc's {told(other)}: {span(ratio)} times (goal: at most {goal:g})"
    return words, at_once(records, p, within(ratio, high=goal), "omp")


def threads_of(p: int) -> str:
    """Write a number of threads."""
    return f"{p} thread{'s' * (p > 1)}"


if __name__ == "__main__":
    lab("region_overhead", main)
