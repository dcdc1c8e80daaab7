"""What four_models concludes: which way is the fastest on which grid, what each pays against, and from how many steps on."""

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite

from parlab import energy
from parlab.bench import AGAIN, Bench
from parlab.experiments.heat_names import (
    BLOCKED,
    GPU,
    GRID,
    HYBRID,
    MPI,
    NUMPY,
    ON_CORES,
    ON_GPUS,
    ONE_BY_ONE,
    POINT,
    PRANGE,
    SERIAL,
    START,
    STREAMED,
    TIME_OF,
    TORCH,
    TORCH_GPU,
    TWO_GPUS,
)
from parlab.judge import on_free_cores
from parlab.predictions import Verdict, least, times_as_long
from parlab.records import Measurement, Record, measured
from parlab.stats import Interval, verdict
from parlab.units import span

Race = Mapping[str, Measurement]  # by way
BEST = "the best way of the cores"
TIMES = [4**k for k in range(8)]  # steps of the picture


def races(records: Sequence[Record], part: str) -> dict[int, Race]:
    """Return what was measured of a part on the most cores, by the side of the grid; bound and control are left out."""
    most = max((m.workers for m in measured(records, **{TIME_OF: POINT})), default=0)
    found: dict[int, Race] = {}
    for m in measured(records, most, **{TIME_OF: part}):
        if m.verified and not str(m.case["way"]).endswith(AGAIN):
            side = int(m.case.get("side", 0))
            found[side] = {**found.get(side, {}), str(m.case["way"]): m}
    return found


def judge(records: list[Record]) -> Iterator[Verdict]:
    """Say what threads, ranks, both and GPUs bring, from how many steps on they do, and which way is the fastest where."""
    steps = races(records, POINT)
    p = max(m.workers for race in steps.values() for m in race.values())
    best = {side: least([m for way, m in race.items() if way in ON_CORES]) for side, race in steps.items()}
    with_best = {side: {**race, BEST: best[side]} for side, race in steps.items()}
    for way in (PRANGE, MPI, HYBRID):
        for words, holds in pays(steps, way, SERIAL):
            yield f"{p} cores: {words}", holds or on_free_cores(records, p, holds)  # who is faster had the cores for it
    for way, than in ((MPI, PRANGE), (HYBRID, MPI), (NUMPY, SERIAL), (TORCH, PRANGE)):
        for words, holds in beside(steps, way, than):
            yield f"{p} cores: {words}", holds
    yield from pays(with_best, GPU, BEST)
    yield from pays(steps, TWO_GPUS, GPU)
    for way, than in ((TORCH_GPU, GPU), (STREAMED, ONE_BY_ONE), (BLOCKED, STREAMED), (BLOCKED, GPU)):
        yield from beside(steps, way, than)
    yield from pays(with_best, BLOCKED, BEST)
    for way in (PRANGE, MPI, HYBRID):
        yield from overtakes(records, way, SERIAL)
    for way in (GPU, BLOCKED):
        yield from overtakes(records, way, str(best[max(best)].case["way"]))
    yield fastest(steps, p)


def ratios(steps: Mapping[int, Race], way: str, than: str) -> dict[int, Interval]:
    """Return how many times as fast a way is as another, by the side of the grid."""
    found = {side: race for side, race in sorted(steps.items()) if way in race and than in race}
    return {side: times_as_long(race[than], race[way]) for side, race in found.items()}


def named(way: str) -> str:
    """Return what a way is called within a sentence."""
    return {SERIAL: f"the {SERIAL}", GPU: "one GPU", TWO_GPUS: "two GPUs"}.get(way, way)


def pays(steps: Mapping[int, Race], way: str, than: str) -> Iterator[Verdict]:
    """Say from which grid on a way is faster than another: on the largest at least."""
    found = ratios(steps, way, than)
    if not found:
        return
    says = [verdict(ratio) for ratio in found.values()]
    first = next((side for i, side in enumerate(found) if set(says[i:]) == {"faster"}), None)
    where = f"from side {first} on" if first else "on the largest grid"
    holds = None if says[-1] == "cannot tell" else first is not None
    yield f"a step by {named(way)} is faster than by {named(than)} {where}: {listed(found)} times its speed", holds


def beside(steps: Mapping[int, Race], way: str, than: str) -> Iterator[Verdict]:
    """Say on which grids a way is faster or slower than another."""
    says: dict[str, list[int]] = {}
    found = ratios(steps, way, than)
    for side, ratio in found.items():
        words = {"same": "as fast", "cannot tell": "not to be told apart"}.get(verdict(ratio), verdict(ratio))
        says.setdefault(words, []).append(side)
    if found:
        told = "; ".join(f"{words} on side {spanned(sides, list(found))}" for words, sides in says.items())
        holds = None if says.keys() == {"not to be told apart"} else True
        yield f"a step by {named(way)} beside one by {named(than)}: {told}: {listed(found)} times its speed", holds


