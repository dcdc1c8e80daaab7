"""What limits a loop, and what do more threads do about it?     python labs/thread_scaling.py --workers 1,2,4

Four kernels: `pi` only computes, `triad` only moves data, `chain` only waits for memory, `pi, 1/8 serial` has a part that one thread does
alone. Each beside a serial program in the same rounds, on work of a fixed size (strong) and on work that grows with the threads (weak), and
under a roof measured in the same rounds too: multiply-adds that need no memory, the fastest copy, reading as many lines in order.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from parlab.bench import Bench, Case
from parlab.checks import equals
from parlab.judge import at_once, on_free_cores, within
from parlab.measure import Alone, Array
from parlab.openmp_like import caches, chain, peak, pi, scaling_in_c, stream, threads
from parlab.records import Record, compared, measured
from parlab.scaling import karp_flatt, speed_up
from parlab.start import lab
from parlab.units import nbytes, rate, span

PART = 8  # one part in this many is done by one thread alone
SERIAL_PART = f"pi, 1/{PART} serial"
BRIEF = 0.6  # of the usual time for a contrast: there are many
NARROW = "prange, 32 B a time"
FAR = 4  # times the last caches: three arrays of that size together come from memory, but for a small part
AS_FAST_AS_C = 0.97  # the triad beyond the caches, on one and two threads
GOALS = {"pi float64": 1.95, "triad": 1.8}  # speed-up on two threads
STEPS = {"smoke": 64 * pi.BLOCK, "quick": 1024 * pi.BLOCK, "full": 16384 * pi.BLOCK}  # of pi in a run
HOPS = {"smoke": 1 << 10, "quick": 1 << 14, "full": 1 << 17}  # along chains in a run
MOST = {"smoke": 4 << 20, "quick": 128 << 20, "full": 1 << 30}  # bytes of the largest arrays
SWEPT = {"smoke": 1 << 20, "quick": 64 << 20, "full": 1 << 30}  # bytes that a run goes over, at least once
Said = Iterator[tuple[str, bool | None]]  # sentences, and whether they hold


def main(bench: Bench) -> None:
    """Run every kernel on every team, strong and weak, then the triad on arrays of all sizes."""
    budget, cache = bench.budget.name, caches.last_bytes()
    far = min(MOST[budget], FAR * cache)
    if far < FAR * cache:
        bench.skip(f"arrays of {FAR} times the last caches, {nbytes(cache)}: at {budget} they end at {nbytes(far)}")
    for team in bench.threads(threads):
        for scaling in ("strong", "weak")[: team.size]:  # one thread's share is all there is
            seconds = integrate(bench, team, scaling, np.float64, STEPS[budget])
            integrate_partly_alone(bench, team, scaling, STEPS[budget], seconds)
            move(bench, team, scaling, far // (2 if scaling == "strong" else max(bench.workers)))
            wait(bench, team, scaling, HOPS[budget], far)
        integrate(bench, team, "strong", np.float32, STEPS[budget])
        for size in bench.sizes("8 KiB", f"{far >> 10} KiB", steps=2):
            sweep(bench, team, size, max(1, SWEPT[budget] // size), size == far)
    bench.conclude(judge)


def share(team: Alone, scaling: str) -> int:
    """Return how many times the work of the serial program all threads do together."""
    return team.size if scaling == "weak" else 1


def in_c(bench: Bench, make: Callable[[], Case]) -> dict[str, Case]:
    """Return the case in C, where there is a compiler."""
    try:
        return {"gcc": make()}
    except RuntimeError as error:
        bench.skip(str(error))
        return {}


def integrate(bench: Bench, team: Alone, scaling: str, dtype: Any, base: int) -> float:
    """Contrast pi by vectors and one by one; base: steps of the serial program, of which the seconds are returned."""
    p, steps, out, x = team.size, base * share(team, scaling), np.empty(1, dtype), peak.registers(team.size, dtype)
    rounds = pi.FLOPS_PER_STEP * base // peak.flops(x, 1)
    case = partial(integral, out, roof=peak.flops(x, rounds))
    cases = {
        "serial": case(partial(pi.serial, out, base), base, busy=1),
        "prange": case(partial(pi.parallel, out, steps, 0), steps, busy=p),
        "no vectors": case(partial(pi.parallel_strict, out, steps), steps, busy=p),
    } | in_c(bench, lambda: case(scaling_in_c.pi(out, steps, 0, p), steps, busy=p))
    floor = "multiply-adds", Case(partial(peak.multiply_add, x, rounds), busy=p)
    group = {"kernel": f"pi {out.dtype}", "scaling": scaling}
    trials = bench.contrast(team, group, "way", cases, against="serial", floor=floor, seconds=BRIEF)
    return trials["serial"].seconds.median


def integrate_partly_alone(bench: Bench, team: Alone, scaling: str, base: int, seconds: float) -> None:
    """Let one thread do a part alone that does not grow, and predict the time from the seconds that the serial program takes."""
    p, grown, out = team.size, share(team, scaling), np.empty(1)
    part, steps = base // PART, base * grown
    law = "Amdahl" if scaling == "strong" else "Gustafson", seconds * (1 / PART + (grown - 1 / PART) / p)
    case = partial(integral, out, roof=pi.FLOPS_PER_STEP * steps, law=law)
    cases = {
        "serial": integral(out, partial(pi.serial, out, base), base, busy=1),
        "prange": case(partial(pi.parallel, out, steps, part), steps),
    } | in_c(bench, lambda: case(scaling_in_c.pi(out, steps, part, p), steps))
    floor = "no serial part", Case(partial(pi.parallel, out, steps, 0), busy=p)
    group = {"kernel": SERIAL_PART, "scaling": scaling}
    bench.contrast(team, group, "way", cases, against="serial", floor=floor, seconds=BRIEF)


def integral(
    out: Array,
    run: Callable[[], object],
    steps: int,
    busy: int = 0,
    roof: int | None = None,
    law: tuple[str, float] | None = None,
) -> Case:
    """Make a case of a way to pi. roof: flops of the contrast's floor; law: the prediction."""
    check = equals(out, np.full(1, np.pi, out.dtype), roundings=pi.BLOCK + steps // pi.BLOCK)
    flops = pi.FLOPS_PER_STEP * steps
    return Case(run, check, [out], work={"flops": flops}, share=roof and flops / roof, busy=busy, prediction=law)


def move(bench: Bench, team: Alone, scaling: str, size: int) -> None:
    """Contrast the triad with the serial program's, which has arrays of `size` bytes."""
    n, grown = elements(size), share(team, scaling)
    a, b, c = stream.arrays(3, grown * n, team.size)
    serial = triad(partial(stream.triad_serial, a[:n], b[:n], c[:n], 1), a[:n], 1, 1, 1 / grown)
    cases = {"serial": serial} | triads(bench, team, a, b, c, 1)
    group = {"kernel": "triad", "scaling": scaling}
    bench.contrast(team, group, "way", cases, against="serial", floor=copy(team, a, b, 1), seconds=BRIEF)


def sweep(bench: Bench, team: Alone, size: int, sweeps: int, last: bool) -> None:
    """Contrast the triad on arrays of `size` bytes with C's; the figure is for one sweep."""
    a, b, c = stream.arrays(3, elements(size), team.size)
    p, cases, floor = team.size, triads(bench, team, a, b, c, sweeps), copy(team, a, b, sweeps)
    cases[NARROW] = triad(partial(stream.triad_narrow, a, b, c, sweeps, p), a, sweeps, p)
    cases["past the caches"] = triad(partial(stream.triad_streaming, a, b, c, sweeps, p), a, sweeps, p)
    group: dict[str, str | int | float] = {"kernel": "triad", "bytes": size}
    against = "gcc" if "gcc" in cases else None
    bench.contrast(
        team, group, "way", cases, against=against, control=last, floor=floor, seconds=2 * BRIEF if last else BRIEF
    )


def elements(size: int) -> int:
    """Return how many elements three arrays of `size` bytes together have, whole cache lines."""
    return size // (stream.BYTES_PER_ELEMENT["triad"] * stream.LINE) * stream.LINE


def triads(bench: Bench, team: Alone, a: Array, b: Array, c: Array, sweeps: int) -> dict[str, Case]:
    """Return the plain triad on all threads, in Numba and in C."""
    p = team.size
    prange = {"prange": triad(partial(stream.triad, a, b, c, sweeps, p), a, sweeps, p)}
    return prange | in_c(bench, lambda: triad(scaling_in_c.triad(a, b, c, sweeps, p), a, sweeps, p))


def triad(run: Callable[[], object], a: Array, sweeps: int, busy: int, share: float = 1.0) -> Case:
    """Make a case of a way of the triad, of arrays that hold ones."""

    def check() -> str | None:
        least, most = float(a.min()), float(a.max())
        return None if least == most == 1 + sweeps else f"elements lie in {least} .. {most}, not at {1 + sweeps}"

    work = {"bytes": stream.BYTES_PER_ELEMENT["triad"] * a.size}
    return Case(run, check, [a], units=sweeps, work=work, share=share, busy=busy)


def copy(team: Alone, a: Array, b: Array, sweeps: int) -> tuple[str, Case]:
    """Return the fastest copy of arrays of this size: what a triad does too."""
    fits = a.nbytes + b.nbytes < caches.last_bytes()
    run = partial(stream.copy if fits else stream.copy_streaming, a, b, sweeps, team.size)
    return "copy", Case(run, units=sweeps, work={"bytes": stream.BYTES_PER_ELEMENT["copy"] * a.size}, busy=team.size)


def wait(bench: Bench, team: Alone, scaling: str, hops: int, size: int) -> None:
    """Contrast walks along chains, one for each thread, that fill `size` bytes together; hops: of the serial program."""
    p, each = team.size, hops * share(team, scaling) // team.size
    chains = chain.Chains(p, size // (8 * stream.LINE * p), bench.seed)
    next, at, sums = chains.next, chains.at, np.zeros_like(chains.at)

    def case(go: Callable[[], object], at: Array, busy: int) -> Case:
        walk, count = chain.Walk(chains, at, each, go), each * (at.size // stream.LINE)
        return Case(walk.run, walk.wrong, work={"hops": count}, share=count / (p * chains.nodes), busy=busy)

    first = at[: stream.LINE] if scaling == "weak" else at
    cases = {
        "serial": case(partial(chain.walk_serial, next, first, each), first, 1),
        "prange": case(partial(chain.walk, next, at, each), at, p),
    } | in_c(bench, lambda: case(scaling_in_c.walk(next, at, each), at, p))
    floor = "reading in order", Case(partial(chain.read, next, sums), busy=p)
    group = {"kernel": "chain", "scaling": scaling}
    bench.contrast(team, group, "way", cases, against="serial", floor=floor, seconds=BRIEF)


def judge(records: list[Record]) -> Said:
    """Say what limits each kernel, what the threads gain, and how it stands to C."""
    for p in sorted({m.workers for m in measured(records, scaling="strong")}):
        if p == 1:
            yield from vectors(records)
        else:
            yield from speed_ups(records, p)
        yield from roofs(records, p)
        yield from walls(records, p)


def vectors(records: list[Record]) -> Said:
    """Say how much faster many elements in one instruction are than one."""
    for kernel in ("pi float64", "pi float32"):
        for c in compared(records, 1, kernel=kernel, way="no vectors", scaling="strong"):
            gain = c.ratio.map(lambda ratio: 1 / ratio)
            yield (
                f"1 thread, {kernel}: with vectors {span(gain)} times as fast as one element at a time",
                within(gain, 1.05),
            )


def speed_ups(records: list[Record], p: int) -> Said:
    """Hold the speed-ups against the goals, against the roof's own, and against the law."""
    for c in compared(records, p, scaling="strong", way="prange"):
        kernel, goal = str(c.faster["kernel"]), GOALS.get(str(c.faster["kernel"])) if p == 2 else None
        told = f"{p} threads, {kernel}: {span(c.ratio)} times as fast as the serial program"
        told += f" (goal: {goal})" if goal else ""
        told += f", serial part e {span(karp_flatt(c.ratio, p))}"
        roof = {m.workers: m.samples for m in measured(records, kernel=kernel, scaling="strong", way="copy")}
        if 1 in roof:
            told += f"; the copy that bounds it gains {span(speed_up(roof[1], roof[p]))}"
        yield told, on_free_cores(records, p, within(c.ratio, goal or 1.05))
    for m in measured(records, p, kernel=SERIAL_PART, way="prange"):
        assert m.prediction
        ratio = m.prediction.seconds / m.seconds.median
        told = f"{p} threads, {SERIAL_PART}, {m.case['scaling']}: {m.prediction.name} predicts {ratio:.2f} of the time measured"
        yield told, on_free_cores(records, p, abs(ratio - 1) <= 0.1)
    weak = {str(c.faster["kernel"]): c.ratio for c in compared(records, p, scaling="weak", way="prange")}
    told = ", ".join(f"{kernel} {span(ratio)}" for kernel, ratio in weak.items())
    yield f"{p} threads, weak scaling, efficiency: {told}", on_free_cores(records, p, True)


def roofs(records: list[Record], p: int) -> Said:
    """Say how near each kernel comes to its roof, and whether any is beyond it: the whole interval below the roof's."""
    bounded = [(m, m.bound) for m in measured(records, p) if m.bound]
    told = [
        f"{m.case['kernel']} {bound.seconds / m.seconds.median:.0%} ({bound.name})"
        for m, bound in bounded
        if m.case["way"] == "prange" and m.case.get("scaling") == "strong"
    ]
    over = []
    for m, bound in bounded:
        (roof,) = measured(records, p, **{**m.case, "way": bound.name})
        if m.seconds.high < bound.seconds * roof.seconds.low / roof.seconds.median:
            over.append(f"{m.case['way']} of {m.case['kernel']}")
    told.append(f"passed by {', '.join(over)}" if over else "none is passed")
    yield f"{who(p)}, share of the roofs: {', '.join(told)}", at_once(records, p, not over)


def walls(records: list[Record], p: int) -> Said:
    """Say how the triad slows down from the first cache to memory, and hold it there against C and against the copy."""
    found = {int(m.case["bytes"]): m for m in measured(records, p, kernel="triad", way="prange") if "bytes" in m.case}
    near, far = min(found), max(found)
    carried = [rate(found[size].work["bytes"], "B", found[size].seconds.median) for size in (near, far)]
    copied = next(m for m in measured(records, p, kernel="triad", way="copy", bytes=far))
    told = f"{who(p)}, the memory wall: triad carries {carried[0]} in arrays of {nbytes(near)}, {carried[1]} in {nbytes(far)}"
    told += f", where the copy carries {rate(copied.work['bytes'], 'B', copied.seconds.median)}"
    yield told, at_once(records, p, found[near].seconds.high / near < found[far].seconds.low / far)
    ratios = {way: c.ratio for way in ("prange", NARROW) for c in compared(records, p, bytes=far, way=way)}
    if ratios:
        goal = AS_FAST_AS_C if p <= 2 else 0.95
        told = ", ".join(f"{way} {span(ratio)}" for way, ratio in ratios.items())
        told = f"{who(p)}, triad in {nbytes(far)}, times as fast as gcc's: {told} (goal: one of them {goal})"
        yield told, at_once(records, p, within(max(ratios.values(), key=lambda ratio: ratio.median), goal))


def who(p: int) -> str:
    """Name a team."""
    return f"{p} threads" if p > 1 else "1 thread"


if __name__ == "__main__":
    lab("thread_scaling", main)
