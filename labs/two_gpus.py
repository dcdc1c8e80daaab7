"""Two GPUs: how fast do they reach each other, and how well does a stencil scale over them?     python labs/two_gpus.py

Copies by size, one way and both ways: as the driver stages them through the host while the GPUs may not reach each other, staged by hand
through pinned memory, chunk by chunk; then, once they may, over the link by a copy engine, and by a kernel that reads the other's memory.
Then the heat equation on a grid of fixed size, cut in two: the bound is a kernel that reads and writes each point once on both GPUs, the
prediction is made of the parts of a step, each measured by itself. Results are compared bit by bit with those of one GPU.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from parlab.bench import Bench, Case
from parlab.cuda import peers_model
from parlab.cuda.pipeline_simulation import simulate
from parlab.cuda.profiles import H200
from parlab.hockney import LEAST, fit_line
from parlab.judge import within
from parlab.measure import Alone, Gpus
from parlab.records import Measurement, Record, compared, measured
from parlab.scaling import speed_up
from parlab.start import lab
from parlab.stats import Interval, verdict
from parlab.units import nbytes, rate, seconds, span

if TYPE_CHECKING or find_spec("cupy"):  # without CuPy the lab only predicts
    from parlab.cuda import device, halves, heat, peers
    from parlab.cuda.streams import captured

STEPS = 20  # in one run: even, and few enough to be issued ahead
MOST = {"smoke": "1 MiB", "quick": "1 GiB", "full": "1 GiB"}  # of a copy
SIDES = {"smoke": [64], "quick": [1024, 8192, 16384], "full": [512, 1024, 2048, 4096, 8192, 16384, 32768]}
LONG, BRIEF, WHOLE = (
    64 << 20,
    0.5,
    4.0,
)  # from this size on copies take long; the share of the usual time for shorter ones, and for these
SHARE = 0.9  # of the memory that is free

STAGED, BY_HAND, BY_LINK, BY_KERNEL = "driver stages", "staged by hand", "peer copy", "kernel reads"
IN_TURN, OVERLAPPED, BY_HOST, DIRECT, GRAPH = "in turn", "overlapped", "overlapped, by host", "direct", ", graph"
LARGE = 256 << 20  # bytes: a smaller copy does not show what the link can do
# Goals in bytes/s: shares of what nvbandwidth reaches on two H200 that are joined by NV18.
LINKED = {"one way": 0.98 * 394e9, "both ways": 0.97 * 2 * 389e9}
MODEL = 0.1  # how far a prediction may be off
SWEEP = 0.9  # of the bound that the serial sweep should reach


def main(bench: Bench) -> None:
    """Copy between the two, then race the halves against the whole on each grid."""
    for team in bench.gpus(device):
        if team.size > 1:
            copies(bench, team)
        for side in SIDES[bench.budget.name]:
            stencil(bench, team, side)
    bench.conclude(judge)


def copies(bench: Bench, team: Gpus) -> None:
    """Contrast the ways by way of the host, then, if the GPUs can reach each other, those over the link."""

    def staged(n: int) -> dict[str, peers.Way]:
        return {STAGED: peers.by_copy, BY_HAND: partial(peers.by_hand, chunks=peers_model.chunks(H200, n))}

    peers.let_reach(False)
    times = copied(bench, team, staged, STAGED)
    if peers.reachable():
        peers.let_reach(True)
        times |= copied(bench, team, lambda n: {BY_LINK: peers.by_copy, BY_KERNEL: peers.by_kernel}, BY_LINK)
    else:
        bench.skip(f"{BY_LINK}, {BY_KERNEL}, {DIRECT}: these GPUs cannot reach each other's memory")
    for (way, direction), found in times.items():
        if len(found) >= LEAST:
            line = fit_line(*zip(*found.items(), strict=True)).segments[0]
            speed = rate(2 if direction == "both ways" else 1, "B", line.beta)
            bench.row({"fitted": way, "direction": direction, "latency": seconds(line.alpha), "bandwidth": speed})


def sizes(bench: Bench) -> list[int]:
    """Return the sizes to be copied, as far as both GPUs have room for a source and a target."""
    asked = bench.sizes("1 KiB", MOST[bench.budget.name], steps=2)
    room = SHARE * peers.free_bytes() / 2
    if asked[-1] > room:
        bench.skip(f"copies beyond {nbytes(room)}: there is no memory for more")
    return [n for n in asked if n <= room]


def copied(
    bench: Bench, team: Gpus, ways: Callable[[int], Mapping[str, "peers.Way"]], against: str
) -> dict[tuple[str, str], dict[int, float]]:
    """Contrast these ways in both directions at all sizes; return the seconds by way and direction, by size."""
    times: dict[tuple[str, str], dict[int, float]] = {}
    for n in sizes(bench):
        pair = peers.Pair(n // 4)
        for direction, both in (("one way", False), ("both ways", True)):
            predicted = {
                BY_HAND: ("pipeline of an H200", peers_model.by_hand(H200, n, both)),
                BY_LINK: ("link of an H200", H200.peer.seconds(n)),
            }
            cases = {}
            for name, way in ways(n).items():
                run = peers.both_ways(pair, way) if both else peers.one_way(pair, way)
                check = partial(pair.wrong, run, peers.BOTH if both else peers.BOTH[:1])
                work = {"bytes": 2 * n if both else n}
                cases[name] = Case(run, check, work=work, prediction=predicted.get(name), clock=team.events)
            common: dict[str, str | int | float] = {"direction": direction, "bytes": n}
            longer = BRIEF if n < LONG else WHOLE  # so that six rounds fit: fewer have no interval
            trials = bench.contrast(team, common, "way", cases, against=against, control=True, seconds=longer)
            for name in cases:
                times.setdefault((name, direction), {})[n] = trials[name].seconds.median
    return times


def stencil(bench: Bench, team: Gpus, side: int) -> None:
    """Contrast the ways on one grid: on one GPU the serial program alone, on two beside it all that cut the grid."""
    need = (1 + team.size) * 8 * side**2  # bytes on the first GPU: two arrays of the grid's size, and two of half of it
    if need > SHARE * peers.free_bytes():
        bench.skip(f"grid {side} x {side}: {nbytes(need)} are needed, {nbytes(peers.free_bytes())} are free")
        return
    grid = heat.Slab(0, 1, side, side, side)
    grid.load()
    work = {"points": side**2, "bytes": heat.BYTES_PER_POINT * side**2, "flops": heat.FLOPS_PER_POINT * side**2}
    case = partial(Case, units=STEPS, work=work, clock=team.events)
    run = captured(heat.serial(grid, STEPS))
    cases = {"serial": case(run, partial(heat.wrong, grid, run), share=float(team.size))}
    bound = heat.alone(grid, STEPS, grid.carry())
    if team.size > 1:
        pair = halves.cut(side, side)
        parts = measured_parts(bench, team, side, pair)
        for name, (run, prediction) in ways(pair, parts).items():
            check = partial(halves.wrong, grid, pair, STEPS, run)
            cases[name] = case(run, check, share=1.0, prediction=("its parts", prediction))
        bound = halves.apart(pair, STEPS, halves.carry)
    common, floor = {"grid": f"{side} x {side}"}, ("carry", Case(captured(bound), units=STEPS, clock=team.gated))
    bench.contrast(team, common, "way", cases, against="serial", control=team.size > 1, floor=floor)


def ways(pair: "halves.Halves", part: Mapping[str, float]) -> "dict[str, tuple[Callable[[], None], float]]":
    """Return the ways to share a grid, with the seconds that each step should take by its parts; some of them also as a graph."""
    step, host = model(part), model(part, ", by host")
    found = {
        IN_TURN: (halves.in_turn(pair, STEPS, halves.by_link), step.in_turn),
        OVERLAPPED: (halves.overlapped(pair, STEPS, halves.by_link), step.overlapped),
        BY_HOST: (halves.overlapped(pair, STEPS, halves.by_host), host.overlapped),
    }
    if peers.reachable():
        found[DIRECT] = halves.in_turn(pair, STEPS, halves.by_word, halves.reading), step.direct
    chosen = [name for name in (OVERLAPPED, DIRECT) if name in found]
    return found | {name + GRAPH: (captured(found[name][0]), found[name][1]) for name in chosen}


def measured_parts(bench: Bench, team: Gpus, side: int, pair: "halves.Halves") -> dict[str, float]:
    """Measure the parts of a step, each by itself and with all of it issued ahead: the host's time does not count."""
    runs = {
        "whole": halves.apart(pair, STEPS, halves.whole),
        "rest": halves.apart(pair, STEPS, halves.rest),
        "edge": halves.apart(pair, STEPS, halves.edge),
        "edge and signal": halves.in_turn(pair, STEPS, halves.by_word, halves.edge),
    }
    for trade, how in ((halves.by_link, ""), (halves.by_host, ", by host")):
        runs["trade" + how] = halves.in_turn(pair, STEPS, trade, halves.idle)
        runs["edge and trade" + how] = halves.in_turn(pair, STEPS, trade, halves.edge)
    for half in pair:
        half.load()
    clock = team.gated if peers.reachable() else team.events  # the driver may wait for the host where it stages
    cases = {name: Case(run, units=STEPS, clock=clock) for name, run in runs.items()}
    trials = bench.contrast(team, {"parts of a step on": f"{side} x {side}"}, "way", cases, seconds=BRIEF)
    return {name: trials[name].seconds.median / STEPS for name in cases}


