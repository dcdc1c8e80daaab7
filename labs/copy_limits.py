"""What does a copy between host and GPU cost, by size, direction and kind of host memory?     python labs/copy_limits.py

A copy engine carries it from and to pinned, write-combined or pageable memory, or a kernel reads or writes the host's memory by itself
(mapped). The GPU's events time these back to back behind a gate: what the device needs for one more. Copies of pageable memory keep the
program waiting: they are timed by the host's clock, and so is a pinned one, to see the program's side of it. Both directions at once are
timed as two equal copies, and as NVIDIA's nvbandwidth does it: one all the while that the other way is busy.

A line T(n) = l + n / B is fitted, and judged at sizes that it has not seen; l B bytes reach half of the bandwidth. What the link's data
sheet allows stands beside as a prediction. The GPU checks every copy, number by number.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from math import inf

from parlab.bench import Bench, Case
from parlab.cuda.limits import fitting, link_rate
from parlab.cuda.profiles import H200, Link
from parlab.hockney import fit_line, held_out_error
from parlab.judge import crossing, hidden_share, within
from parlab.measure import Clock, Gpus
from parlab.options import size
from parlab.records import Comparison, Record, Row, all_say, compared, measured
from parlab.start import lab
from parlab.stats import Interval, Verdict
from parlab.units import nbytes, rate, seconds, span

if find_spec("cupy"):
    from parlab.cuda import device, streams
    from parlab.cuda.copy_ways import Memory, Way, both_ways, read_by_host, side_by_side, to_gpu, to_host, within_gpu
    from parlab.cuda.transfers import by_engine

LEAST = "1 KiB"
MOST = {"smoke": "8 MiB", "quick": "256 MiB", "full": "1 GiB"}
# The largest sizes of the copies both ways, of those side by side, of what the host reads:
BOTH, BESIDE, READ = "256 MiB", "64 MiB", "1 MiB"
LOAD = 16 << 30  # bytes copied while the link is looked at: 0.3 s of PCIe 5 x 16
# bytes/s of NVIDIA nvbandwidth 0.8 on an H200 with PCIe 5 x 16, and the share of them to be reached here
GOALS = {"h2d": (55.4e9, 0.98), "d2h": (55.3e9, 0.98), "both ways": (101e9, 0.97)}
LONG, BRIEF, WHOLE = (
    "16 MiB",
    0.4,
    5.0,
)  # from this size on copies take long; the share of the usual time for shorter ones, and for these
FITS = 0.10  # a line that misses unseen sizes by more than this, in the median, does not describe the copies
ENGINES, READS = "side by side", "read by the host"

Times = Mapping[int, Interval]  # of a way: seconds by bytes, from the smallest on


def main(bench: Bench) -> None:
    """Contrast the ways of copying in each direction, size by size; then what copies do to each other, and what the host reads."""
    for team in bench.gpus(device):
        sizes = bench.sizes(LEAST, MOST[bench.budget.name])
        most, memory = fitting(sizes[-1], sizes[0], Memory)
        if most < sizes[-1]:
            lacking = f"{nbytes(sizes[-1])} in every kind of memory is more than there is"
            bench.skip(f"{lacking}: measured up to {nbytes(most)}")
        told = under_load(bench, memory, most)
        link, duplex = told.get("link now", ""), int(told["copy engines"]) > 1
        if not duplex:
            bench.skip("one copy engine carries both directions: nothing is copied both ways at once")
        times: dict[str, dict[int, Interval]] = defaultdict(dict)
        for n in (n for n in sizes if n <= most):
            part = slice(0, n // 4)
            groups = {"h2d": to_gpu(memory, part), "d2h": to_host(memory, part), "d2d": within_gpu(memory, part)}
            groups |= {"both ways": both_ways(memory, part)} if duplex and n <= size(BOTH) else {}
            for direction, ways in groups.items():
                for way, found in contrast(bench, team, direction, n, ways, link).items():
                    times[f"{direction}, {way}"][n] = found
        for way, by_size in times.items():
            if len(by_size) > 3:
                bench.row({"T(n) = l + n / B": way} | line(by_size)[0])
        beside, read = min(size(BESIDE), most // 4), min(size(READ), most)
        contrast(bench, team, ENGINES, beside, side_by_side(memory, beside // 4))
        contrast(bench, team, READS, read, read_by_host(memory, slice(0, read // 4)))
    bench.conclude(judge)


def under_load(bench: Bench, memory: "Memory", most: int) -> dict[str, str]:
    """Look at the GPU while its link is busy, for that of an idle one may slow down; return what it tells."""
    copy = by_engine(memory.given, memory.source["pinned"])
    for _ in range(min(500, LOAD // most)):
        copy(streams.main())
    told = device.facts(0)
    streams.main().synchronize()
    bound = link_rate(link := told.get("link now", "nvidia-smi does not tell"))
    bench.row({"link under load": link, "carries at most": f"{rate(bound, 'B', 1)} each way" if bound else ""})
    return told


def contrast(
    bench: Bench, team: Gpus, direction: str, n: int, ways: dict[str, "Way"], link: str = ""
) -> dict[str, Interval]:
    """Time the ways against the first of them; return their seconds. link: what bounds a copy of pinned memory."""
    bound = link_rate(link)
    cases = {
        name: Case(
            way.run,
            lambda way=way: next(filter(None, (copy.wrong() for copy in way.copies)), None),  # type: ignore[misc]
            poison=[copy.to for copy in way.copies],
            inputs=[copy.changing for copy in way.copies],
            work={"bytes": way.nbytes},
            clock=None if way.by_host else clock(team, way),
            prediction=(link, way.nbytes / bound) if bound and name == "pinned" else None,
        )
        for name, way in ways.items()
    }
    reference = next(iter(ways))
    longer = BRIEF if n < size(LONG) else WHOLE  # so that six rounds fit: fewer have no interval
    trials = bench.contrast(team, {"direction": direction, "bytes": n}, "way", cases, against=reference, seconds=longer)
    return {way: trials[way].seconds for way in ways}


def clock(team: Gpus, way: "Way") -> Clock:
    """Return the GPU's clock of a way."""
    return Clock("events, the other way busy", way.seconds, device.EVENT_STEP) if way.seconds else team.gated


