"""What does sharding optimizer, gradients and weights save in memory, and cost on the wire?     python labs/sharded_training.py

Each stage of ZeRO by hand, over our own rings, and the library's two ways, beside plain data parallel training (DDP). What a worker holds
and sends is counted and held against the law; the steps of each way are checked against the single process. On the CPU messages go through
gloo, whose reduce-scatter sends twice what it need: the ring beside it does not. On GPUs each GPU does the work that one alone does, up to
a network of 6.9 thousand million parameters.
"""

import gc
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor

from parlab.bench import Bench, Case
from parlab.ddp import corpus, models, training, wire
from parlab.ddp.frugal import frugal
from parlab.ddp.sharding_laws import ALONE, WAYS, Way
from parlab.ddp.training import Recipe
from parlab.ddp.workload import untrained
from parlab.experiments import collectives
from parlab.judge import within
from parlab.predictions import Verdict, over
from parlab.records import Comparison, Record, Row, compared, measured
from parlab.start import lab
from parlab.stats import verdict
from parlab.units import count, rate, span
from parlab.workers import Workers

ONE = {"one alone": ALONE}
HELD, SENT = "held, B a parameter", "sent, of the gradients"  # columns
COUNTED = models.Shape(width=128, depth=4, heads=4)  # 0.9 million parameters: what is around a message is below 1 %
RACED = {"smoke": (models.TINY, 1), "quick": (models.Shape(192, 4, 4), 1), "full": (models.SMALL, 8)}  # rows a worker
GOAL = 0.89  # of ideal, for FSDP2 on two H200. Source: KempnerForge, benchmarks/mfu_scaling, 7B
SECONDS = 5.0  # enough for six rounds of steps


def main(bench: Bench) -> None:
    """Count what each way holds and sends, race the collectives, then the steps."""
    on_gpus = bench.kind == "GPUs"
    for team in bench.groups(*sorted({1, *bench.workers}) if on_gpus else ()):
        if team.size > 1:
            for name, way in WAYS.items():
                examine(bench, team, name, way)
        if 1 < team.size <= bench.cores:
            collectives.measure(bench, team)
        if on_gpus:
            weak(bench, team)
        elif 1 < team.size <= bench.cores:
            race(bench, team)
    bench.conclude(judge)


def examine(bench: Bench, team: Workers, name: str, way: Way) -> None:
    """Record what the workers hold after a step, and what they send in one, beside the laws."""
    p, parameters = team.size, COUNTED.parameters
    trainer = way.make(deepcopy(untrained(COUNTED, team.device)), Recipe("adamw", 1e-3), team.group)
    batch = [x.to(team.device) for x in corpus.passages(0, p, 16)]
    trainer.step(*batch)  # gives the optimizer its state
    sends = wire.sent_in(lambda: trainer.step(*batch), team.group, team.device.type == "cuda")
    sent = team.gathered(sends / (4 * parameters))
    held = team.gathered(trainer.held().total / parameters)
    bench.row(
        {
            "way": name,
            "workers": count(p, bench.kind),
            HELD: f"{sum(held) / p:.2f}",
            "law": f"{way.held(p):.2f}",
            "on the fullest": f"{max(held):.2f}",
            SENT: f"{sum(sent) / p:.3f}",
            "law here": f"{way.sent(p, team.library):.3f}",
            "least": f"{way.sent(p, 'NCCL'):.3f}",
        }
    )


def race(bench: Bench, team: Workers) -> None:
    """Race the steps of all ways on one small network."""
    shape, rows = RACED[bench.budget.name]
    steps(bench, team, shape, rows, WAYS, Recipe("adamw", 1e-3))


def weak(bench: Bench, team: Workers) -> None:
    """Race the steps on GPUs, each of which has as much to do as one GPU alone."""
    shape, rows = (models.TINY, 4) if bench.budget.name == "smoke" else (models.GPT2, 16)
    steps(bench, team, shape, rows, WAYS if team.size > 1 else ONE, Recipe("adamw", 1e-4, autocast=True))
    if bench.budget.name != "smoke":
        ways = {"FSDP2": WAYS["FSDP2"]} if team.size > 1 else ONE
        steps(bench, team, models.SEVEN, 2, ways, Recipe("adamw", 1e-4), frugal)


def steps(
    bench: Bench,
    team: Workers,
    shape: models.Shape,
    rows: int,
    ways: Mapping[str, Way],
    recipe: Recipe,
    build: Callable[[models.Shape, torch.device], models.Chain] = lambda *which: deepcopy(untrained(*which)),
) -> None:
    """Race the steps of several ways on so many rows of text a worker; on GPUs record the most memory that a step takes."""
    gc.collect()  # the trainers before: their hooks and they hold each other
    batch = [x.to(team.device) for x in corpus.passages(0, rows * team.size, shape.context, shape.vocabulary)]
    tokens = rows * shape.context
    expected = tiny(team, ALONE)
    cases = {}
    for name, way in ways.items():
        before = torch.cuda.memory_allocated() if team.device.type == "cuda" else 0
        run = partial(way.make(build(shape, team.device), recipe, team.group).step, *batch)
        cases[name] = Case(
            run,
            partial(off, team, way, expected),
            work={"flops": shape.flops_per_token * tokens * team.size},
            facts=partial(dict, peak(run, before) if team.device.type == "cuda" else {}),
        )
    told: dict[str, str | int | float] = {"model": shape.name, "over": team.library, "tokens a worker": tokens}
    bench.contrast(team, told, "way", cases, against="DDP" if "DDP" in ways else None, seconds=SECONDS)


