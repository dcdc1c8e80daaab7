"""Workers that do not wait for each other, or that say less: what is gained, and what is lost?     python labs/async_training.py

First a parameter server, which computes nothing itself, and its workers (ddp/parameter_server.py): synchronous, asynchronous, and in
between; with all workers equal, with one that is four times slower, and with each slow in turn. Gradients are real but small; what makes
them slow is sleep, so there may be more workers than cores. Whatever the order in which gradients came, one process replays it and must
arrive at the same bits (ddp/replay.py): that proves the staleness, and gives the loss for one measured order from several seeds.
Then fewer bytes: weights averaged now and then (ddp/local_sgd.py) and compressed gradients (ddp/gradient_compression.py) against data
parallel: the bytes are held against their laws, exactly, and the loss after as many steps against data parallel's, seed by seed.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from math import inf
from statistics import median
from time import perf_counter

from parlab import units
from parlab.bench import Bench, Case
from parlab.ddp import exam, pace
from parlab.ddp.parameter_server import Arrival
from parlab.ddp.slow_workers import EQUAL, ONE, SLOW, SPEEDS, SlowWorkers
from parlab.ddp.training import copies, differs
from parlab.experiments import delayed_gradients, saying_less
from parlab.experiments.losses import SEEDS, points, relative, words
from parlab.judge import within
from parlab.measure import part_clock
from parlab.predictions import Verdict
from parlab.records import Curve, Record, compared, measured
from parlab.start import lab
from parlab.units import span
from parlab.workers import Workers

SYNC, BOUNDED, ASYNC = "synchronous", "bounded by 2", "asynchronous"
BOUNDS = {SYNC: 0.0, BOUNDED: 2.0, ASYNC: inf}
Losses = Mapping[str, Sequence[Sequence[float]]]  # by way, look, seed
# Seconds of sleep that stand for computing a gradient: when it is timed, and where only the order of the gradients matters.
REST = {"smoke": 2e-3, "quick": 8e-3, "full": 20e-3}
SHORT = {"smoke": 1e-3, "quick": 2e-3, "full": 5e-3}
GRADIENTS = {"smoke": 24, "quick": 120, "full": 480}
LOOKS = 12  # at the loss of a training
STALE, BY_TIME, BESIDE = "staleness", "loss by time", "loss beside synchronous"  # pictures, one for each speed
NEAR = 0.15  # goal: by what share the gain over synchronous may miss that by the laws
NO_WORSE = 1.25  # goal: the test loss, over the synchronous one


def main(bench: Bench) -> None:
    """Try the ways to say less on one worker and a few, the servers on more: waiting is all that they do there."""
    least, most = min((p for p in bench.workers if p > 1), default=1), max(bench.workers)
    for team in bench.groups():
        if team.size in (1, least):
            saying_less.measure(bench, team)
        if 1 < team.size == least:
            saying_less.learn(bench, team)
        if team.size > 2:
            race(bench, team)
        if 2 < team.size == most:
            learn_from_server(bench, team)
    if most < 3:
        bench.skip(f"a server and two workers need 3 processes, these are {most}: ask for --workers 3, say")
    delayed_gradients.measure(bench)
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
        by_time[way] = points((order[n - 1].at for n in looks), losses[way])
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


def judge(records: list[Record]) -> Iterator[Verdict]:
    """Say what not waiting gains in speed and costs in loss, how stale gradients are, and what saying less saves and costs."""
    pictures = {r.title: r for r in records if isinstance(r, Curve)}
    teams = sorted({m.workers for m in measured(records, way=ASYNC)})
    for p in teams:
        for speeds in SPEEDS:
            yield how_fast(records, p, speeds)
    for speeds in (EQUAL, ONE) if teams else ():
        yield how_stale(pictures[f"{STALE}, {speeds}"], speeds, teams[-1] - 1)
        yield how_good(pictures[f"{BESIDE}, {speeds}"], pictures[f"{BY_TIME}, {speeds}"], speeds)
    yield from delayed_gradients.judge(records)
    yield from saying_less.judge(records)


def how_fast(records: list[Record], p: int, speeds: str) -> Verdict:
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


def how_stale(picture: Curve, speeds: str, workers: int) -> Verdict:
    """Hold the measured staleness against its laws, which no order of gradients can break."""
    missed = {way: {n: share.median for n, share in picture.measured(way).items()} for way in BOUNDS}
    mean = {way: sum(n * share for n, share in found.items()) for way, found in missed.items()}
    most = {way: max(found) for way, found in missed.items()}
    usual, bound = pace.mean_stale(workers), pace.most_stale(workers, BOUNDS[BOUNDED])
    each = ", ".join(f"{way} {mean[way]:.2f} and {most[way]:.0f}" for way in BOUNDS)
    told = f"{workers} workers, {speeds}: updates that a gradient missed, on average and at most: {each}; "
    told += f"laws: {ASYNC} {usual} on average, but for the end, {BOUNDED} {bound:.0f} at most"
    return told, most[SYNC] == 0 and most[BOUNDED] <= bound and round(mean[ASYNC], 3) <= usual


def how_good(beside: Curve, by_time: Curve, speeds: str) -> Verdict:
    """Say what staleness costs after as many gradients, and what not waiting gains after as long."""
    ratios = beside.measured(ASYNC)
    most = max(ratios)
    fast, slow = by_time.measured(ASYNC), by_time.measured(SYNC)
    stop = max(fast)
    then = slow[max([at for at in slow if at <= stop], default=min(slow))]
    told = f"{speeds}: after {most:g} gradients the asynchronous test loss is {span(ratios[most])} times the synchronous one "
    told += f"(goal: at most {NO_WORSE:g}); after {units.seconds(stop)} it is {span(fast[stop])}, the synchronous one {span(then)}"
    return told, within(ratios[most], high=NO_WORSE)


if __name__ == "__main__":
    lab("async_training", main)