def judge(records: list[Record]) -> Iterable[tuple[str, bool | None]]:
    """Hold the copies against the goals and the link, say what memory and ways cost, and which copies wait for which."""
    told = {key: value for r in records if isinstance(r, Row) for key, value in r.row.items()}
    for direction in ("h2d", "d2h"):
        times = recorded(records, direction, "pinned")
        least, n = min(times), max(times)
        yield reached(told, direction, f"{direction}, pinned, {nbytes(n)}", times[n].map(lambda t, n=n: n / t))  # type: ignore[misc]
        if len(times) > 3:
            words, missed = line(times)
            law = ", ".join(f"{name} {value}" for name, value in words.items())
            yield f"{direction}, pinned, T(n) = l + n / B: {law} (goal: {FITS:.0%} in the median)", missed <= FITS
        waits = recorded(records, direction, "pinned, host waits")[least]
        sentence = f"{direction}, pinned, {nbytes(least)}: the program waits {seconds(waits.median)} for a copy"
        yield f"{sentence}, the GPU needs {seconds(times[least].median)} for one more", waits.low > times[least].high
        yield factor(f"{direction}: from pageable memory", records, direction, "pageable", "slower")
        yield zero_copy(records, direction, times)
    yield factor("h2d: from write-combined memory", records, "h2d", "write-combined", "same")
    yield factor("for the host, to read write-combined memory", records, READS, "write-combined", "slower")
    if recorded(records, "both ways", "together"):
        yield from both(records, told)
    yield from engines(records, told)


def recorded(records: list[Record], direction: str, way: str) -> dict[int, Interval]:
    """Return the seconds of a way by size."""
    return {int(m.case["bytes"]): m.seconds for m in measured(records, direction=direction, way=way)}


def against(records: list[Record], direction: str, way: str) -> list[Comparison]:
    """Return what a way is beside the reference of its contrasts, from the smallest size on."""
    return compared(records, direction=direction, way=way)


def reached(told: Mapping[str, str], direction: str, what: str, found: Interval) -> tuple[str, bool | None]:
    """Hold a rate (bytes/s) against its goal where this is an H200; elsewhere only say it."""
    known, share = GOALS[direction]
    words, bound = f"{what}: {rate(found.median, 'B', 1)}", link_rate(told.get("link under load", ""))
    if bound and direction != "both ways":
        words += f", {found.median / bound:.0%} of what {told['link under load']} carries"
    if told.get("name") != "NVIDIA H200":
        return words, True
    of = found.map(lambda r: r / known)
    return f"{words}, {span(of, 3)} of nvbandwidth's {rate(known, 'B', 1)} (goal: at least {share:g})", within(
        of, share
    )


