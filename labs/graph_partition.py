"""Where should a network of uneven layers be cut into stages?     python labs/graph_partition.py

Also by hand: torchrun --nproc-per-node 2 labs/graph_partition.py. Every layer of a chain is timed by itself, forward and backward; then
pipelines train it that are cut into stages of equally many layers, of equally many weights, and so that the slowest stage is as fast as can
be. Their steps are held against a run in virtual time. Where a GPU is, the same chain is spread over the CPU and the GPU too.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from math import inf

import torch
from torch import Tensor

from parlab import gpus
from parlab.bench import Bench, Case
from parlab.ddp import corpus, partition, schedules, training, uneven
from parlab.ddp.pipeline import Pipeline
from parlab.ddp.training import Recipe, Single
from parlab.ddp.two_devices import Copies, TwoDevices
from parlab.ddp.uneven import Apart, Sizes
from parlab.measure import Trials
from parlab.predictions import how_near, least, over
from parlab.records import Comparison, Measurement, Record, compared, measured
from parlab.start import lab
from parlab.units import count, seconds, span
from parlab.workers import Workers

EQUAL, WEIGHED, TIMED = "equal layers", "equal weights", "least slowest stage"
TINY = Sizes(narrow=8, vocabulary=64, context=8)  # what pipelines are checked on
SIZES = {"smoke": TINY, "quick": Sizes(32, 8192, 20), "full": Sizes(64, 16384, 64)}
ON_GPUS = {"smoke": TINY, "quick": Sizes(512, 50304, 512), "full": Sizes(512, 50304, 1024)}
ROWS, MICRO_BATCHES = 4, 8  # of a micro-batch; of a step
STAGES = {"cpu": "stages", "cuda": "stages on GPUs"}  # what is timed, by the kind of device
LAYERS, SPLIT = "layers by themselves", "a network on CPU and GPU"
MIDDLE, MOST = 0.1, 0.2  # by how much predictions may miss, in the median and at all
BYTE, BYTES = 256, 4  # values of a byte; bytes of a weight

Costs = list[float]


def main(bench: Bench) -> None:
    """Time the layers, then the pipelines, at each number of stages; where there is a GPU, the parts on CPU and GPU."""
    for team in bench.groups():
        if team.size > bench.cores and bench.budget.name == "quick":
            bench.skip(f"{team.size} stages: {count(bench.cores, 'cores')} run no more at once (--budget full does)")
        else:
            stages(bench, team)
        if team.device.type == "cuda" and team.size == 1:
            cpu_and_gpu(bench, team)
    if not gpus.count():
        bench.skip("parts of the network on CPU and GPU: there is no GPU")
    bench.conclude(judge)


def text(sizes: Sizes, rows: int, step: int = 0) -> tuple[Tensor, Tensor]:
    """Return rows of text that fill the context; a large vocabulary knows more than the bytes that occur."""
    return corpus.passages(step, rows, sizes.context, min(sizes.vocabulary, BYTE))


def stages(bench: Bench, team: Workers) -> None:
    """Cut the chain in three ways, predict their steps, and measure them."""
    on_gpus = team.device.type == "cuda"
    sizes, recipe = (ON_GPUS if on_gpus else SIZES)[bench.budget.name], Recipe(rate=0.01, autocast=on_gpus)
    costs, model = layer_costs(bench, team, sizes, recipe), uneven.chain(sizes)
    p = team.size
    cuts = {
        EQUAL: partition.equal_layers(len(costs), p),
        WEIGHED: partition.best_cut([uneven.weights(model)] * p),
        TIMED: partition.best_cut([costs] * p),
    }
    if p == 1:
        cuts = {"one stage": []}
    batch = [x.to(team.device) for x in text(sizes, ROWS * MICRO_BATCHES)]
    cases = {}
    for way, cut in cuts.items():
        pipeline = Pipeline(
            uneven.chain(sizes).to(team.device), recipe, team.group, micro_batches=MICRO_BATCHES, cuts=cut
        )
        slowest = partition.stage_costs([costs] * p, cut)
        told = ("virtual time", in_virtual_time(slowest)) if p <= bench.cores or on_gpus else None
        cases[way] = Case(partial(pipeline.step, *batch), checked(team, cut), prediction=told)
        stage = {
            "cut before layers": ", ".join(map(str, cut)),
            "a micro-batch in each stage": " + ".join(map(seconds, slowest)),
        }
        bench.row({"way": way, "on": count(p, bench.kind), **stage})
    bench.contrast(team, {"of": STAGES[team.device.type]}, "way", cases, against=EQUAL if p > 1 else None, seconds=6.0)


def layer_costs(bench: Bench, team: Workers, sizes: Sizes, recipe: Recipe) -> Costs:
    """Time each layer, on all workers at once, as in a pipeline; return the seconds of a micro-batch, the same on all of them."""
    inputs, targets = (x.to(team.device) for x in text(sizes, ROWS))
    model = uneven.chain(sizes).to(team.device)
    apart = Apart(model, recipe, inputs, targets, of=MICRO_BATCHES * targets.numel())
    return medians(
        bench.contrast(team, {"of": LAYERS, "rows": ROWS}, "way", alone(apart, uneven.names(model)), seconds=2.0)
    )


def alone(apart: Apart, names: Iterable[str]) -> dict[str, Case]:
    """Return a case for each layer."""
    return {name: Case(partial(apart.run, k), partial(apart.wrong, k)) for k, name in enumerate(names)}


def medians(trials: dict[str, Trials]) -> Costs:
    """Return the medians in the order of the cases."""
    return [trial.seconds.median for trial in trials.values()]


def in_virtual_time(stage_costs: Sequence[float]) -> float:
    """Return when the last worker is done, if messages take no time. Of a layer's time its forward pass is a third."""
    plan = schedules.lists("1F1B", len(stage_costs), MICRO_BATCHES)
    forward, backward = [cost / 3 for cost in stage_costs], [2 * cost / 3 for cost in stage_costs]
    return max(spans[-1].end for spans in schedules.in_virtual_time(plan, forward, backward))


