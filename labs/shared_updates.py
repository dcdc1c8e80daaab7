"""Threads that add to the same counters: what is right, what is fast?     python labs/shared_updates.py --workers 1,2,4

A histogram with 8, 256 and 65,536 bins, in ways that differ in who may touch which counter when, beside the same loops in C under gcc's
OpenMP and np.bincount; times are for one update, "lost" is the share of them that is missing in the end. Then a sum of numbers of which
nearly all cancel, with its error relative to the exactly rounded sum.
"""

from collections.abc import Callable, Iterable
from ctypes import CDLL, c_int, c_long, c_void_p
from functools import partial
from typing import Any

import numpy as np

from parlab.bench import Bench, Case
from parlab.judge import on_free_cores, within
from parlab.measure import Alone, Array
from parlab.openmp_like import gcc, summation, threads, updates
from parlab.records import Measurement, Record, compared, measured
from parlab.start import lab
from parlab.units import span

BINS = (8, 256, 65_536)
SAMPLES = {"smoke": 1 << 14, "quick": 1 << 18, "full": 1 << 22}
FEWER = 16  # critical sections, many times slower than the rest, get so much fewer of the samples
NUMBERS = {"smoke": 1 << 12, "quick": 1 << 16, "full": 1 << 20}  # of the sum
# Whom our way is held against, and the goal: how many times as long it may take.
PAIRS = {"atomic": ("gcc atomic", 1.15), "padded": ("gcc reduction", 1.6)}

Count = Callable[[Array, Array], object]  # samples, counts


def main(bench: Bench) -> None:
    """Count and add on every team."""
    library = compiled(bench)
    for team in bench.threads(threads):
        for bins in BINS:
            ways = histograms(bench, team, bins, library)
            common = {"bins": bins}
            bench.contrast(team, common, "way", ways, against="serial", seconds=1.0 if team.size > 1 else 0.5)
            for ours, (theirs, _) in PAIRS.items():
                if theirs in ways and team.size > 1:
                    pair = {name: ways[name] for name in (theirs, ours)}
                    bench.contrast(team, common | {"beside": theirs}, "way", pair, against=theirs, control=True)
        bench.contrast(
            team, {"numbers": NUMBERS[bench.budget.name]}, "way", sums(bench, team), against="serial", seconds=0.5
        )
    bench.conclude(judge)


def compiled(bench: Bench) -> CDLL | None:
    """Return the loops in C, where they run on the threads that Numba runs on."""
    if bench.layer != "omp":
        bench.skip(f"gcc's OpenMP is not compared: its threads are not those of Numba's layer {bench.layer}")
        return None
    try:
        library = gcc.load("updates.c")
    except RuntimeError as error:
        bench.skip(str(error))
        return None
    for function in (library.atomic, library.critical, library.reduction):
        function.argtypes = [c_void_p, c_long, c_void_p, c_long, c_int]
    return library


class Histogram:
    """One way to count, with counts of its own."""

    def __init__(self, count: Count, samples: Array, bins: int) -> None:
        self.count, self.samples = count, samples
        self.counts = np.zeros(bins, np.int64)

    def case(self, busy: int, exact: bool = True) -> Case:
        """Return it as a case, whose time is for one update."""
        check = self.differs if exact else self.impossible
        return Case(self.run, check, [self.counts], units=self.samples.size, facts=self.facts, busy=busy)

    def run(self) -> None:
        """Count all samples."""
        self.count(self.samples, self.counts)

    def facts(self) -> dict[str, float]:
        """Give the share of the updates that the last run lost."""
        return {"lost": 1 - float(self.counts.sum()) / self.samples.size}

    def differs(self) -> str | None:
        """Compare with np.bincount."""
        wrong = np.count_nonzero(self.counts != np.bincount(self.samples, minlength=self.counts.size))
        return f"{wrong} of {self.counts.size} bins are wrong" if wrong else None

    def impossible(self) -> str | None:
        """Ask of a race only what it cannot get wrong."""
        total = int(self.counts.sum())
        return None if 0 < total <= self.samples.size else f"{total} updates of {self.samples.size} arrived"


