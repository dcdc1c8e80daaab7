"""Threads that share no data but a cache line: what does it cost, and what helps?     python labs/false_sharing.py --workers 1,2,4

Each thread counts in counters of its own; only where these lie differs. In the reference 256 B lie between the threads; a factor is the
time of a layout over the time of the reference, in the same rounds. Times are for one count by every thread.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from typing import Any

import numpy as np

from parlab.bench import Bench, Case
from parlab.checks import equals
from parlab.judge import at_once, within
from parlab.measure import Alone, Array
from parlab.openmp_like import sharing, sharing_in_c, threads
from parlab.openmp_like.lines import WORD, Layout, line_bytes
from parlab.openmp_like.one_core import on_one_core
from parlab.records import Record, Row, compared
from parlab.start import lab
from parlab.stats import Interval
from parlab.units import span

LINE, TOLD_BY = line_bytes()
FEW, MORE, MANY = (k * LINE // WORD for k in (1, 2, 8))  # bins: a row of few fills a line
APART = 256  # bytes: no line is shared, and no prefetcher reaches so far
REFERENCE, HALF, SWEPT = f"{APART} B apart", f"{APART // 2} B apart", "this far apart"
BY_BINS, OFF, ROWS, PRIVATE = "(bins, threads)", f"rows, {LINE // 2} B off the line", "rows", "private, merged once"
STRIDES = (8, 16, 32, 64, 128, 256)  # bytes from counter to counter
PADS = (0, 64, 128, 192, 256)  # bytes from the end of a row to the next
COUNTS = {
    "smoke": 20_000,
    "quick": 500_000,
    "full": 4_000_000,
}  # by a thread in a run; one takes 0.3 to 0.5 ns in the reference
Said = Iterator[tuple[str, bool | None]]  # sentences, and whether they hold
DEAR = 10  # an atomic count takes about that much longer, so that fewer are made


def main(bench: Bench) -> None:
    """Count in single counters and in histograms of every layout, in Numba and in C, on threads pinned, free and crowded."""
    n = COUNTS[bench.budget.name]
    for team in bench.threads(threads):
        for stride in STRIDES if team.size > 1 else STRIDES[:1]:
            counters(bench, team, "stored counters", sharing.count_stored, stride, n)
            counters(bench, team, "atomic counters", sharing.count_atomic, stride, n // DEAR)
        for bins in (FEW, MORE, MANY):
            histograms(bench, team, "histograms", sharing.histogram, bins, n)
        try:
            counters(bench, team, "stored counters in C", sharing_in_c.count_stored, STRIDES[0], n)
            histograms(bench, team, "histograms in C", sharing_in_c.histogram, FEW, n)
        except RuntimeError as error:  # no compiler
            bench.skip(str(error))
        if team.size > 1:
            pads(bench, team, n)
    for team in bench.threads(None, 2):
        affinity(bench, team, n)
    show_assembly(bench)
    bench.conclude(judge)


@dataclass
class Tally:
    """A loop that counts on and on, so that its check covers every run since the start.

    kernel: what holds the loop; count: runs it; tallies: where the counts show; once: what one run adds to them, of the same shape.
    """

    kernel: Any
    count: Callable[[], object]
    tallies: Array
    once: Array
    runs: int = 0

    def run(self) -> None:
        """Count once more."""
        self.runs += 1
        self.count()

    def check(self) -> str | None:
        """Say which counts were lost, or that the loop does not write; what is volatile in C does (ISO C11, 5.1.2.3)."""
        wrong = equals(self.tallies, self.runs * self.once)()
        return wrong or (sharing.unproven(self.kernel) if self.kernel in sharing.KERNELS else None)


def counters(bench: Bench, team: Alone, part: str, kernel: Any, stride: int, n: int) -> None:
    """Contrast one counter for each thread, at a stride, with the reference."""

    def case(apart: int) -> Case:
        words, tallies = Layout(apart).place(team.size, 1)
        tally = Tally(kernel, partial(kernel, words, apart // WORD, n, team.size), tallies, np.full_like(tallies, n))
        return Case(tally.run, tally.check, units=n, busy=team.size)

    cases = {SWEPT: case(stride), REFERENCE: case(APART)}
    bench.contrast(team, {"part": part, "stride_bytes": stride}, "layout", cases, against=REFERENCE)


def histograms(bench: Bench, team: Alone, part: str, kernel: Any, bins: int, n: int) -> None:
    """Contrast the layouts of a histogram for each thread, and counters that nobody else knows, with one merge at the end."""
    samples, row = draw(bench, team, bins, n), bins * WORD
    layouts = {BY_BINS: Layout(WORD, WORD * team.size), OFF: Layout(row, offset=LINE // 2), ROWS: Layout(row)}
    layouts |= {HALF: Layout(row + APART // 2), REFERENCE: Layout(row + APART)}
    cases = {name: histogram(kernel, layout, samples, bins) for name, layout in layouts.items()}
    if kernel is sharing.histogram:
        words, tallies = Layout(row).place(1, bins)
        once = sharing.tally(samples, bins).sum(axis=0, keepdims=True)
        private = sharing.histogram_private
        tally = Tally(private, partial(private, words, samples, bins), tallies, once)
        cases[PRIVATE] = Case(tally.run, tally.check, units=n, busy=team.size)
    bench.contrast(team, {"part": part, "bins": bins}, "layout", cases, against=REFERENCE, control=True, seconds=0.5)


def histogram(kernel: Any, layout: Layout, samples: Array, bins: int) -> Case:
    """Make a case of a layout."""
    lanes, n = samples.shape
    words, tallies = layout.place(lanes, bins)
    count = partial(kernel, words, samples, layout.per_thread // WORD, layout.per_bin // WORD)
    tally = Tally(kernel, count, tallies, sharing.tally(samples, bins))
    shared = {"shared lines": float(layout.shared_lines(lanes, bins, LINE))}
    return Case(tally.run, tally.check, units=n, facts=lambda: shared, busy=lanes)


def draw(bench: Bench, team: Alone, bins: int, n: int) -> Array:
    """Return samples, uint8[threads, n]."""
    return np.random.default_rng((bench.seed, bins)).integers(0, bins, (team.size, n), dtype=np.uint8)


def pads(bench: Bench, team: Alone, n: int) -> None:
    """Put more and more room between rows that share no line: what is left to gain is due to prefetchers."""
    samples = draw(bench, team, MANY, n)
    for pad in PADS:
        gaps = {SWEPT: pad, REFERENCE: APART}
        cases = {at: histogram(sharing.histogram, Layout(MANY * WORD + gaps[at]), samples, MANY) for at in gaps}
        bench.contrast(team, {"part": "padded rows", "pad_bytes": pad}, "layout", cases, against=REFERENCE)


def affinity(bench: Bench, team: Alone, n: int) -> None:
    """Let the threads run where the system puts them, then all on one core."""
    samples = draw(bench, team, FEW, n)
    layouts = {BY_BINS: Layout(WORD, WORD * team.size), REFERENCE: Layout(FEW * WORD + APART)}

    def contrast(where: str, busy: int) -> None:
        found = {name: histogram(sharing.histogram, layout, samples, FEW) for name, layout in layouts.items()}
        cases = {name: replace(case, busy=busy) for name, case in found.items()}
        bench.contrast(team, {"part": "histograms", "threads on": where}, "layout", cases, against=REFERENCE)

    contrast("any core", team.size)
    try:
        with on_one_core():
            contrast("one core", 0)
    except NotImplementedError as error:
        bench.skip(str(error))


def show_assembly(bench: Bench) -> None:
    """Record what the compiler left of each loop."""
    sharing.count_plain(np.zeros(1, np.int64), 0, 1, 1)
    for kernel in sharing.KERNELS:
        try:
            loops = sharing.counting_loops(kernel)
        except NotImplementedError as error:
            bench.skip(f"whether the loops write is not proven: {error}")
            return
        stores, locked = sum(loop.stores for loop in loops), sum(loop.locked for loop in loops)
        counts = {"counting loops": len(loops), "atomic loops": locked, "instructions that store": stores}
        bench.row({"kernel": kernel.__name__} | {what: str(count) for what, count in counts.items()})


def judge(records: list[Record]) -> Said:
    """Say what sharing a line costs the smallest and the largest team, how far it reaches, and what helps."""
    for r in records:
        if isinstance(r, Row) and r.row.get("kernel") == "count_plain":
            left = r.row["counting loops"]
            yield f"counters[t] += 1, n times: {left} loops are left in the assembly: nothing to time", left == "0"
    teams = sorted({c.workers for c in compared(records, part="padded rows")})
    yield from goals(records, 1, [(FEW, BY_BINS, 0.9, 1.1), (FEW, HALF, 0.9, 1.1)])
    for p in sorted({*teams[:1], *teams[-1:]}):
        worst = [(bins, BY_BINS, 5.0, np.inf) for bins in (FEW, MORE, MANY)]
        held = goals(records, p, [*worst, (FEW, OFF, 2.0, np.inf), (FEW, HALF, 0.9, 1.1)])
        for told, holds in (*held, *reach(records, p), *helps(records, p)):
            yield told, at_once(records, p, holds)
    for layout in (BY_BINS, OFF):
        grown = {p: span(f, 1) for p in teams for f in factor(records, p, part="histograms", bins=FEW, layout=layout)}
        if len(grown) > 1:
            yield f"{layout}, {FEW} bins, by threads: " + ", ".join(f"{p}: {f}" for p, f in grown.items()), True


def who(p: int) -> str:
    """Name a team."""
    return f"{p} threads" if p > 1 else "1 thread"


def factor(records: list[Record], p: int, **case: Any) -> list[Interval]:
    """Return how many times as long as its reference a layout takes, if it was measured."""
    return [c.ratio.map(lambda ratio: 1 / ratio) for c in compared(records, p, **case)]


def goals(records: list[Record], p: int, wanted: list[tuple[int, str, float, float]]) -> Said:
    """Hold histograms against what they have to show: (bins, layout, least, most)."""
    for bins, layout, low, high in wanted:
        for part in ("histograms", "histograms in C"):
            for f in factor(records, p, part=part, bins=bins, layout=layout):
                goal = f"above {low:g}" if high == np.inf else f"control, {low:g} to {high:g}"
                told = f"{who(p)}, {part} of {bins} bins, {layout}: {span(f)} times as long as {REFERENCE}"
                yield f"{told} (goal: {goal})", within(f, low, high)


def reach(records: list[Record], p: int) -> Said:
    """Say whether single counters show it, and how far apart is far enough."""
    for part in ("stored counters", "stored counters in C", "atomic counters"):
        for f in factor(records, p, part=part, stride_bytes=STRIDES[0], layout=SWEPT):
            shows = within(f, 1.1, np.inf)
            word = {True: "it shows", False: "the store buffer hides it", None: "too close to tell"}[shows]
            yield f"{who(p)}, {part}, {STRIDES[0]} B apart: {span(f)} times as long: {word}", shows is not None or None
    near = slow_from_first(records, p, "atomic counters", "stride_bytes", STRIDES)
    told = f"{who(p)}, atomic counters: slower up to a stride of {near} B; a line is {LINE} B ({TOLD_BY})"
    yield told, near is not None and LINE // 2 <= near < LINE
    near = slow_from_first(records, p, "padded rows", "pad_bytes", PADS)
    told = (
        "a pad gains nothing"
        if near is None
        else f"slower up to a pad of {near} B: a prefetcher reaches beyond the line"
    )
    yield f"{who(p)}, rows of {MANY * WORD} B that share no line: {told}", True


def slow_from_first(records: list[Record], p: int, part: str, along: str, values: tuple[int, ...]) -> int | None:
    """Return the last value of a sweep up to which all layouts take longer than the reference, by more than 10 %."""
    swept: list[dict[str, Any]] = [{"part": part, along: value, "layout": SWEPT} for value in values]
    slow = list(takewhile(lambda case: any(f.low > 1.1 for f in factor(records, p, **case)), swept))
    return slow[-1][along] if slow else None


def helps(records: list[Record], p: int) -> Said:
    """Say what each cure leaves of it."""
    usual: dict[str, Any] = {"part": "histograms", "bins": FEW}
    for ill in factor(records, p, **usual, layout=BY_BINS):
        cures = {at: f for at in (ROWS, PRIVATE) for f in factor(records, p, **usual, layout=at)}
        told = ", ".join(f"{name} {span(f)}" for name, f in cures.items())
        better = all(f.high < ill.low for f in cures.values())
        yield f"{who(p)}, of {span(ill)} times the cures leave: padding 1, {told}", better or None
    places = ("any core", "one core")
    found = [f for at in places for f in factor(records, p, layout=BY_BINS, **{"threads on": at})]
    if len(found) == len(places):
        told = f"{who(p)}, {BY_BINS}, not pinned: {span(found[0])} times; on one core: {span(found[1])} times"
        yield f"{told}: threads that take turns do not share", within(found[1], 0.5, 1.5)


if __name__ == "__main__":
    lab("false_sharing", main)