def model(part: Mapping[str, float], how: str = "") -> peers_model.Step:
    """Put the measured parts of a step together. how: how the edges are traded."""
    signal = max(0.0, part["edge and signal"] - part["edge"])
    return peers_model.Step(part["whole"], part["rest"], part["edge and trade" + how], part["trade" + how], signal)


def judge(records: list[Record]) -> Iterable[tuple[str, bool | None]]:
    """Hold the copies to the link and to each other, the sweeps to their bound, the halves to the serial program and to the model."""
    for direction, goal in LINKED.items():
        found = sorted(measured(records, way=BY_LINK, direction=direction), key=size_of)
        if found and size_of(found[-1]) >= LARGE:
            speed = found[-1].seconds.map(lambda t, m=found[-1]: m.work["bytes"] / t * 1e-9)  # type: ignore[misc]
            words = f"{BY_LINK}, {direction}, {nbytes(size_of(found[-1]))}: {span(speed, 1)} GB/s in all"
            yield f"{words} (goal: at least {goal * 1e-9:.1f})", within(speed, low=goal * 1e-9)
        yield from by_the_host(records, direction)
    for grid in dict.fromkeys(str(m.case["grid"]) for m in measured(records, way="serial")):
        yield from scaled(records, grid)


def by_the_host(records: list[Record], direction: str) -> Iterable[tuple[str, bool | None]]:
    """Say for the largest copies whether staging by hand pays and goes as predicted, and whether a kernel reads as fast as an engine."""
    for way, than in ((BY_HAND, STAGED), (BY_KERNEL, BY_LINK)):
        found = sorted(compared(records, way=way, direction=direction), key=lambda c: c.faster["bytes"])
        for c in found[-1:]:
            yield beside(f"{direction}, {nbytes(float(c.faster['bytes']))}: {way}", c.ratio, than)
    for m in sorted(measured(records, way=BY_HAND, direction=direction), key=size_of)[-1:]:
        if m.prediction and size_of(m) >= LARGE:
            off = m.seconds.map(lambda t, guess=m.prediction.seconds: guess / t)  # type: ignore[misc]
            words = f"{direction}, {nbytes(size_of(m))}, {BY_HAND}: the {m.prediction.name} predicts"
            yield f"{words} {span(off)} of the time (goal: within {MODEL:.0%})", within(off, 1 - MODEL, 1 + MODEL)