def checked(team: Workers, cut: list[int]) -> Callable[[], str | None]:
    """Return the check of a cut: on a small chain, against the single process."""

    @cache
    def check() -> str | None:
        model = [uneven.chain(TINY).to(team.device) for _ in range(2)]
        pipeline = Pipeline(model[0], Recipe(), team.group, micro_batches=MICRO_BATCHES, cuts=cut)
        single = Single(model[1], Recipe())
        for step in range(2):
            batch = [x.to(team.device) for x in text(TINY, MICRO_BATCHES, step)]
            pipeline.step(*batch)
            single.step(*batch)
        return training.differs(pipeline.weights(), single.weights())

    return check


def cpu_and_gpu(bench: Bench, team: Workers) -> None:
    """Put the first layers on the CPU, none to all of them; predict each split from the layers' times on either and the copies'."""
    sizes, recipe, cpu = SIZES[bench.budget.name], Recipe(), torch.device("cpu")
    inputs, targets = text(sizes, ROWS * MICRO_BATCHES)
    costs, model = {}, uneven.chain(sizes)
    for device in (cpu, team.device):
        there = uneven.chain(sizes).to(device)
        apart = Apart(there, recipe, inputs.to(device), targets.to(device), of=targets.numel())
        cases = alone(apart, uneven.names(there))
        costs[device] = medians(bench.contrast(team, {"of": f"{LAYERS}, {device.type}"}, "way", cases, seconds=1.0))
    copies = Copies(apart.given, cpu, team.device)
    ways = range(len(model.layers) + 1)
    crossing = {f"before layer {k}": Case(partial(copies.run, k)) for k in ways}
    told = partition.in_turn(
        costs[cpu], costs[team.device], medians(bench.contrast(team, {"of": "copies"}, "way", crossing, seconds=0.5))
    )
    expected = uneven.chain(sizes)
    recipe.loss(expected, inputs, targets, targets.numel()).backward()
    weights = uneven.weights(model)
    cases = {}
    for k in ways:
        split = TwoDevices(uneven.chain(sizes), k, cpu, team.device)

        def run(split: TwoDevices = split) -> None:
            recipe.loss(split, inputs, targets, targets.numel()).backward()

        facts = {"MiB on the GPU": BYTES * sum(weights[k:]) / 2**20}
        check = partial(as_whole, split, expected, run)
        cases[f"{k} layers"] = Case(run, check, prediction=("in turn", told[k]), facts=partial(dict, facts))
    bench.contrast(team, {"of": SPLIT}, "way", cases, against="0 layers", seconds=4.0)


def as_whole(split: torch.nn.Module, expected: torch.nn.Module, run: Callable[[], None]) -> str | None:
    """Check that a network on two devices has the gradients of the one on the CPU."""
    split.zero_grad()
    run()
    found, wanted = (
        {n: w.grad.cpu() for n, w in net.named_parameters() if w.grad is not None} for net in (split, expected)
    )
    return training.differs(found, wanted, tolerance=1e-4)


def judge(records: list[Record]) -> Iterable[tuple[str, bool | None]]:
    """Say what cutting by time gains, and how good the predictions were."""
    for of in STAGES.values():
        cut = [m for m in measured(records, of=of) if m.workers > 1 and m.prediction]
        for c in compared(records, of=of, way=TIMED):
            at = {str(m.case["way"]): m for m in cut if m.workers == c.workers}
            if at:
                yield gain(c, at)
        if near := how_near(cut, MIDDLE, MOST, ["way"]):
            yield f"{of}: {near[0]}", near[1]
    if splits := [m for m in measured(records, of=SPLIT) if m.prediction]:
        best, told = least(splits), min(splits, key=lambda m: m.prediction.seconds if m.prediction else inf)
        words = f"{best.case['way']} on the CPU, the others on the GPU, take least: {seconds(best.seconds.median)}"
        yield f"{words}; {told.case['way']} were predicted to", told.seconds.low <= best.seconds.high
        if near := how_near(splits, MIDDLE, MOST, ["way"]):
            yield f"on CPU and GPU: {near[0]}", near[1]


def foreseen(m: Measurement) -> float:
    """Return the seconds that were predicted."""
    return m.prediction.seconds if m.prediction else inf


def gain(c: Comparison, at: dict[str, Measurement]) -> tuple[str, bool | None]:
    """Say how the cut by time does against the cut by number; at: the three cuts by name."""
    weighed = span(over(at[WEIGHED].seconds, at[TIMED].seconds))
    words = f"{c.workers} {c.faster['of']}, cut by the layers' times: a step is {span(c.ratio)} times as fast as with {EQUAL}"
    words += f" (predicted {foreseen(at[EQUAL]) / foreseen(at[TIMED]):.2f}), {weighed} times as fast as with {WEIGHED}"
    return words, None if c.says == "cannot tell" else c.says == "faster"


if __name__ == "__main__":
    lab("graph_partition", main)