def line(times: Times) -> tuple[dict[str, str], float]:
    """Fit T(n) = l + n / B; return it in words, and by how much it misses sizes that were left out, in the median. 4 sizes or more."""
    sizes, medians = list(times), [time.median for time in times.values()]
    (fit,), missed = fit_line(sizes, medians).segments, held_out_error(fit_line, sizes, medians)
    beta = max(fit.beta, 1e-18)  # s/B: a line that does not rise at all has no bandwidth to speak of
    words = {"l": seconds(fit.alpha), "B": rate(1, "B", beta), "half of B at": nbytes(fit.alpha / beta)}
    return words | {"misses unseen sizes by": f"{missed.median:.0%}, at most {missed.max:.0%}"}, missed.median


def factor(what: str, records: list[Record], direction: str, way: str, wanted: Verdict) -> tuple[str, bool | None]:
    """Say how many times as long as with pinned memory something takes at the largest size, and whether that is as expected."""
    found = against(records, direction, way)[-1]
    times = span(found.ratio.map(lambda x: 1 / x))
    return f"{what} takes {times} times as long as pinned, at {nbytes(float(found.faster['bytes']))}", all_say(
        [found], wanted
    )


def zero_copy(records: list[Record], direction: str, copies: Times) -> tuple[str, bool | None]:
    """Say how a kernel that reaches over the link does beside a copy."""
    ends = [against(records, direction, "mapped")[place] for place in (0, -1)]
    kernels = recorded(records, direction, "mapped")
    cross = crossing(list(copies), [t.median for t in kernels.values()], [t.median for t in copies.values()])
    beside = ", ".join(f"{span(c.ratio)} times as fast at {nbytes(float(c.faster['bytes']))}" for c in ends)
    words = f"{direction}: a kernel on mapped memory is, beside a copy, {beside}"
    return words + (f"; the copy wins from {nbytes(cross)} on" if cross else ""), all(
        c.says != "cannot tell" for c in ends
    ) or None


def both(records: list[Record], told: Mapping[str, str]) -> Iterable[tuple[str, bool | None]]:
    """Hold the sum of both directions against the goal, as two copies that begin together and as nvbandwidth does it."""
    together = recorded(records, "both ways", "together")
    n = max(together)
    there, back = (recorded(records, "both ways", way)[n] for way in ("h2d beside d2h", "d2h beside h2d"))
    yield reached(told, "both ways", f"both ways, {nbytes(n)} each, together", together[n].map(lambda t: 2 * n / t))
    most = sum(n / t.low if t.low > 0 else inf for t in (there, back))  # no interval, no bound
    total = Interval(n / there.median + n / back.median, n / there.high + n / back.high, most, min(there.n, back.n))
    yield reached(told, "both ways", f"both ways, {nbytes(n)}, each while the other way is busy", total)


def engines(records: list[Record], told: Mapping[str, str]) -> Iterable[tuple[str, bool | None]]:
    """Say which copies wait for which."""
    two, opposite = (against(records, ENGINES, way)[0].ratio.map(lambda x: 1 / x) for way in ("h2d, h2d", "h2d, d2h"))
    words = f"two copies to the GPU on two streams take {span(two)} times as long as one"
    yield f"{words}: one copy engine for the direction", within(two, 1.9, 2.1)
    yield (
        f"with a copy to the host beside it one to the GPU takes {span(opposite)} times as long: another engine",
        within(opposite, high=1.5),
    )
    many, pair, all_three = (
        next(iter(recorded(records, ENGINES, way).values())) for way in ("many d2d", "h2d, d2h", "h2d, d2h, many d2d")
    )
    hidden = hidden_share(many, pair, all_three)
    words = f"beside both, copies within the GPU hide {span(hidden)} of their time"
    yield f"{words}: a third engine (the driver names {told.get('copy engines', '?')})", within(hidden, 0.5)


def predict(bench: Bench) -> None:
    """Say what each way takes on a known device, and which size reaches half of its bandwidth."""
    h2d, d2h = H200.h2d, H200.d2h
    ways = {"pinned h2d": h2d, "pinned d2h": d2h, "pageable h2d": H200.pageable_h2d, "pageable d2h": H200.pageable_d2h}
    ways["both ways"] = Link(max(h2d.latency, d2h.latency), H200.duplex * min(h2d.rate, d2h.rate))
    for n in bench.sizes(LEAST, MOST["full"]):
        times = {way: seconds(link.seconds(n)) for way, link in ways.items()}
        bench.row({"predicted for": H200.name, "bytes": nbytes(n)} | times)
    for way, link in ways.items():
        told = {
            "l": seconds(link.latency),
            "B": rate(link.rate, "B", 1),
            "half of B at": nbytes(link.latency * link.rate),
        }
        bench.row({"predicted for": H200.name, "way": way} | told)


if __name__ == "__main__":
    lab("copy_limits", main, predict)