def beside(what: str, ratio: Interval, than: str) -> tuple[str, bool | None]:
    """Say how fast something is beside something else; ratio: the other's time over its own."""
    says = verdict(ratio)
    words = {"faster": "faster than", "slower": "slower than", "same": "as fast as", "cannot tell": "beside"}[says]
    return f"{what} is {words} {than}: {span(ratio)} times its speed", None if says == "cannot tell" else True


def scaled(records: list[Record], grid: str) -> Iterable[tuple[str, bool | None]]:
    """Say of one grid how near the serial sweep is to its bound, what two GPUs bring, and what overlap and a graph add to it."""
    for m in measured(records, 1, grid=grid, way="serial"):
        if m.bound:
            near = m.seconds.map(lambda t, bound=m.bound.seconds: bound / t)  # type: ignore[misc]
            words = f"{grid}, one GPU: {span(near)} of the speed of a kernel that only reads and writes the points"
            yield f"{words} (goal: at least {SWEEP})", within(near, low=SWEEP)
    found = {str(m.case["way"]): m for m in measured(records, 2, grid=grid) if m.prediction}
    if not found:
        return
    best = min(found, key=lambda way: found[way].seconds.median)
    (c,) = compared(records, 2, grid=grid, way=best)
    (base,) = measured(records, 2, grid=grid, way="serial")
    guess = base.seconds.median / found[best].prediction.seconds  # type: ignore[union-attr]
    words = f"{grid}: {best} on two GPUs is {span(c.ratio)} times as fast as one GPU; by its parts it should be"
    off = c.ratio.map(lambda x: x / guess)
    yield f"{words} {guess:.2f} (goal: within {MODEL:.0%})", within(off, 1 - MODEL, 1 + MODEL)
    for way, than in ((OVERLAPPED, IN_TURN), (OVERLAPPED + GRAPH, OVERLAPPED)):
        if way in found and than in found:
            yield beside(f"{grid}: {way}", speed_up(found[than].samples, found[way].samples), than)