def peak(run: Callable[[], object], before: int) -> dict[str, float]:
    """Return the most memory that was allocated during a step beyond what was before the trainer came."""
    run()  # gives the optimizer its state
    torch.cuda.reset_peak_memory_stats()
    run()
    return {"peak GB": (torch.cuda.max_memory_allocated() - before) / 1e9}


def off(team: Workers, way: Way, expected: dict[str, Tensor]) -> str | None:
    """Say how what a way makes of a tiny network differs from what is expected."""
    return training.differs(tiny(team, way), expected)


def tiny(team: Workers, way: Way) -> dict[str, Tensor]:
    """Train a tiny network for two steps, the last batch uneven; return its weights."""
    trainer = way.make(deepcopy(untrained(models.TINY, team.device)), Recipe("sgd", 0.1, clip=1.0), team.group)
    for step, rows in enumerate((team.size, team.size + 1)):
        trainer.step(*(x.to(team.device) for x in corpus.passages(step, rows, 16, vocabulary=64)))
    return trainer.weights()


def judge(records: list[Record]) -> Iterator[Verdict]:
    """Say whether memory and messages follow the laws, what the ring gains over the library's, and what each way costs and saves."""
    rows = [r.row for r in records if isinstance(r, Row)]
    for workers in dict.fromkeys(row["workers"] for row in rows):
        yield from counted(workers, {row["way"]: row for row in rows if row["workers"] == workers})
    yield from collectives.judge(records)
    for c in compared(records):
        if c.faster.get("way") in WAYS:
            yield cost(records, c)
    yield from rivals(records)
    yield from alone(records)


def counted(workers: str, rows: dict[str, dict[str, str]]) -> Iterator[Verdict]:
    """Hold what was counted on so many workers against the laws."""
    held = ", ".join(f"{way} {row[HELD]}" for way, row in rows.items())
    exact = all(row[HELD] == row["law"] for row in rows.values())
    yield f"{workers}, bytes held for a parameter: {held}; by the law {'exactly so' if exact else 'otherwise'}", exact
    sent, law, least = ({way: float(row[name]) for way, row in rows.items()} for name in (SENT, "law here", "least"))
    each = ", ".join(f"{way} {sent[way]:.2f}" for way in rows)
    miss = max(abs(sent[way] / law[way] - 1) for way in rows)
    told = f"{workers}, sent in a step, times the gradients' bytes: {each}; off the law by {miss:.1%} at most"
    yield f"{told} (goal: 1 %)", miss <= 0.01
    if more := ", ".join(
        f"{way} {sent[way]:.2f} in place of {least[way]:.2f}" for way in rows if law[way] > least[way]
    ):
        ours = f"FSDP2 over our ring {sent['FSDP2 (our ring)']:.2f}"
        yield f"{workers}, since gloo's reduce-scatter is an all-reduce: {more}; {ours}", True


def cost(records: list[Record], c: Comparison) -> Verdict:
    """Say what a way saves, and what its step costs against plain data parallel training."""
    way, takes = WAYS[str(c.faster["way"])], c.ratio.map(lambda ratio: 1 / ratio)
    told = f"{c.faster['model']} on {c.workers} workers over {c.faster['over']}: {c.faster['way']} holds {way.held(c.workers):g} B"
    peaks = [m.facts["peak GB"] for case in (c.faster, c.than) for m in measured(records, c.workers, **case) if m.facts]
    most = f" (at most {peaks[0]:.3g} GB in a step, not {peaks[1]:.3g})" if peaks else ""
    told += f" a parameter, not {WAYS['DDP'].held(c.workers):g}{most}; its step takes {span(takes)} times DDP's"
    return told, None if c.says == "cannot tell" else True


def rivals(records: list[Record]) -> Iterator[Verdict]:
    """Hold what is written by hand against what the library has for it."""
    for ours, theirs in (("ZeRO-1", "torch's ZeRO-1"), ("ZeRO-3", "FSDP2"), ("FSDP2 (our ring)", "FSDP2")):
        for m in measured(records, way=ours):
            for other in measured(records, m.workers, **{**m.case, "way": theirs}):
                gain = over(other.seconds, m.seconds)
                told = f"{m.case['model']} on {m.workers} workers over {m.case['over']}: a step of {ours} is {span(gain)} times as fast as"
                yield f"{told} one of {theirs}", None if verdict(gain) == "cannot tell" else True


def alone(records: list[Record]) -> Iterator[Verdict]:
    """Say how the GPUs together do against as many of which each is alone; the goal is for the largest network."""
    for one in measured(records, 1, way="one alone"):
        for m in measured(records, **{**one.case, "way": "FSDP2"}):
            reached, tokens = over(one.seconds, m.seconds), float(m.case["tokens a worker"]) * m.workers
            told = f"{m.case['model']}: FSDP2 on {m.workers} GPUs does {rate(tokens, 'tokens', m.seconds.median)}"
            told += f", {span(reached)} of what as many alone would"
            large = m.case["model"] == models.SEVEN.name
            yield f"{told} (goal: {GOAL})" if large else told, within(reached, GOAL) if large else True


if __name__ == "__main__":
    lab("sharded_training", main)
