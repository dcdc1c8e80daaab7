"""What do the ways to wait for a GPU cost, what does each block, and what does a launch cost?     python labs/stream_sync.py

A wait costs something on an idle GPU. After a kernel of known length it comes back some time after the kernel's end, and burns some cores
meanwhile. What it really waits for is found by kernels that are held in one place after the other. A launch costs the host some
microseconds whatever the kernel does: a thousand additions of 1, written in several ways, cost little else. How long must a kernel be for
issuing the next one to hide behind it? Its own time on the device, measured behind the gate, is the bound.

The sums are checked exactly. More than about a thousand operations that wait in a stream would block the host, so the cost to issue is
measured for at most 100 at a time, with a wait between them that does not count.
"""

from collections.abc import Iterable
from functools import partial
from importlib.util import find_spec

from parlab.bench import Bench, Case
from parlab.cuda.profiles import H200
from parlab.cuda.wait_rules import RULES, row
from parlab.judge import crossing, every, within
from parlab.measure import Gpus, Part, part_clock
from parlab.records import Measurement, Record, Row, all_say, compared, measured
from parlab.start import lab
from parlab.units import seconds

if find_spec("cupy"):
    from parlab.cuda import device, launches, streams, waits

KERNEL = 50e-6  # seconds: long enough for a thread that blocks to be put to sleep
IDLE, REACT = "a wait on an idle GPU", f"a kernel of {KERNEL * 1e6:g} us and a wait"
ISSUE, DEVICE, DONE = "one addition, issue only", "one addition, device only", "one addition, until all are done"
COUNTS, MOST = (1, 10, 100), 1000  # additions
KNOWN, TIMES = "one of 100 kernels of known length", 100
LENGTHS_US = (1, 2, 4, 8, 16, 32)  # of a kernel
PLAIN, RAW, GRAPH, INSIDE = "x += 1", "RawKernel", "graph", "loop in the kernel"
SINGLY = (PLAIN, "ElementwiseKernel", RAW, "cuLaunchKernel")  # a launch for each addition
ONE_BY_ONE, ALONE = "issued one by one", "on the device alone"
SPINNING, BLOCKING = "event synchronise", "event synchronise, blocking"
CLOSE = 0.2  # goal: a thousand launches take what a hundred foretell, but for this share
HIDDEN = 1.1  # goal: kernels twice as long as a launch take at most so many times their time on the device


def main(bench: Bench) -> None:
    """Measure waits, launches by their number, and kernels by their length."""
    smoke = bench.budget.name == "smoke"
    for team in bench.gpus(device):
        for name, places in waits.waited(*streams.several(2)).items():
            bench.row(row(name, places))
        waiting(bench, team)
        launching(bench, team, COUNTS[:2] if smoke else COUNTS)
        for length_us in LENGTHS_US[:2] if smoke else LENGTHS_US:
            lengths(bench, team, length_us)
    bench.conclude(judge)


def waiting(bench: Bench, team: Gpus) -> None:
    """Contrast the ways to wait, on an idle GPU and after a kernel."""
    stream = streams.main()
    made = {name: waits.Waiting(way, stream, KERNEL) for name, way in waits.ways(stream).items()}
    idle = {name: Case(one.idle, one.tried) for name, one in made.items()}
    after = {name: Case(w.run, w.wrong, poison=[w.stamps], facts=w.cores_busy) for name, w in made.items()}
    bench.contrast(team, {"measured": IDLE}, "way", idle, against=SPINNING)
    bench.contrast(team, {"measured": REACT}, "way", after, against=SPINNING, control=True)


