"""How must the rate follow the batch, and when does a larger batch not help?     python labs/batch_and_rate.py

More workers make a larger batch. What that buys in throughput is timed: a step of one process, and of data parallel workers, by batch.
What it buys in steps is counted: trainings on the digits until 95 % of the test images are known, by rule and batch, from several seeds,
which the workers share out (ddp/batch_scaling.py). The batch from which on it does not help is fitted to these steps, and beside it
stands the gradient noise scale, which needs no training to the end (ddp/critical_batch.py).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from math import isfinite
from statistics import median

import numpy as np

from parlab.bench import Bench, Case
from parlab.ddp import corpus
from parlab.ddp.batch_scaling import BASE, EVERY, GOAL, RULES, network, study
from parlab.ddp.critical_batch import Law, fit, left_out, noise_scale, resampled
from parlab.ddp.data_parallel import Flat
from parlab.ddp.training import Recipe, Single, Trainer, differs
from parlab.judge import every, within
from parlab.predictions import over
from parlab.records import Curve, Record, compared, measured
from parlab.start import lab
from parlab.stats import Interval, point
from parlab.units import count, seconds, span
from parlab.workers import Workers

ALL = [16, 32, 64, 128, 256, 512, 1024]
TIMED = {"smoke": [16, 256], "quick": [16, 64, 256, 1024], "full": ALL}
BATCHES = {"smoke": [16, 64, 256], "quick": ALL, "full": ALL}
SEEDS = {"smoke": 1, "quick": 6, "full": 20}  # six are the least of which a median has an interval
CAP = {"smoke": 250, "quick": 250, "full": 500}  # steps; the base batch needs about 200
LOOKS = {"smoke": 1, "quick": 6, "full": 8}  # at the noise, each APART steps after the last
APART = 10
NOISY = 64  # the batch of the trainings in which it is looked at
STEPS, CRITICAL = "steps to the goal", "critical batch"  # pictures ...
LAW, FITTED, NOISE = (
    "law of the best rule",
    "fitted to the steps",
    "noise scale of the gradients",
)  # ... and lines in them
HELD_OUT = 0.25  # goal: by what share a fit may miss a batch that it has not seen
FACTOR = 4  # goal: between noise scale and critical batch, which are the same only where all gradients pull alike


def main(bench: Bench) -> None:
    """Time steps on every team; share the trainings among the largest."""
    name = bench.budget.name
    seeds = range(bench.seed, bench.seed + SEEDS[name])
    for team in bench.groups():
        for batch in TIMED[name]:
            time_steps(bench, team, batch)
        if team.size == max(bench.workers):
            critical = count_steps(bench, study(team.group, BATCHES[name], seeds, CAP[name]), CAP[name])
            mine = [noise_by_steps(seed, LOOKS[name]) for seed in seeds[team.rank :: team.size]]
            looks = zip(*(found for part in team.gathered(mine) for found in part), strict=True)
            noise: list[tuple[float, ...]] = [
                point(i * APART, look, 1, len(corpus.digits()[0])) for i, look in enumerate(looks, start=1)
            ]
            lines = {FITTED: [(x, *critical) for x, *_ in noise if critical], NOISE: noise}
            bench.curve(CRITICAL, f"steps of a training with batch {NOISY}", "samples", lines, logy=True)
    bench.conclude(judge)


def time_steps(bench: Bench, team: Workers, batch: int) -> None:
    """Time a step on a batch by worker 0 alone, and by all as data parallel."""
    if batch < team.size:
        bench.skip(f"a batch of {batch} has no image for each of {team.size} workers")
        return
    modes: dict[str, Callable[[], Trainer]] = {
        "one process": lambda: Single(network(0), Recipe()),
        "data parallel": lambda: Flat(network(0), Recipe(), team.group),
    }
    cases = {
        way: Case(
            partial(make().step, *corpus.images(0, batch)) if way != "one process" or team.rank == 0 else sit_out,
            partial(equals_single, make, batch),
            work={"samples": batch},
        )
        for way, make in modes.items()
    }
    bench.contrast(team, {"batch": batch}, "way", cases, against="one process")


def sit_out() -> None:
    """Be one of the workers that a single process does without."""


def equals_single(make: Callable[[], Trainer], batch: int) -> str | None:
    """Do a few steps from the start, and compare the weights with those of the single process."""
    mode, single = make(), Single(network(0), Recipe())
    for step in range(4):
        for trainer in (mode, single):
            trainer.step(*corpus.images(step, batch))
    return differs(mode.weights(), single.weights())


def count_steps(bench: Bench, steps: Mapping[tuple[str, int], list[float]], cap: int) -> tuple[float, ...]:
    """Record the steps by rule and batch, and the law of the best rule's; return the critical batch with its interval, if there is one.

    A seed that did not reach the goal took more steps than the cap; where it is one of few it counts with that.
    """
    batches = sorted({batch for _, batch in steps})
    lines: dict[str, list[tuple[float, ...]]] = {
        rule: [point(b, steps[rule, b], EVERY, cap) for b in batches if isfinite(median(steps[rule, b]))]
        for rule in RULES
    }
    for batch in batches:
        bench.row({"batch": str(batch), **{f"steps, {rule}": words(steps[rule, batch]) for rule in RULES}})
    best = {batch: min((steps[rule, batch] for rule in RULES), key=median) for batch in batches}
    best = {batch: [min(s, cap) for s in found] for batch, found in best.items() if isfinite(median(found))}
    critical: tuple[float, ...] = ()
    if len(best) > 1:
        law = fit({batch: median(found) for batch, found in best.items()})
        lines[LAW] = [(batch, law.steps(batch)) for batch in best]
        critical = law.critical, *np.percentile([one.critical for one in resampled(best)], [2.5, 97.5])
    bench.curve(STEPS, "batch", f"steps until {GOAL:.0%} of the test images are known", lines, logx=True, logy=True)
    return critical


def words(steps: Sequence[float]) -> str:
    """Write the median with the least and the most, and how many seeds arrived where not all did."""
    arrived = [s for s in steps if isfinite(s)]
    some = "" if len(arrived) == len(steps) else f" ({len(arrived)} of {len(steps)} seeds)"
    if not isfinite(median(steps)):
        return f"none{some}"
    return f"{median(steps):.0f} [{min(arrived):.0f}, {max(arrived):.0f}]{some}"


def noise_by_steps(seed: int, looks: int) -> list[float]:
    """Return the noise scale again and again in a training by the square root rule."""
    single, found = Single(network(seed), Recipe(rate=RULES["square root"].rate(NOISY))), []
    for step in range(1, APART * looks + 1):
        single.step(*corpus.images(step, NOISY, seed))
        if step % APART == 0:
            found.append(noise_scale(single.model, seed=seed))
    return found


def judge(records: list[Record]) -> Iterable[tuple[str, bool | None]]:
    """Say what following the batch saves, how far each rule carries, how good the law is, and what a larger batch gives in time."""
    pictures = {r.title: r for r in records if isinstance(r, Curve)}
    steps = {rule: pictures[STEPS].measured(rule) for rule in RULES}
    batches = sorted({batch for line in steps.values() for batch in line})
    best = {b: min((line[b] for line in steps.values() if b in line), key=lambda s: s.median) for b in batches}
    yield from how_far(steps, best, batches[-1])
    if len(best) > 2:
        yield how_lawful(fit({int(b): s.median for b, s in best.items()}), best)
    if FITTED in pictures[CRITICAL].lines:
        yield how_noisy(pictures[CRITICAL])
    yield in_time(records, best)
    for p in sorted({m.workers for m in measured(records) if m.workers > 1}):
        yield shared(records, p)


def how_far(
    steps: Mapping[str, Mapping[float, Interval]], best: Mapping[float, Interval], most: float
) -> Iterable[tuple[str, bool | None]]:
    """Say whether the rate must follow the batch, and up to which batch each rule carries."""
    if (constant := steps.get("constant", {}).get(most)) and most > BASE:
        ratio = over(constant, best[most])
        told = f"batch {most:g}: the best rule reaches the goal in {best[most].median:.0f} steps, the constant rate in "
        yield told + f"{constant.median:.0f}, {span(ratio, 1)} times as many", within(ratio, low=1.05)
    reach = {rule: max(line) for rule, line in steps.items() if line}
    told = ", ".join(f"{rule} {batch:g}" for rule, batch in reach.items())
    linear, root = reach.get("linear", 0), reach.get("square root", 0)
    holds = None if linear == root else linear < root
    yield (
        f"largest batch with which half of the seeds reach the goal: {told}; the linear rule ends before the square root",
        holds,
    )


def how_lawful(law: Law, best: Mapping[float, Interval]) -> tuple[str, bool | None]:
    """Hold the law against batches that it has not seen; a miss within the steps' own interval is none that can be told."""
    off = left_out({int(batch): s.median for batch, s in best.items()})
    worst = max(off, key=lambda batch: abs(off[batch]))
    told = f"steps = {law.least:.0f} (1 + {law.critical:.0f} / batch): a fit to the other batches misses batch {worst:g} by "
    holds = []
    for batch, share in off.items():
        predicted, s = (1 + share) * best[batch].median, best[batch]
        nearest = min(max(predicted, s.low), s.high)
        holds.append(True if abs(share) <= HELD_OUT else False if abs(predicted / nearest - 1) > HELD_OUT else None)
    return told + f"{off[worst]:+.0%}, the others by less (goal: {HELD_OUT:.0%})", every(holds)


