"""Idle time in pipelines: stages that sleep, on any number of workers, and the stages of a GPT on GPUs, beside the law."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from parlab.bench import Bench, Case
from parlab.ddp import models
from parlab.ddp.partition import best_cut, stage_costs
from parlab.ddp.pipelines import WAYS, bubbles
from parlab.ddp.stages import Stage
from parlab.ddp.training import Recipe
from parlab.experiments.proofs import as_tiny, checked, text
from parlab.judge import every, within
from parlab.predictions import Verdict
from parlab.recorder import Recorder, lanes
from parlab.records import Measurement, Record, measured
from parlab.stats import median_interval, point
from parlab.units import count, seconds
from parlab.workers import Workers

DRAWN = ("GPipe", "1F1B", "interleaved")
SOME = [*DRAWN, "1F1B by torch"]  # of sleeping stages, where there is little time
ALL = [way for way in WAYS if way != "naive"]  # there each micro-batch adds its own waiting
# Seconds of a forward pass; a backward pass takes twice as long.
SLEEP = {"smoke": 1e-3, "quick": 2.5e-3, "full": 13e-3}
# A network and the rows of a micro-batch, on GPUs.
GROWN = {"smoke": (models.TINY, 2), "quick": (models.BILLION, 4), "full": (models.BILLION, 4)}


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


def awake(bench: Bench, team: Workers) -> None:
    """Contrast numbers of micro-batches of one size on GPUs. The cut is the best by the time of each layer, measured before."""
    shape, rows = GROWN[bench.budget.name]
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
    common: dict[str, str | int | float] = {
        "stages": "awake",
        "network": shape.name,
        "rows": rows,
        "cut": f"before layer {cut[0]}",
    }
    bench.contrast(team, common, "way", cases, seconds=4.0)


def to_and_fro(run: Callable[[], Tensor]) -> None:
    """Run a layer forward and backward, so often that the GPU waits for the program but once."""
    for _ in range(10):
        run().sum().backward()


def judge(records: Sequence[Record]) -> Iterator[Verdict]:
    """Hold the bubbles against their laws."""
    for stages in ("asleep", "awake"):
        for way, p in {(str(m.case["way"]), m.workers): None for m in measured(records, stages=stages)}:
            if len(found := measured(records, p, stages=stages, way=way)) > 1:
                yield idle(found)


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
