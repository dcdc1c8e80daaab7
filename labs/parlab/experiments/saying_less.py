"""Fewer bytes: weights averaged now and then (ddp/local_sgd.py), compressed gradients (ddp/gradient_compression.py), beside data parallel.

The bytes are held against their laws, exactly, and the loss after as many steps against data parallel's, seed by seed.
"""

from collections.abc import Iterator, Sequence
from math import isclose

from parlab import units
from parlab.bench import Bench, Case
from parlab.ddp import corpus, exam, less, wire
from parlab.ddp.less import MEET, PARALLEL, RECIPE
from parlab.ddp.slow_workers import network
from parlab.ddp.training import Single, copies, differs
from parlab.experiments.losses import SEEDS, points, relative, words
from parlab.judge import every, within
from parlab.predictions import Verdict
from parlab.records import Curve, Record, compared, measured
from parlab.workers import Workers

STEPS = {"smoke": 16, "quick": 48, "full": 256}
LOSSES = "loss beside data parallel"  # the picture
BATCH = 64
NO_WORSE = 1.25  # goal: the test loss, over data parallel's


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


def measure(bench: Bench, team: Workers) -> None:
    """Time a step of each way, and count its bytes."""
    said = {way: Said(team, way, make) for way, make in less.ways(team.group).items()}
    cases = {way: Case(one.run, one.check, units=MEET, facts=one.facts) for way, one in said.items()}
    bench.contrast(team, {"batch": BATCH}, "way", cases, against=PARALLEL, seconds=0.6)


def learn(bench: Bench, team: Workers) -> None:
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
        bench.row({"way": way, told: words(*points([0], by_look[-1:]))})
    lines = {way: relative(looks, by_look, losses[PARALLEL]) for way, by_look in losses.items() if way != PARALLEL}
    bench.curve(LOSSES, "steps", "test loss over data parallel's, seed by seed", lines, logy=True)


def trained(make: less.Make, seed: int, looks: range) -> list[float]:
    """Train from a seed; return the test loss of the workers' average after each of these numbers of steps."""
    trainer, judged, found = make(network(seed)), network(), []
    for step in range(1, looks[-1] + 1):
        trainer.step(*corpus.images(step, BATCH, seed))
        if step in looks:
            judged.load_state_dict(trainer.weights())
            found.append(exam.loss(judged))
    return found


def judge(records: Sequence[Record]) -> Iterator[Verdict]:
    """Say what saying less saves and costs."""
    for p in sorted({m.workers for m in measured(records, way=PARALLEL) if m.workers > 1}):
        yield how_little(records, p)
    for picture in (r for r in records if isinstance(r, Curve) and r.title == LOSSES):
        yield how_much_worse(picture)


def how_little(records: Sequence[Record], p: int) -> Verdict:
    """Hold the bytes of local SGD against 1 / H, and say what each way sends and takes on this host."""
    sent = {str(m.case["way"]): m.facts["bytes a step"] for m in measured(records, p, batch=BATCH)}
    took = {str(c.faster["way"]): c for c in compared(records, p, batch=BATCH)}
    told = ", ".join(f"{way} {sent[way] / sent[PARALLEL]:.3g} ({took[way].ratio.median:.2f})" for way in took)
    lawful = all(
        isclose(sent[way] / sent[PARALLEL], 1 / int(way.split("H ")[1]), rel_tol=1e-5) for way in sent if "H " in way
    )
    told = f"{units.count(p, 'processes')}: bytes over data parallel's (and speed): {told}; local SGD and DiLoCo send 1 / H"
    return told, lawful


def how_much_worse(picture: Curve) -> Verdict:
    """Hold the losses against data parallel's."""
    last = {way: picture.measured(way) for way in picture.lines}
    ratios = {way: found[max(found)] for way, found in last.items()}
    told = ", ".join(f"{way} {units.span(ratio)}" for way, ratio in ratios.items())
    steps = max(max(found) for found in last.values())
    told = f"test loss after {steps:g} steps over data parallel's: {told} (goal: at most {NO_WORSE:g})"
    return told, every(within(ratio, high=NO_WORSE) for ratio in ratios.values())