def how_noisy(picture: Curve) -> tuple[str, bool | None]:
    """Hold the noise scale in the middle of a training against the critical batch."""
    noise = picture.measured(NOISE)
    critical = next(iter(picture.measured(FITTED).values()))
    middle = sorted(noise.values(), key=lambda s: s.median)[len(noise) // 2]
    ratio = over(middle, critical)
    first, last = min(noise), max(noise)
    told = f"critical batch {span(critical, 0)} by the steps; noise scale of the gradients {noise[first].median:.0f} after {first:g} "
    told += f"steps, {noise[last].median:.0f} after {last:g}, in the middle {span(ratio, 1)} times the critical batch"
    return told + f" (goal: within a factor {FACTOR})", within(ratio, 1 / FACTOR, FACTOR)


def in_time(records: Sequence[Record], best: Mapping[float, Interval]) -> tuple[str, bool | None]:
    """Say what a larger batch gives in samples a second, and how long the goal takes then."""
    fewest = min(m.workers for m in measured(records))
    step = {int(m.case["batch"]): m.seconds for m in measured(records, fewest, way="one process")}
    small, large = min(step), max(step)
    gain = over(step[small], step[large]).map(lambda ratio: ratio * large / small)
    times = {b: step[b].median * best[b].median for b in step if b in best}
    told = (
        f"one process handles {span(gain, 1)} times as many samples a second with batch {large} as with batch {small}; "
    )
    return told + "time to the goal: " + ", ".join(f"batch {b} {seconds(t)}" for b, t in times.items()), within(
        gain, low=1.05
    )


def shared(records: Sequence[Record], p: int) -> tuple[str, bool | None]:
    """Say from which batch on workers together are faster than one."""
    ratios = {int(c.faster["batch"]): c for c in compared(records, p, way="data parallel")}
    faster = [batch for batch, c in ratios.items() if c.says == "faster"]
    at = min(faster) if faster else max(ratios)
    told = f"{count(p, 'processes')}: " + (f"from batch {at} on" if faster else f"at no batch up to {at}")
    told += f" a data parallel step is faster than one process: {span(ratios[at].ratio)} times as fast at {at}"
    return told, True if faster else False if ratios[at].says in ("slower", "same") else None


if __name__ == "__main__":
    lab("batch_and_rate", main)
