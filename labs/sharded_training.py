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
import torch._dynamo  # DistributedDataParallel would import it, after the workers are forked, in each of them
import torch.distributed as dist
from torch import Tensor

from parlab.bench import Bench, Case
from parlab.ddp import corpus, models, rings, training, wire
from parlab.ddp.frugal import frugal
from parlab.ddp.sharding_laws import ALONE, WAYS, Way
from parlab.ddp.training import Recipe
from parlab.ddp.workload import untrained
from parlab.judge import within
from parlab.predictions import over
from parlab.records import Comparison, Record, Row, all_say, compared, measured
from parlab.start import lab
from parlab.stats import verdict
from parlab.units import count, nbytes, rate, span
from parlab.workers import Workers

Verdict = tuple[str, bool | None]

# torch 2.13 renamed the collectives that take one tensor, and warns of the old names.
REDUCE_SCATTER = getattr(dist, "reduce_scatter_single", dist.reduce_scatter_tensor)
ALL_GATHER = getattr(dist, "all_gather_single", dist.all_gather_into_tensor)

ONE = {"one alone": ALONE}
HELD, SENT = "held, B a parameter", "sent, of the gradients"  # columns
COUNTED = models.Shape(width=128, depth=4, heads=4)  # 0.9 million parameters: what is around a message is below 1 %
SWEPT = {"smoke": ("1 MiB", "1 MiB"), "quick": ("256 KiB", "16 MiB"), "full": ("16 KiB", "64 MiB")}
GPUS_SWEPT = {"smoke": ("1 MiB", "1 MiB"), "quick": ("64 KiB", "256 MiB"), "full": ("64 KiB", "1 GiB")}
RACED = {"smoke": (models.TINY, 1), "quick": (models.Shape(192, 4, 4), 1), "full": (models.SMALL, 8)}  # rows a worker
FROM = 2**20  # bytes; from here on the ring is to be faster than gloo
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
            sweep(bench, team)
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
    sent = team.gathered(sent_in(team, lambda: trainer.step(*batch)) / (4 * parameters))
    held = team.gathered(trainer.held().total / parameters)
    bench.row(
        {
            "way": name,
            "workers": count(p, bench.kind),
            HELD: f"{sum(held) / p:.2f}",
            "law": f"{way.held(p):.2f}",
            "on the fullest": f"{max(held):.2f}",
            SENT: f"{sum(sent) / p:.3f}",
            "law here": f"{way.sent(p, library(team)):.3f}",
            "least": f"{way.sent(p, 'NCCL'):.3f}",
        }
    )


def sent_in(team: Workers, run: Callable[[], object]) -> float:
    """Return the bytes that this worker sends in a run: as the kernel counts them, of GPUs as the calls say."""
    if team.device.type == "cuda":
        with wire.Calls() as calls:
            run()
        return float(calls.total)
    team.barrier()
    before = wire.sent()
    run()
    team.barrier()  # what was sent has arrived
    return wire.sent() - before


def sweep(bench: Bench, team: Workers) -> None:
    """Race our reduce-scatter and all-gather against the library's, by size: that of all parts together."""
    swept = GPUS_SWEPT if team.device.type == "cuda" else SWEPT
    for n in bench.sizes(*swept[bench.budget.name]):
        x = torch.from_numpy(bench.random(n // 4)).float().to(team.device)
        for name, cases in (("reduce-scatter", scatters(team, x)), ("all-gather", gathers(team, x))):
            told: dict[str, str | int | float] = {"collective": name, "over": library(team), "bytes": n}
            bench.contrast(team, told, "way", cases, against="library", control=True, seconds=1.5)


def scatters(team: Workers, x: Tensor) -> dict[str, Case]:
    """Return the ways to sum x over the workers and to keep a part."""
    out, parts = torch.empty_like(x.chunk(team.size)[0]), x.chunk(team.size)

    def check() -> str | None:
        total = x.clone()
        dist.all_reduce(total, group=team.group)
        return None if torch.allclose(out, total.chunk(team.size)[team.rank]) else "it differs from an all-reduce"

    runs = {
        "library": lambda: REDUCE_SCATTER(out, x, group=team.group),
        "ring": lambda: rings.reduce_scatter(out, parts, team.group),
    }
    return raced(team, runs, check, out, x)


def gathers(team: Workers, x: Tensor) -> dict[str, Case]:
    """Return the ways to bring parts together, of which this worker's is that of x."""
    out, mine = torch.empty_like(x), x.chunk(team.size)[team.rank]
    parts = out.chunk(team.size)

    def check() -> str | None:
        total = torch.zeros_like(x)
        total.chunk(team.size)[team.rank].copy_(mine)
        dist.all_reduce(total, group=team.group)
        return None if torch.equal(out, total) else "it differs from a sum of which each has a part"

    runs = {
        "library": lambda: ALL_GATHER(out, mine, group=team.group),
        "ring": lambda: rings.all_gather(parts, mine, team.group),
    }
    return raced(team, runs, check, out, x)


def raced(
    team: Workers, runs: dict[str, Callable[[], object]], check: Callable[[], str | None], out: Tensor, x: Tensor
) -> dict[str, Case]:
    """Return the cases of a collective, with what each sends."""
    sent = {name: sent_in(team, run) for name, run in runs.items()}
    return {
        name: Case(run, check, [out], [x], work={"bytes": x.nbytes}, facts=partial(dict, sent=sent[name]))
        for name, run in runs.items()
    }


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
    told: dict[str, str | int | float] = {"model": shape.name, "over": library(team), "tokens a worker": tokens}
    bench.contrast(team, told, "way", cases, against="DDP" if "DDP" in ways else None, seconds=SECONDS)


def library(team: Workers) -> str:
    """Name what carries the messages."""
    return "NCCL" if team.device.type == "cuda" else "gloo"


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
    for collective in ("reduce-scatter", "all-gather"):
        yield from gains(records, collective)
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


def gains(records: list[Record], collective: str) -> Iterator[Verdict]:
    """Say what the ring gains over the library's collective from 1 MiB on."""
    found = [c for c in compared(records, collective=collective, way="ring") if float(c.faster["bytes"]) >= FROM]
    for library, workers in dict.fromkeys((str(c.faster["over"]), c.workers) for c in found):
        by_size = {c.faster["bytes"]: c for c in found if (c.faster["over"], c.workers) == (library, workers)}
        raced = measured(records, workers, over=library, collective=collective)
        sent = {(m.case["way"], m.case["bytes"]): m.facts["sent"] for m in raced}
        share = max(sent["ring", n] / sent["library", n] for n in by_size)
        times = ", ".join(f"{span(c.ratio)} at {nbytes(float(n))}" for n, c in by_size.items())
        told = f"{workers} workers, {collective}: the ring sends {share:.2f} of what {library}'s sends, times as fast: {times}"
        if (library, collective) == ("gloo", "reduce-scatter"):
            faster = all_say(by_size.values(), "faster")
            yield f"{told} (goals: 0.50, faster from 1 MiB on)", False if share > 0.505 else faster
        else:
            yield told, None if any(c.says == "cannot tell" for c in by_size.values()) else True


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
