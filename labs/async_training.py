"""Workers that do not wait for each other, or that say less: what is gained, and what is lost?     python labs/async_training.py

First a parameter server, which computes nothing itself, and its workers (ddp/parameter_server.py): synchronous, asynchronous, and in
between; with all workers equal, with one that is four times slower, and with each slow in turn. Gradients are real but small; what makes
them slow is sleep, so there may be more workers than cores. Whatever the order in which gradients came, one process replays it and must
arrive at the same bits (ddp/replay.py): that proves the staleness, and gives the loss for one measured order from several seeds.
Then fewer bytes: weights averaged now and then (ddp/local_sgd.py) and compressed gradients (ddp/compression.py) against data parallel:
the bytes are held against their laws, exactly, and the loss after as many steps against data parallel's, seed by seed.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from math import inf, isclose
from statistics import median
from time import perf_counter

from parlab import units
from parlab.bench import Bench, Case
from parlab.ddp import corpus, exam, less, pace, staleness, wire
from parlab.ddp.less import MEET, PARALLEL, RECIPE
from parlab.ddp.parameter_server import Arrival
from parlab.ddp.slow_workers import EQUAL, ONE, SLOW, SPEEDS, SlowWorkers, network
from parlab.ddp.training import Single, copies, differs
from parlab.judge import every, within
from parlab.measure import part_clock
from parlab.records import Curve, Record, compared, measured
from parlab.start import lab
from parlab.stats import point
from parlab.units import span
from parlab.workers import Workers

SYNC, BOUNDED, ASYNC = "synchronous", "bounded by 2", "asynchronous"
BOUNDS = {SYNC: 0.0, BOUNDED: 2.0, ASYNC: inf}
Losses = Mapping[str, Sequence[Sequence[float]]]  # by way, look, seed
Point = tuple[float, float, float, float]
# Seconds of sleep that stand for computing a gradient: when it is timed, and where only the order of the gradients matters.
REST = {"smoke": 2e-3, "quick": 8e-3, "full": 20e-3}
SHORT = {"smoke": 1e-3, "quick": 2e-3, "full": 5e-3}
GRADIENTS = {"smoke": 24, "quick": 120, "full": 480}
LOOKS = 12  # at the loss of a training
SEEDS = {"smoke": 1, "quick": 6, "full": 12}  # six are the least of which a median has an interval
STEPS = {"smoke": 16, "quick": 48, "full": 256}
DELAYS = (0, 1, 2, 3, 7)
STALE, BY_TIME, BESIDE = "staleness", "loss by time", "loss beside synchronous"  # pictures, one for each speed ...
LIMIT, LESS = "limit of delayed gradients", "loss beside data parallel"  # ... and one of each
BATCH = 64
WORST = 100.0  # nats, and times as much: what a picture of losses ends at
NEAR = 0.15  # goal: by what share the gain over synchronous may miss that by the laws
NO_WORSE = 1.25  # goal: the test loss, over the one that it is held against
EXACT = 0.01  # goal: the limit of delayed gradients


def main(bench: Bench) -> None:
    """Try the ways to say less on one worker and a few, the servers on more: waiting is all that they do there."""
    least, most = min((p for p in bench.workers if p > 1), default=1), max(bench.workers)
    for team in bench.groups():
        if team.size in (1, least):
            say_less(bench, team)
        if 1 < team.size == least:
            learn_from_less(bench, team)
        if team.size > 2:
            race(bench, team)
        if 2 < team.size == most:
            learn_from_server(bench, team)
    if most < 3:
        bench.skip(f"a server and two workers need 3 processes, these are {most}: ask for --workers 3, say")
    limits(bench)
    bench.conclude(judge)


def race(bench: Bench, team: Workers) -> None:
    """Time the ways to serve, beside what the laws say where a usual gradient takes what it took in a trial, messages and all."""
    workers, rest = team.size - 1, REST[bench.budget.name]
    trial = SlowWorkers(team.group, inf, SPEEDS[EQUAL], rest, 6 * workers, perf_counter)
    trial.run()
    begins = [[begin for begin, _ in spans] for spans in team.gathered(trial.server.spans)]
    took = median(after - before for theirs in begins for before, after in pairwise(theirs))
    while_slow = 1 + SLOW * (workers - 1)  # gradients that come while a slow worker computes one, with its own
    for speeds, times in SPEEDS.items():
        # Where one worker is always slow the bound is felt only after a while.
        gradients = {SYNC: workers, BOUNDED: while_slow + workers * (speeds == ONE), ASYNC: while_slow}
        served = {
            way: SlowWorkers(team.group, bound, times, rest, gradients[way], perf_counter)
            for way, bound in BOUNDS.items()
        }
        cases = {
            way: Case(
                one.run,
                partial(equals_replay, one),
                units=one.gradients,
                work={"gradients": 1},
                clock=part_clock(),
                prediction=pace.law(one.bound, partial(one.seconds, took), workers, one.gradients),
                facts=partial(missed, one),
            )
            for way, one in served.items()
        }
        bench.contrast(team, {"workers": speeds}, "way", cases, against=SYNC, seconds=3.0)
        for way, one in served.items():
            if speeds == ONE and team.size == max(bench.workers):
                keep_lanes(bench, team, way, one)


def equals_replay(served: SlowWorkers) -> str | None:
    """Do in one process what the record of the last run says: bit for bit the server's weights."""
    found = served.server.weights()
    if served.server.rank > 0:
        return None
    *_, model = served.replayed(served.server.arrivals)
    return differs(found, copies(model.named_parameters()), tolerance=0)