def size_of(m: Measurement) -> float:
    """Return the bytes that go one way in a copy."""
    return float(m.case["bytes"])


def predict(bench: Bench) -> None:
    """Say what two H200 should do."""
    name = {"predicted for": f"two {H200.name}"}
    for n in bench.sizes("1 KiB", MOST["quick"], steps=2):
        told = {BY_LINK: seconds(H200.peer.seconds(n)), BY_HAND: seconds(peers_model.by_hand(H200, n))}
        bench.row(name | {"copy": nbytes(n)} | told | {"chunks": str(peers_model.chunks(H200, n))})
    for side in SIDES["quick"]:
        step, serial = peers_model.step(H200, side, side), peers_model.serial(H200, side, side)
        times = {"one GPU": serial, IN_TURN: step.in_turn, OVERLAPPED: step.overlapped, DIRECT: step.direct}
        gain = {"speed-up, overlapped": f"{serial / step.overlapped:.2f}"}
        bench.row(name | {"grid": f"{side} x {side}"} | {way: seconds(t) for way, t in times.items()} | gain)
    n = 16 << 20
    spans = simulate(peers_model.staged(H200, n), peers_model.chunks(H200, n), 3, "staged").spans
    out, into = ([(s.begin, s.end, f"chunk {s.what.chunk}") for s in spans if s.engine == at] for at in ("h2d", "d2h"))
    lanes = [("GPU 1 to host", out), ("host to GPU 0", into)]
    bench.lanes(Alone(2), name | {"way": BY_HAND, "copy": nbytes(n)}, lanes)


if __name__ == "__main__":
    lab("two_gpus", main, predict)