def histograms(bench: Bench, team: Alone, bins: int, library: CDLL | None) -> dict[str, Case]:
    """Return all ways to count as cases."""
    n, p = SAMPLES[bench.budget.name], team.size
    samples = np.random.default_rng(bench.seed).integers(0, bins, n, np.uint16)
    side_by_side, apart = np.zeros((bins, p), np.int64), updates.rows_apart(p, bins)
    ways: dict[str, Count] = {
        "serial": updates.serial,
        "np.bincount": lambda x, counts: np.copyto(counts, np.bincount(x, minlength=bins)),
        "race": lambda x, counts: updates.race(x, counts, p),
        "atomic": lambda x, counts: updates.atomic(x, counts, p),
        "critical": lambda x, counts: updates.critical(x, counts, p),
        "interleaved": lambda x, counts: updates.interleaved(x, counts, p, side_by_side),
        "padded": lambda x, counts: updates.padded(x, counts, p, apart),
        "reduction": lambda x, counts: updates.reduction(x, counts, p),
    }

    def in_c(function: Any, x: Array, counts: Array) -> None:
        function(x.ctypes.data, x.size, counts.ctypes.data, bins, p)

    for name in ("atomic", "critical", "reduction") if library else ():
        ways[f"gcc {name}"] = partial(in_c, getattr(library, name))
    if p > 1:
        del ways["np.bincount"]  # one thread is all that it uses
    cases = {}
    for name, count in ways.items():
        locked, threads = "critical" in name, 1 if name == "serial" else p
        few = samples[: n // FEWER] if locked else samples
        cases[name] = Histogram(count, few, bins).case(0 if locked else threads, exact=name != "race")
    return cases


class Sum:
    """One way to add, with its result in memory so that it can be poisoned."""

    def __init__(self, add: Callable[[Any], float], x: Array, bounded: bool = True) -> None:
        self.add, self.x, self.bounded = add, x, bounded
        self.total = np.zeros(1)

    def case(self) -> Case:
        """Return it as a case, whose time is for one number."""
        return Case(self.run, self.wrong, [self.total], units=self.x.size, facts=self.facts)

    def run(self) -> None:
        """Add all numbers."""
        self.total[0] = self.add(self.x)

    def facts(self) -> dict[str, float]:
        """Give the error relative to the exactly rounded sum."""
        exact = summation.exact(self.x)
        return {"relative error": abs(float(self.total[0]) - exact) / abs(exact)}

    def wrong(self) -> str | None:
        """Hold the error against the bound for any order; of a race ask only for a number."""
        error = abs(float(self.total[0]) - summation.exact(self.x))
        bound = summation.error_bound(self.x) if self.bounded else np.inf
        return None if error <= bound else f"the sum is off by {error:.2g}, more than rounding can do: {bound:.2g}"


def sums(bench: Bench, team: Alone) -> dict[str, Case]:
    """Return the ways to add as cases; those that use one thread beside one thread."""
    x = summation.cancelling(NUMBERS[bench.budget.name], np.random.default_rng(bench.seed))
    adding = {"serial": summation.strict, "race": summation.race, "reduction": summation.reduction}
    if team.size == 1:
        adding |= {"fastmath": summation.fastmath, "pairwise": summation.pairwise, "exact": summation.exact}
    return {name: Sum(add, x, bounded=name != "race").case() for name, add in adding.items()}


def judge(records: list[Record]) -> Iterable[tuple[str, bool | None]]:
    """Say for each number of threads what was lost, what it costs to lose nothing, how near gcc that is, and what a sum loses."""
    added = [m for m in measured(records) if "numbers" in m.case]
    for p in sorted({m.workers for m in added if m.workers > 1}):
        for sentence, holds in (lost(records, p), *gained(records, p), *beside_gcc(records, p), off(added, p)):
            yield f"{p} threads: {sentence}", on_free_cores(records, p, holds)
    errors = {m.workers: m.facts["relative error"] for m in added if m.case["way"] == "reduction"}
    if len(errors) > 1:
        told = ", ".join(f"{error:.2g} with {p}" for p, error in errors.items())
        yield f"prange's sum depends on the number of threads: relative error {told}", len(set(errors.values())) > 1


def lost(records: list[Record], p: int) -> tuple[str, bool | None]:
    """What share of the updates the race lost, and that nothing else lost any."""
    counts = [m for m in measured(records, p) if "lost" in m.facts]
    races = {m.case["bins"]: m.facts["lost"] for m in counts if m.case["way"] == "race"}
    told = ", ".join(f"{share:.2%} at {bins} bins" for bins, share in races.items())
    others = max(m.facts["lost"] for m in counts if m.case["way"] != "race")
    return f"of the updates the race loses {told}; all other ways lose {others:.0%}", any(races.values()) and not others


def gained(records: list[Record], p: int) -> Iterable[tuple[str, bool | None]]:
    """Speed-ups over one thread: counters of all, of each thread, and of each thread but on shared cache lines."""
    for bins in BINS:
        found = [c for c in compared(records, p, bins=bins) if "beside" not in c.faster]
        ups = {str(c.faster["way"]): c.ratio for c in found}
        best = ups["padded"]
        shared = {way: ups[way] for way in ("critical", "atomic", "interleaved")}
        told = ", ".join(f"{way} {span(up)}" for way, up in shared.items())
        surely, never = (
            all(best.low > up.high for up in shared.values()),
            any(best.high < up.low for up in shared.values()),
        )
        yield (
            f"speed-up at {bins} bins: {span(best)} by private counters in rows apart; {told}",
            surely or (False if never else None),
        )


def beside_gcc(records: list[Record], p: int) -> Iterable[tuple[str, bool | None]]:
    """How much longer our way takes than gcc's."""
    for ours, (theirs, goal) in PAIRS.items():
        for c in compared(records, p, way=ours, beside=theirs):
            taken = c.ratio.map(lambda ratio: 1 / ratio)
            holds = within(taken, high=goal)
            yield (
                f"{ours} takes {span(taken)} times as long as {theirs} at {c.faster['bins']} bins (goal: at most {goal})",
                holds,
            )


def off(added: list[Measurement], p: int) -> tuple[str, bool | None]:
    """How far each sum is from the exact one; what one thread does is as far with any number of them."""
    errors = {
        str(m.case["way"]): m.facts["relative error"]
        for m in sorted(added, key=lambda m: m.workers)
        if m.workers in (1, p)
    }
    race = errors.pop("race")
    told = ", ".join(f"{way} {error:.2g}" for way, error in errors.items())
    return f"sums are off by these shares of the exact sum: {told}; the race {race:.2g}", race > max(errors.values())


if __name__ == "__main__":
    lab("shared_updates", main)
