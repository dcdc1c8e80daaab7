"""One network over several workers: what do tensor and pipeline parallelism cost?     python labs/model_parallel.py

Also by hand: torchrun --nproc-per-node 2 labs/model_parallel.py. A pipeline first has stages that sleep, so that two cores can show the
bubble of any number of them, the share of a step in which workers wait: our schedules and torch's beside the law, and timelines. What
workers keep for backward is counted and held against the law. Then a GPT is cut into stages, and into matrices, beside the single process,
and bytes are counted. On two GPUs real stages show the bubble too. All ways are checked against the single process.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from functools import cache, partial

from parlab.bench import Bench, Case
from parlab.ddp import models, schedules, tensor_parallel, wire
from parlab.ddp.activations import Kept
from parlab.ddp.buckets import MIB
from parlab.ddp.pipelines import WAYS
from parlab.ddp.tensor_by_torch import DTensorParallel
from parlab.ddp.tensor_parallel import TensorParallel
from parlab.ddp.training import Recipe
from parlab.ddp.workload import untrained
from parlab.experiments import bubbles
from parlab.experiments.proofs import Make, as_tiny, single, text
from parlab.judge import within
from parlab.predictions import Verdict
from parlab.records import Measurement, Record, Row, compared, measured
from parlab.start import lab
from parlab.stats import paired_ratio
from parlab.units import count, span
from parlab.workers import Workers

TENSORS: dict[str, Make] = {
    "tensor": TensorParallel,
    "tensor, sequence": partial(TensorParallel, sequence=True),
    "tensor by torch": DTensorParallel,
}
ALONE = "single process"
SINGLE: dict[str, Make] = {ALONE: single}
M = 4  # micro-batches of the GPT that is raced
Sized = dict[str, tuple[models.Shape, int]]  # a network and the rows of a batch, by budget
SHORTER = replace(models.SMALL, context=48)
RACED: Sized = {"smoke": (models.TINY, M), "quick": (SHORTER, M), "full": (models.SMALL, 16)}
RACED_ON_GPUS: Sized = {"smoke": (models.TINY, M), "quick": (models.GPT2, 16), "full": (models.GPT2, 32)}
KEPT, LAW = "micro-batches kept, by rank", "by the law"  # columns


def main(bench: Bench) -> None:
    """Measure idle time, memory, and the steps of a GPT."""
    for team in bench.groups():
        on_gpus = team.device.type == "cuda"
        if not on_gpus:
            bubbles.asleep(bench, team)
            kept(bench, team)
        if team.size == 2 <= bench.cores:
            race(bench, team, *(RACED_ON_GPUS if on_gpus else RACED)[bench.budget.name])
            if on_gpus:
                bubbles.awake(bench, team)
    bench.conclude(judge)


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
    told: dict[str, str | int | float] = {
        "network": shape.name,
        "batch": batch,
        "over": team.library,
        "micro_batches": M,
    }
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


def judge(records: list[Record]) -> Iterator[Verdict]:
    """Hold idle time, memory and bytes against their laws; say what each way to cut a network costs."""
    yield from bubbles.judge(records)
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