def launching(bench: Bench, team: Gpus, counts: tuple[int, ...]) -> None:
    """Contrast the ways to add: the host's cost, the device's, both together; and foretell many from few."""
    x, told = launches.numbers(), dict[str, tuple[str, float]]()
    for count in (*counts, MOST):
        runs = {name: make(x, count) for name, make in launches.WAYS.items()}
        if count == MOST:
            runs[f"{MOST // TIMES} graphs"] = launches.graphs(x, count, TIMES)
        checks = {name: partial(launches.wrong, x, run, count) for name, run in runs.items()}
        if count < MOST:
            wait, clock = streams.main().synchronize, part_clock()
            issue = {n: Case(Part(r, after=wait), checks[n], units=count, clock=clock) for n, r in runs.items()}
            alone = {n: Case(r, checks[n], units=count, clock=team.gated) for n, r in runs.items()}
            host = bench.contrast(team, {"measured": ISSUE, "kernels": count}, "way", issue, against=PLAIN)
            gpu = bench.contrast(team, {"measured": DEVICE, "kernels": count}, "way", alone, against=PLAIN)
            costs = {n: (host[n].seconds.median / count, gpu[n].seconds.median / count) for n in SINGLY}
            told = {n: ("issue and device", in_line(MOST, *cost) / MOST) for n, cost in costs.items()}
        both = {
            n: Case(done(r), checks[n], units=count, prediction=told.get(n) if count == MOST else None)
            for n, r in runs.items()
        }
        bench.contrast(team, {"measured": DONE, "kernels": count}, "way", both, against=PLAIN, control=count == MOST)


def lengths(bench: Bench, team: Gpus, length_us: int) -> None:
    """Contrast kernels of one length, issued one by one and replayed; what the device needs for them is the bound."""
    x = launches.numbers()
    run = launches.slowly(x, TIMES, length_us * 1e-6)
    runs = {ONE_BY_ONE: run, GRAPH: streams.captured(run)}
    cases = {
        name: Case(done(run), partial(launches.wrong, x, run, TIMES), units=TIMES, share=1.0)
        for name, run in runs.items()
    }
    floor = ALONE, Case(run, units=TIMES, clock=team.gated)
    bench.contrast(team, {"measured": KNOWN, "kernel_us": length_us}, "way", cases, against=ONE_BY_ONE, floor=floor)


def done(run: "streams.Run") -> "streams.Run":
    """Return the run with a wait at its end."""

    def whole() -> None:
        run()
        streams.main().synchronize()

    return whole


def in_line(count: int, issue: float, gpu: float) -> float:
    """Return the seconds of `count` operations that the host issues and the GPU does, one after the other: a pipeline of two stages."""
    return issue + gpu + (count - 1) * max(issue, gpu)


def judge(records: list[Record]) -> Iterable[tuple[str, bool | None]]:
    """Say what waits wait for and cost, what launches cost, and from which length on kernels hide them."""
    found = [r.row for r in records if isinstance(r, Row) and "wait" in r.row]
    odd = [r["wait"] for r in found if r != row(r["wait"], RULES[r["wait"]])]
    yield f"each of {len(found)} ways waits for what CUDA says{f', but for {odd}' * bool(odd)}", bool(found) and not odd
    yield least_and_most("a wait on an idle GPU costs", measured(records, measured=IDLE), 0.0)
    yield least_and_most(
        "launched and waited for, a kernel takes, beyond its length,", measured(records, measured=REACT), KERNEL
    )
    yield spin_or_block(records)
    yield bottleneck(records)
    yield thousand(records)
    yield foretold([m for m in measured(records, measured=DONE) if m.prediction])
    yield hidden(records)


def least_and_most(words: str, found: list[Measurement], beyond: float) -> tuple[str, bool | None]:
    """Name the cheapest and the dearest; it holds where their intervals are apart."""
    found = sorted((m for m in found if str(m.case["way"]) in RULES), key=lambda m: m.seconds.median)
    least, most = (f"{seconds(m.seconds.median - beyond)} by {m.case['way']}" for m in (found[0], found[-1]))
    return f"{words} {least} to {most}", True if found[0].seconds.high < found[-1].seconds.low else None


def spin_or_block(records: list[Record]) -> tuple[str, bool | None]:
    """Hold a blocking wait against a spinning one: later, but without burning a core."""
    (spin,), (block,) = (measured(records, measured=REACT, way=way) for way in (SPINNING, BLOCKING))
    (said,) = compared(records, measured=REACT, way=BLOCKING)
    burnt = [m.facts["cores busy"] for m in (spin, block)]
    words = (
        f"a blocking wait comes back {seconds(block.seconds.median - spin.seconds.median)} later than a spinning one"
    )
    later = all_say([said], "slower")
    return f"{words} and burns {burnt[1]:.2f} cores, not {burnt[0]:.2f}", later and burnt[0] > 0.9 > 0.5 > burnt[1]


