"""One network over several workers: what do tensor and pipeline parallelism cost?     python labs/model_parallel.py

Also by hand: torchrun --nproc-per-node 2 labs/model_parallel.py. A pipeline first has stages that sleep, so that two cores can show the
bubble of any number of them, the share of a step in which workers wait: our schedules and torch's beside the law, and timelines. What
workers keep for backward is counted and held against the law. Then a GPT is cut into stages, and into matrices, beside the single process,
and bytes are counted. On two GPUs real stages show the bubble too. All ways are checked against the single process.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parlab.bench import Bench, Case
from parlab.ddp import corpus, models, schedules, tensor_parallel, training, wire
from parlab.ddp.activations import Kept
from parlab.ddp.buckets import MIB
from parlab.ddp.partition import best_cut, stage_costs
from parlab.ddp.pipelines import WAYS, bubbles
from parlab.ddp.stages import Stage
from parlab.ddp.tensor_by_torch import DTensorParallel
from parlab.ddp.tensor_parallel import TensorParallel
from parlab.ddp.training import Recipe, Single
from parlab.ddp.workload import untrained
from parlab.judge import every, within
from parlab.recorder import Recorder, lanes
from parlab.records import Measurement, Record, Row, compared, measured
from parlab.start import lab
from parlab.stats import median_interval, paired_ratio, point
from parlab.units import count, seconds, span
from parlab.workers import Workers

Make = Callable[..., Any]  # of a model, a recipe and a group: a Trainer
Network = Callable[[], models.Chain]
Batches = Sequence[tuple[Tensor, Tensor]]
Label = dict[str, str | int | float]
Verdict = tuple[str, bool | None]

TENSORS: dict[str, Make] = {
    "tensor": TensorParallel,
    "tensor, sequence": partial(TensorParallel, sequence=True),
    "tensor by torch": DTensorParallel,
}
ALONE = "single process"
SINGLE: dict[str, Make] = {ALONE: lambda model, recipe, _: Single(model, recipe)}
DRAWN = ("GPipe", "1F1B", "interleaved")
SOME = [*DRAWN, "1F1B by torch"]  # of sleeping stages, where there is little time
ALL = [way for way in WAYS if way != "naive"]  # there each micro-batch adds its own waiting
SLEEP = {
    "smoke": 1e-3,
    "quick": 2.5e-3,
    "full": 13e-3,
}  # seconds of a forward pass; a backward pass takes twice as long
M = 4  # micro-batches of the GPT that is raced
Sized = dict[str, tuple[models.Shape, int]]  # a network and the rows of a batch, or of a micro-batch, by budget
SHORTER = replace(models.SMALL, context=48)
RACED: Sized = {"smoke": (models.TINY, M), "quick": (SHORTER, M), "full": (models.SMALL, 16)}
RACED_ON_GPUS: Sized = {"smoke": (models.TINY, M), "quick": (models.GPT2, 16), "full": (models.GPT2, 32)}
GROWN: Sized = {"smoke": (models.TINY, 2), "quick": (models.BILLION, 4), "full": (models.BILLION, 4)}
KEPT, LAW = "micro-batches kept, by rank", "by the law"  # columns


def main(bench: Bench) -> None:
    """Measure idle time, memory, and the steps of a GPT."""
    for team in bench.groups():
        on_gpus = team.device.type == "cuda"
        if not on_gpus:
            asleep(bench, team)
            kept(bench, team)
        if team.size == 2 <= bench.cores:
            race(bench, team, *(RACED_ON_GPUS if on_gpus else RACED)[bench.budget.name])
            if on_gpus:
                awake(bench, team, *GROWN[bench.budget.name])
    bench.conclude(judge)


def checked(team: Workers, make: Make, network: Network, batches: Batches) -> Callable[[], str | None]:
    """Return the check of a way: a fresh trainer of it, since the one that is timed goes on learning, and once for all times."""

    @cache
    def check() -> str | None:
        alone, trainer = (way(network().to(team.device), Recipe(), team.group) for way in (SINGLE[ALONE], make))
        for batch in batches:
            here = [x.to(team.device) for x in batch]
            alone.step(*here)
            trainer.step(*here)
        return training.differs(trainer.weights(), alone.weights())

    return check


def text(shape: models.Shape, rows: int, step: int = 0) -> tuple[Tensor, Tensor]:
    """Return rows of text that fill the context."""
    return corpus.passages(step, rows, shape.context, shape.vocabulary)


def as_tiny(team: Workers, make: Make) -> Callable[[], str | None]:
    """Return the check of a way on a small GPT."""
    return checked(team, make, partial(models.gpt, models.TINY), [text(models.TINY, 8, step) for step in range(2)])


def asleep(bench: Bench, team: Workers) -> None:
    """Contrast schedules of stages that sleep, with few micro-batches and with twice as many; draw what the workers did when."""
    p, widest, full = team.size, team.size == max(bench.workers), bench.budget.name == "full"
    numbers, ways = [-(-4 // p) * p, 2 * -(-4 // p) * p], ALL if full else SOME if widest else ["1F1B"]
    recorders = {(way, m): Recorder() for m in numbers for way in ways if full or (way, m) != ("GPipe", numbers[1])}
    seconds = SLEEP[bench.budget.name], 2 * SLEEP[bench.budget.name]
    cases = {key: sleeping(team, *key, seconds, recorder) for key, recorder in recorders.items()}
    trials = bench.contrast(team, {"stages": "asleep"}, "way", cases, seconds=4.0)
    points: dict[str, list[Sequence[float]]] = {}
    for way in (way for way, m in cases if m == numbers[1]):
        shares = bubbles(numbers, np.array([trials[way, m].samples for m in numbers]))[0]
        points[way] = [point(m, share, 0, 1) for m, share in zip(numbers, shares, strict=True)]
        points[f"law: {WAYS[way].schedule}"] = [(m, WAYS[way].bubble(p, m)) for m in range(numbers[0], numbers[1] + 1)]
    bench.curve(f"{p} stages asleep", "micro-batches", "bubble, as a share of a step", points)
    for way in DRAWN if widest else ():
        measured_lanes = lanes(team.gathered(recorders[way, numbers[0]].spans))
        virtual = WAYS[way].in_virtual_time(p, numbers[0], *seconds)
        if bench.first:
            bench.lanes(team, {"schedule": way, "time": "measured"}, measured_lanes)
            bench.lanes(team, {"schedule": way, "time": "virtual"}, lanes(virtual))


def sleeping(team: Workers, way: str, m: int, seconds: tuple[float, float], recorder: Recorder) -> Case:
    """Return a step of sleeping stages; the recorder has the spans of the last one. seconds: of a worker's forward and backward."""
    make, batch = WAYS[way].make(m), (torch.ones(m, 4), torch.zeros(m, 4))
    trainer = WAYS[way].make(m, span=recorder)(WAYS[way].sleepers(team.size, *seconds), Recipe(), team.group)

    def run() -> None:
        recorder.spans.clear()
        trainer.step(*batch)

    told = max(span.end for mine in WAYS[way].in_virtual_time(team.size, m, *seconds) for span in mine)
    check = checked(team, make, partial(WAYS[way].sleepers, team.size, 0, 0), [batch, batch])
    return Case(run, check, prediction=("virtual time", told), label={"way": way, "micro_batches": m})