def spanned(sides: Sequence[int], among: Sequence[int]) -> str:
    """Write sides: the first and the last where none that was measured is missing between them."""
    whole = len(sides) > 2 and among[among.index(sides[0]) : among.index(sides[-1]) + 1] == sides
    return f"{sides[0]} to {sides[-1]}" if whole else ", ".join(map(str, sides))


def listed(found: Mapping[int, Interval]) -> str:
    """List ratios by side: all, or where they are many the first, the middle and the last."""
    sides = list(found)
    shown = sides if len(sides) < 5 else [sides[0], sides[len(sides) // 2], sides[-1]]
    return ", ".join(f"{side}: {span(found[side])}" for side in shown)


def once(records: Sequence[Record], side: int) -> dict[str, Interval]:
    """Return what each way takes once on a grid of this side: its program's start, and the grid's way there and back."""
    starts, found = races(records, START).get(0, {}), {}
    for way, trip in trips(records, side).items():
        start = starts.get(way) or (starts.get(GPU) if way in ON_GPUS else None)
        if start:
            found[way] = plus(bounded(start.seconds), trip)
    return found


def trips(records: Sequence[Record], side: int) -> dict[str, Interval]:
    """Return what a grid's way there and back takes by each way."""
    return {way: bounded(m.seconds) for way, m in races(records, GRID).get(side, {}).items()}


def bounded(value: Interval) -> Interval:
    """Return an interval; of too few samples for one, the median alone."""
    known = isfinite(value.low) and isfinite(value.high)
    return value if known else Interval(value.median, value.median, value.median, value.n)


def plus(one: Interval, other: Interval, factor: float = 1.0) -> Interval:
    """Return one + factor x other, both at their worst; a factor below 0 turns the other's bounds round."""
    low, high = sorted((factor * other.low, factor * other.high))
    return Interval(one.median + factor * other.median, one.low + low, one.high + high, min(one.n, other.n))


def overtakes(records: Sequence[Record], way: str, than: str) -> Iterator[Verdict]:
    """Say from how many steps on a way is sooner done than another on the largest grid, with what both take once."""
    side, race = max(races(records, POINT).items())
    counted = {
        "the grid's way there and back": trips(records, side),
        "the start of the program too": once(records, side),
    }
    costs = {what: plus(cost[way], cost[than], -1) for what, cost in counted.items() if {way, than} <= cost.keys()}
    if way == than or not costs or not {way, than} <= race.keys():
        return
    words = f"side {side}: the whole program of {named(way)} is sooner done than that of {named(than)}"
    gain = plus(race[than].seconds, race[way].seconds, -1)  # of a step of a point; unbounded where it is not known
    if not gain.low > 0:
        yield f"{words} from some number of steps on", None if gain.high > 0 else False
        return
    told = []
    for what, cost in costs.items():
        pairs = (cost.median, gain.median), (cost.low, gain.high), (cost.high, gain.low)
        middle, low, high = (max(1.0, once / (each * side**2)) for once, each in pairs)
        told.append(f"with {what} from {middle:,.0f} [{low:,.0f}, {high:,.0f}] steps on")
    yield f"{words}, {', '.join(told)}", True


def fastest(steps: Mapping[int, Race], p: int) -> Verdict:
    """Name the fastest ways by the side of the grid: the best, and those that are as fast or cannot be told from it."""
    told: list[tuple[str, list[int]]] = []
    known = True
    for side, race in sorted(steps.items()):
        best = least(list(race.values()))
        says = {way: verdict(times_as_long(best, m)) for way, m in race.items() if m is not best}
        near = " or ".join(named(way) for way in race if says.get(way) != "slower")
        known &= "cannot tell" not in says.values()
        if not told or told[-1][0] != near:
            told.append((near, []))
        told[-1][1].append(side)
    words = "; ".join(f"side {spanned(sides, sorted(steps))}: {near}" for near, sides in told)
    return f"fastest on {p} cores{' or a GPU' if GPU in steps[max(steps)] else ''}: {words}", known or None


def draw(bench: Bench, records: list[Record]) -> None:
    """Record the picture of whole programs along the number of steps, and the energy of a step."""
    side, race = max(races(records, POINT).items())
    points = side**2
    lines: dict[str, list[tuple[float, ...]]] = {}
    for way, cost in once(records, side).items():
        if way in race:
            took = {n: plus(cost, bounded(race[way].seconds), n * points) for n in TIMES}
            lines[way] = [(n, t.median, t.low, t.high) for n, t in took.items()]
    title = f"Side {side}: whole programs, with their start and the grid's way there and back"
    bench.curve(title, "steps", "seconds", lines, logx=True, logy=True)
    counted = {way: m.facts for way, m in race.items() if m.facts}
    for way, joules in counted.items():
        spent = {f"joules of the {of}": f"{x:.3g}" for of, x in joules.items()}
        bench.row({"energy of a step": f"side {side}", "way": way} | spent)
    if reason := energy.missing(energy.counters()):
        bench.row({"energy": "left out", "because": reason})