def bottleneck(records: list[Record]) -> tuple[str, bool | None]:
    """Tell whether launches one by one keep the host or the GPU busy."""
    pairs = {name: [costs(records, what, name) for what in (ISSUE, DEVICE)] for name in SINGLY}
    slower = [within(host.seconds.map(lambda t, g=gpu: t / g.seconds.median), low=1.0) for host, gpu in pairs.values()]  # type: ignore[misc]
    told = ", ".join(f"{name} {' and '.join(seconds(m.seconds.median) for m in pair)}" for name, pair in pairs.items())
    return f"tiny kernels one by one keep the host busy, not the GPU; a launch costs them: {told}", every(slower)


def costs(records: list[Record], what: str, name: str) -> Measurement:
    """Return what one of the most additions costs the host or the GPU."""
    return max(measured(records, measured=what, way=name), key=lambda m: m.case["kernels"])


def thousand(records: list[Record]) -> tuple[str, bool | None]:
    """Hold what needs fewer launches against a thousand of them."""
    rivals = [c for c in compared(records, measured=DONE, kernels=MOST) if c.faster["way"] not in SINGLY]
    rivals = [c for c in rivals if not str(c.faster["way"]).startswith(PLAIN)]
    words = ", ".join(f"{c.faster['way']} {c.ratio.median:.3g}" for c in rivals)
    return f"{MOST} additions, times as fast as {PLAIN}: {words}", all_say(rivals, "faster")


def foretold(found: list[Measurement]) -> tuple[str, bool | None]:
    """Hold a thousand launches against what a hundred foretell."""
    ratios = [m.seconds.map(lambda t, told=m.prediction.seconds: t / told) for m in found if m.prediction]  # type: ignore[misc]
    medians = [ratio.median for ratio in ratios]
    words = f"{MOST} launches take {min(medians):.2f} to {max(medians):.2f} times what issue and device costs foretell"
    return f"{words} (goal: within {CLOSE:.0%})", every(within(ratio, 1 - CLOSE, 1 + CLOSE) for ratio in ratios)


def hidden(records: list[Record]) -> tuple[str, bool | None]:
    """Find the length from which on issuing hides behind kernels, and look at those that are twice as long."""
    issue = costs(records, ISSUE, RAW).seconds.median
    gpu = sorted(measured(records, measured=KNOWN, way=ALONE), key=length)
    at = crossing([length(m) for m in gpu], [m.seconds.median for m in gpu], [issue] * len(gpu))
    long = [m for m in measured(records, measured=KNOWN, way=ONE_BY_ONE) if length(m) >= 2 * issue]
    ratios = [m.seconds.map(lambda t, bound=m.bound.seconds: t / bound) for m in long if m.bound]  # type: ignore[misc]
    behind = (
        f"kernels of {seconds(at)} and longer"
        if at
        else "all measured"
        if gpu[0].seconds.median > issue
        else "none measured"
    )
    words = f"a RawKernel takes {seconds(issue)} to issue, which hides behind {behind}"
    if ratios:
        most = max(ratio.median for ratio in ratios)
        words += f"; those of at least {seconds(2 * issue)} take up to {most:.2f} times what the device needs"
    return f"{words} (goal: at most {HIDDEN:g})", every(within(ratio, high=HIDDEN) for ratio in ratios)


def length(m: Measurement) -> float:
    """Return the length of the kernels in seconds."""
    return float(m.case["kernel_us"]) * 1e-6


def predict(bench: Bench) -> None:
    """Say what waits wait for by the books, and what the profile of a named GPU tells of launches."""
    for name, places in RULES.items():
        bench.row({"predicted for": "any GPU"} | row(name, places))
    host = {PLAIN: MOST * H200.plain, RAW: MOST * H200.issue[1], GRAPH: H200.graph, INSIDE: H200.issue[1]}
    for name, issue in host.items():
        launched = MOST if name in SINGLY else 1
        gpu = H200.gap * (1 if name == INSIDE else MOST)
        whole = in_line(launched, issue / launched, gpu / launched)
        behind = seconds(issue / MOST - H200.gap) if name in SINGLY else ""
        told = {
            "issue": seconds(issue),
            "device": seconds(gpu),
            "until done": seconds(whole),
            "hides behind kernels of": behind,
        }
        bench.row({"predicted for": H200.name, f"{MOST} additions by": name} | told)


if __name__ == "__main__":
    lab("stream_sync", main, predict)