def kept(bench: Bench, team: Workers) -> None:
    """Record how many micro-batches' activations the workers keep at once, counted in bytes of those of one."""
    for way in ("GPipe", "1F1B"):
        one = most_kept(team, way, 1)
        for m in (4, 8):
            most = team.gathered(most_kept(team, way, m) / one)
            law = [schedules.live_law(way, team.size, m, rank) for rank in range(team.size)]
            told = {KEPT: " ".join(f"{n:g}" for n in most), LAW: " ".join(map(str, law))}
            bench.row({"schedule": way, "processes": str(team.size), "micro-batches": str(m), **told})


def most_kept(team: Workers, way: str, m: int) -> int:
    """Return the most bytes that this worker keeps for backward in a step of m micro-batches of one row."""
    shape = replace(models.TINY, depth=team.size)
    trainer = WAYS[way].make(m)(models.gpt(shape), Recipe(), team.group)
    trainer.step(*text(shape, m))  # the first also learns the shapes
    with Kept(trainer.trained) as counted:
        trainer.step(*text(shape, m))
    return counted.peak


def race(bench: Bench, team: Workers, shape: models.Shape, rows: int) -> None:
    """Contrast the steps of a GPT that is cut into stages, or into matrices, with the single process'."""
    stages = {way: WAYS[way].make(M) for way in ("naive", "GPipe", "1F1B", "1F1B by torch")}
    cases = {way: racing(team, way, make, shape, rows) for way, make in (SINGLE | stages | TENSORS).items()}
    batch = f"{rows} x {shape.context}"
    told: Label = {"network": shape.name, "batch": batch, "over": library(team), "micro_batches": M}
    bench.contrast(team, told, "way", cases, against=ALONE, seconds=3.0)