def missed(served: SlowWorkers) -> dict[str, float]:
    """Return how many updates a gradient missed in the last run."""
    stale = [a.staleness for a in served.server.arrivals]
    return {"staleness": sum(stale) / len(stale), "most": max(stale)}


def keep_lanes(bench: Bench, team: Workers, way: str, served: SlowWorkers) -> None:
    """Record who computed when in the last run."""
    (zero, _), *theirs = team.gathered((served.begin, served.server.spans))
    lanes = [
        (f"worker {worker}", [(begin - zero, end - zero, f"gradient {k}") for k, (begin, end) in enumerate(spans)])
        for worker, (_, spans) in enumerate(theirs)
    ]
    if bench.first:
        bench.lanes(team, {"way": way, "workers": ONE}, lanes)


def learn_from_server(bench: Bench, team: Workers) -> None:
    """Take many gradients in each way, and replay the measured orders from several seeds, which the workers share out."""
    name, workers = bench.budget.name, team.size - 1
    gradients = -(-GRADIENTS[name] // workers) * workers  # whole rounds
    looks = [gradients * i // LOOKS for i in range(1, LOOKS + 1)]
    for speeds in (EQUAL, ONE):
        served = {
            way: SlowWorkers(team.group, bound, SPEEDS[speeds], SHORT[name], gradients, perf_counter)
            for way, bound in BOUNDS.items()
        }
        orders: dict[str, list[Arrival]] = {}
        for way, one in served.items():
            one.run()
            orders[way] = team.gathered([replace(a, at=a.at - one.begin) for a in one.server.arrivals])[0]
        jobs = [(way, bench.seed + i) for i in range(SEEDS[name]) for way in BOUNDS]
        mine = {
            (way, seed): [exam.loss(m) for n, m in enumerate(served[way].replayed(orders[way], seed), 1) if n in looks]
            for way, seed in jobs[team.rank :: team.size]
        }
        losses = {job: found for part in team.gathered(mine) for job, found in part.items()}
        by_look = {way: list(zip(*(losses[job] for job in jobs if job[0] == way), strict=True)) for way in BOUNDS}
        tell(bench, speeds, orders, by_look, looks)


def tell(
    bench: Bench, speeds: str, orders: Mapping[str, Sequence[Arrival]], losses: Losses, looks: Sequence[int]
) -> None:
    """Record how stale the gradients of each way were, and the test loss after as many of them, and after as long."""
    stop = min(order[-1].at for order in orders.values())  # when the first way is done
    stale, by_time, beside = {}, {}, {}
    for way, order in orders.items():
        missed = Counter(a.staleness for a in order)
        stale[way] = [(n, *3 * (missed[n] / len(order),)) for n in sorted(missed)]
        by_time[way] = [point(order[n - 1].at, at, 0, WORST) for n, at in zip(looks, losses[way], strict=True)]
        beside[way] = relative(looks, losses[way], losses[SYNC])
        then = [words(at) for at in by_time[way] if at[0] <= stop]
        bench.row(
            {
                "workers": speeds,
                "way": way,
                "gradients/s": f"{len(order) / order[-1].at:.0f}",
                "updates missed": f"{sum(a.staleness for a in order) / len(order):.2f}, at most {max(missed)}",
                f"test loss after {len(order)} gradients": words(by_time[way][-1]),
                f"after {units.seconds(stop)}": then[-1] if then else "",
            }
        )
    bench.curve(f"{STALE}, {speeds}", "updates that a gradient missed", "share of the gradients", stale)
    bench.curve(f"{BY_TIME}, {speeds}", "seconds", "test loss", by_time, logy=True)
    del beside[SYNC]
    bench.curve(f"{BESIDE}, {speeds}", "gradients", "test loss over synchronous', seed by seed", beside, logy=True)


def relative(looks: Iterable[int], losses: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> list[Point]:
    """Return for each look the ratio of losses, paired by seed."""
    paired = zip(looks, losses, others, strict=True)
    return [point(n, [a / b for a, b in zip(at, other, strict=True)], 1 / WORST, WORST) for n, at, other in paired]


def words(at: Point) -> str:
    """Write a loss with its interval over the seeds."""
    _, y, low, high = at
    return f"{y:.3f} [{low:.3f}, {high:.3f}]" if high < WORST else f"{y:.3f} [?]"


class Said:
    """A way to say less as a case: a run is as many steps as it takes until all ways have met; its bytes are held against their law."""

    def __init__(self, team: Workers, way: str, make: less.Make) -> None:
        self.team, self.way, self.make = team, way, make
        self.trainer, self.bytes = make(network()), 0.0

    def run(self) -> None:
        """Do the steps on one batch."""
        for _ in range(MEET):
            self.trainer.step(*corpus.images(0, BATCH))

    def check(self) -> str | None:
        """Begin anew; the bytes must be the law's, the weights the same on all workers, and where nothing is lost the single process'."""
        trainer = self.make(network())
        with wire.Calls() as calls:
            for step in range(MEET):
                trainer.step(*corpus.images(step, BATCH))
        self.bytes, wanted = calls.total / MEET, less.law(trainer)
        if not isclose(self.bytes, wanted, rel_tol=1e-12):
            return f"{self.bytes:g} bytes a step, not {wanted:g}"
        mine = copies(trainer.model.named_parameters())
        if wrong := differs(mine, self.team.gathered(mine)[0], tolerance=0):
            return wrong
        if self.way not in less.LOSSLESS:
            return None
        single = Single(network(), RECIPE)
        for step in range(MEET):
            single.step(*corpus.images(step, BATCH))
        return differs(mine, single.weights())

    def facts(self) -> dict[str, float]:
        """Return what each worker sends in a step."""
        return {"bytes a step": self.bytes}


def say_less(bench: Bench, team: Workers) -> None:
    """Time a step of each way, and count its bytes."""
    said = {way: Said(team, way, make) for way, make in less.ways(team.group).items()}
    cases = {way: Case(one.run, one.check, units=MEET, facts=one.facts) for way, one in said.items()}
    bench.contrast(team, {"batch": BATCH}, "way", cases, against=PARALLEL, seconds=0.6)


def learn_from_less(bench: Bench, team: Workers) -> None:
    """Train by each way from several seeds; record the test loss, and beside data parallel's, seed by seed."""
    name = bench.budget.name
    looks, seeds = range(MEET, STEPS[name] + 1, MEET), range(bench.seed, bench.seed + SEEDS[name])
    losses = {
        way: list(zip(*(trained(make, seed, looks) for seed in seeds), strict=True))
        for way, make in less.ways(team.group).items()
        if way != "local SGD, H 1"  # which is data parallel
    }
    for way, by_look in losses.items():
        told = f"test loss after {looks[-1]} steps of {units.count(team.size, bench.kind)}"
        bench.row({"way": way, told: words(point(0, by_look[-1], 0, WORST))})
    lines = {way: relative(looks, by_look, losses[PARALLEL]) for way, by_look in losses.items() if way != PARALLEL}
    bench.curve(LESS, "steps", "test loss over data parallel's, seed by seed", lines, logy=True)


def trained(make: less.Make, seed: int, looks: range) -> list[float]:
    """Train from a seed; return the test loss of the workers' average after each of these numbers of steps."""
    trainer, judged, found = make(network(seed)), network(), []
    for step in range(1, looks[-1] + 1):
        trainer.step(*corpus.images(step, BATCH, seed))
        if step in looks:
            judged.load_state_dict(trainer.weights())
            found.append(exam.loss(judged))
    return found


def limits(bench: Bench) -> None:
    """Measure up to which rate delayed gradients converge, beside the theory."""
    if not bench.first:
        return
    found = {delay: staleness.measured_limit(delay) for delay in DELAYS}
    for delay, product in found.items():
        bench.row(
            {
                "updates missed": str(delay),
                "largest rate x curvature": f"{product:.4f}",
                "theory": f"{staleness.limit(delay):.4f}",
                "off": f"{product / staleness.limit(delay) - 1:+.2%}",
            }
        )
    lines: dict[str, list[tuple[float, ...]]] = {"measured": [(d, x, x, x) for d, x in found.items()]}
    lines["theory"] = [(d, staleness.limit(d)) for d in DELAYS]
    bench.curve(LIMIT, "updates that gradients miss", "largest rate x curvature that converges", lines, logy=True)


def judge(records: list[Record]) -> Iterable[tuple[str, bool | None]]:
    """Say what not waiting gains in speed and costs in loss, how stale gradients are, and what saying less saves and costs."""
    pictures = {r.title: r for r in records if isinstance(r, Curve)}
    teams = sorted({m.workers for m in measured(records, way=ASYNC)})
    for p in teams:
        for speeds in SPEEDS:
            yield how_fast(records, p, speeds)
    for speeds in (EQUAL, ONE) if teams else ():
        yield how_stale(pictures[f"{STALE}, {speeds}"], speeds, teams[-1] - 1)
        yield how_good(pictures[f"{BESIDE}, {speeds}"], pictures[f"{BY_TIME}, {speeds}"], speeds)
    yield how_limited(pictures[LIMIT])
    for p in sorted({m.workers for m in measured(records, way=PARALLEL) if m.workers > 1}):
        yield how_little(records, p)
    if LESS in pictures:
        yield how_much_worse(pictures[LESS])


def how_fast(records: list[Record], p: int, speeds: str) -> tuple[str, bool | None]:
    """Hold the gain of an asynchronous server over a synchronous one against that by the laws."""
    found = {m.case["way"]: m for m in measured(records, p, workers=speeds)}
    rates, by_law = [], {}
    for way, m in found.items():
        assert m.prediction
        by_law[way] = m.prediction.seconds
        rates.append(f"{way} {1 / m.seconds.median:.0f} ({m.prediction.name}: {1 / m.prediction.seconds:.0f})")
    (gain,) = (c.ratio for c in compared(records, p, workers=speeds, way=ASYNC))
    wanted = by_law[SYNC] / by_law[ASYNC]
    told = f"{p - 1} workers, {speeds}: gradients a second {', '.join(rates)}; asynchronous is {span(gain)} times as fast, "
    return told + f"by the laws {wanted:.2f} (goal: within {NEAR:.0%})", within(
        gain, (1 - NEAR) * wanted, (1 + NEAR) * wanted
    )


def how_stale(picture: Curve, speeds: str, workers: int) -> tuple[str, bool | None]:
    """Hold the measured staleness against its laws, which no order of gradients can break."""
    missed = {way: {n: share.median for n, share in picture.measured(way).items()} for way in BOUNDS}
    mean = {way: sum(n * share for n, share in found.items()) for way, found in missed.items()}
    most = {way: max(found) for way, found in missed.items()}
    usual, bound = pace.mean_stale(workers), pace.most_stale(workers, BOUNDS[BOUNDED])
    each = ", ".join(f"{way} {mean[way]:.2f} and {most[way]:.0f}" for way in BOUNDS)
    told = f"{workers} workers, {speeds}: updates that a gradient missed, on average and at most: {each}; "
    told += f"laws: {ASYNC} {usual} on average, but for the end, {BOUNDED} {bound:.0f} at most"
    return told, most[SYNC] == 0 and most[BOUNDED] <= bound and round(mean[ASYNC], 3) <= usual


def how_good(beside: Curve, by_time: Curve, speeds: str) -> tuple[str, bool | None]:
    """Say what staleness costs after as many gradients, and what not waiting gains after as long."""
    ratios = beside.measured(ASYNC)
    most = max(ratios)
    fast, slow = by_time.measured(ASYNC), by_time.measured(SYNC)
    stop = max(fast)
    then = slow[max([at for at in slow if at <= stop], default=min(slow))]
    told = f"{speeds}: after {most:g} gradients the asynchronous test loss is {span(ratios[most])} times the synchronous one "
    told += f"(goal: at most {NO_WORSE:g}); after {units.seconds(stop)} it is {span(fast[stop])}, the synchronous one {span(then)}"
    return told, within(ratios[most], high=NO_WORSE)


def how_limited(picture: Curve) -> tuple[str, bool | None]:
    """Hold the limit of delayed gradients against the theory."""
    theory = {point[0]: point[1] for point in picture.lines["theory"]}
    off = {delay: s.median / theory[delay] - 1 for delay, s in picture.measured("measured").items()}
    worst = max(off, key=lambda delay: abs(off[delay]))
    told = ", ".join(f"{s.median:.4f}" for s in picture.measured("measured").values())
    told = f"largest rate x curvature with gradients that miss {', '.join(f'{d:g}' for d in off)} updates: {told}; "
    return told + f"theory is missed by {abs(off[worst]):.2%} at most (goal: {EXACT:.0%})", abs(off[worst]) <= EXACT


def how_little(records: list[Record], p: int) -> tuple[str, bool | None]:
    """Hold the bytes of local SGD against 1 / H, and say what each way sends and takes on this host."""
    sent = {str(m.case["way"]): m.facts["bytes a step"] for m in measured(records, p, batch=BATCH)}
    took = {str(c.faster["way"]): c for c in compared(records, p, batch=BATCH)}
    told = ", ".join(f"{way} {sent[way] / sent[PARALLEL]:.3g} ({took[way].ratio.median:.2f})" for way in took)
    lawful = all(
        isclose(sent[way] / sent[PARALLEL], 1 / int(way.split("H ")[1]), rel_tol=1e-5) for way in sent if "H " in way
    )
    told = f"{units.count(p, 'processes')}: bytes over data parallel's (and speed): {told}; local SGD and DiLoCo send 1 / H"
    return told, lawful


def how_much_worse(picture: Curve) -> tuple[str, bool | None]:
    """Hold the losses against data parallel's."""
    last = {way: picture.measured(way) for way in picture.lines}
    ratios = {way: found[max(found)] for way, found in last.items()}
    told = ", ".join(f"{way} {span(ratio)}" for way, ratio in ratios.items())
    steps = max(max(found) for found in last.values())
    told = f"test loss after {steps:g} steps over data parallel's: {told} (goal: at most {NO_WORSE:g})"
    return told, every(within(ratio, high=NO_WORSE) for ratio in ratios.values())


if __name__ == "__main__":
    lab("async_training", main)