def racing(team: Workers, way: str, make: Make, shape: models.Shape, rows: int) -> Case:
    """Return a step of a way. Its facts: the bytes that a worker sends in it, as a mean, and by the law."""
    on_gpu, batch = team.device.type == "cuda", [x.to(team.device) for x in text(shape, rows)]
    model = deepcopy(untrained(shape, team.device))
    trainer = make(model, Recipe(rate=1e-3, autocast=on_gpu), team.group)
    small, facts = as_tiny(team, make), dict[str, float]()
    if way in WAYS:
        tied = 2 * shape.tied * shape.vocabulary * shape.width * 4  # the gradients of both ends
        activations = schedules.sent_per_step(team.size, rows * shape.context * shape.width * 4)
        facts["law, MiB"] = (activations + tied) / team.size / MIB
    elif way != "tensor by torch" and way in TENSORS and not on_gpu:
        facts["law, MiB"] = tensor_parallel.sent_per_step(shape, rows, team.size, "sequence" in way) / MIB

    @cache
    def check() -> str | None:
        with wire.Calls() as calls:
            trainer.step(*batch)
        facts["sent, MiB"] = sum(team.gathered(calls.total)) / team.size / MIB
        return small()

    work = {"flops": shape.flops_per_token * rows * shape.context}
    return Case(partial(trainer.step, *batch), check, work=work, facts=lambda: facts)


def library(team: Workers) -> str:
    """Name what carries the messages."""
    return "NCCL" if team.device.type == "cuda" else "gloo"


def awake(bench: Bench, team: Workers, shape: models.Shape, rows: int) -> None:
    """Contrast numbers of micro-batches of one size on GPUs. The cut is the best by the time of each layer, measured before."""
    shape, recipe = replace(shape, tied=False), Recipe(rate=1e-3, autocast=True)  # a tied gradient is sent once a step
    with team.device:
        model = models.gpt(shape)
        x = torch.randn(rows, shape.context, shape.width, requires_grad=True)
    for layer in model.layers[1:-1]:
        layer.compile()
    tokens, targets = (x.to(team.device) for x in text(shape, rows))
    first, block, last = (Stage([model.layers[i]], recipe) for i in (0, 1, -1))
    runs = {"embedding": partial(first, tokens), "block": partial(block, x), "head": partial(last, x, targets)}
    layers = {layer: Case(partial(to_and_fro, run), units=10) for layer, run in runs.items()}
    alone = bench.contrast(team, {"network": shape.name, "rows": rows, "a layer": "alone"}, "way", layers)
    embedding, block_time, head = (alone[layer].seconds.median / layers[layer].units for layer in runs)
    costs = [[embedding, *[block_time] * shape.depth, head]] * team.size
    cut = best_cut(costs)
    cases = {}
    for m in (1, 2, 4, 8):
        batch = [x.to(team.device) for x in text(shape, m * rows)]
        told = ("slots of the slowest stage", (m + team.size - 1) * max(stage_costs(costs, cut)))
        for way in ("1F1B", "GPipe", "1F1B by torch")[: 3 if m >= team.size else 2]:  # torch's asks for one a stage
            trainer, label = WAYS[way].make(m, cuts=cut)(model, recipe, team.group), {"way": way, "micro_batches": m}
            check = as_tiny(team, WAYS[way].make(m))
            cases[way, m] = Case(partial(trainer.step, *batch), check, prediction=told, label=label)
    common: Label = {"stages": "awake", "network": shape.name, "rows": rows, "cut": f"before layer {cut[0]}"}
    bench.contrast(team, common, "way", cases, seconds=4.0)


def to_and_fro(run: Callable[[], Tensor]) -> None:
    """Run a layer forward and backward, so often that the GPU waits for the program but once."""
    for _ in range(10):
        run().sum().backward()


def judge(records: list[Record]) -> Iterator[Verdict]:
    """Hold idle time, memory and bytes against their laws; say what each way to cut a network costs."""
    for stages in ("asleep", "awake"):
        for way, p in {(str(m.case["way"]), m.workers): None for m in measured(records, stages=stages)}:
            if len(found := measured(records, p, stages=stages, way=way)) > 1:
                yield idle(found)
    for m in measured(records, way="1F1B by torch"):
        for ours in measured(records, m.workers, **{**m.case, "way": "1F1B"}):
            ratio = paired_ratio(ours.samples, m.samples)
            what = m.case.get("network", "stages that sleep")
            told = f"{what}, {count(m.workers, m.kind)}, {m.case['micro_batches']} micro-batches: our 1F1B takes"
            yield f"{told} {span(ratio)} times as long as torch's (goal: at most 1.05)", within(ratio, high=1.05)
    if rows := [r.row for r in records if isinstance(r, Row)]:
        last = [row for row in rows if row["processes"] == rows[-1]["processes"]]
        told = "; ".join(f"{row['schedule']} {row[KEPT]} of {row['micro-batches']}" for row in last)
        exact = all(row[KEPT] == row[LAW] for row in rows)
        yield f"micro-batches kept at once, by rank: {told}; all {len(rows)} counts are the law's", exact
    for alone in measured(records, way=ALONE):
        yield from cost(records, alone)


def idle(found: list[Measurement]) -> Verdict:
    """Hold the bubble against the law, at each number of micro-batches."""
    way, p, numbers = WAYS[str(found[0].case["way"])], found[0].workers, [int(m.case["micro_batches"]) for m in found]
    shares, each, once = bubbles(numbers, np.array([m.samples for m in found]))
    goal, told, holds = 0.03 if way.chunks == 1 else 0.05, [], []
    for m, share in zip(numbers, map(median_interval, shares), strict=True):
        law = way.bubble(p, m)
        told.append(f"{share.median:.1%} of a step with {m} (law {law:.1%})")
        missed = within(share, law - goal, law + goal) is False
        holds.append(abs(share.median - law) <= goal or (False if missed else None))
    head = f"{count(p, found[0].kind)}, stages {found[0].case['stages']}, {found[0].case['way']}: a micro-batch adds"
    rest = f"{seconds(float(np.median(each)))}, a step takes {float(np.median(once)):.2f} times that besides"
    return f"{head} {rest}; bubble {', '.join(told)}; goal: within {100 * goal:.0f} points", every(holds)


def cost(records: list[Record], alone: Measurement) -> Iterator[Verdict]:
    """Say what the ways to cut a GPT gain and send."""
    group = {key: value for key, value in alone.case.items() if key != "way"}
    ups = {str(c.faster["way"]): c.ratio for c in compared(records, alone.workers, **group)}
    facts = {str(m.case["way"]): m.facts for m in measured(records, alone.workers, **group) if m is not alone}
    head = f"{group['network']} on {count(alone.workers, alone.kind)} over {group['over']}"
    sent = ", ".join(f"{way} {found['sent, MiB']:.3g} MiB" for way, found in facts.items())
    exact = [found["sent, MiB"] == found["law, MiB"] for found in facts.values() if "law, MiB" in found]
    yield f"{head}: a worker sends in a step by {sent}; {len(exact)} of them have a law, and are exactly it", all(exact)
    stages, matrices = (max(kind, key=lambda way: ups[way].median) for kind in (facts.keys() & WAYS.keys(), TENSORS))
    told = ", ".join(f"by {way} {span(ups[way])} times as fast as alone" for way in (stages, matrices))
    more = facts[matrices]["sent, MiB"] / facts[stages]["sent, MiB"]
    first, then = sorted((stages, matrices), key=lambda way: -ups[way].median)
    told = f"{head}: {told}, which sends {more:.3g} times as much: here {first} is the way to cut it"
    yield told, ups[first].low > ups[then].high or None
    told = f"{head}: stages that take turns gain nothing: naive {span(ups['naive'])} times as fast as alone"
    yield told, within(ups["naive"], high=1.05)


if __name__ == "__main__":
    lab("model_parallel", main)
