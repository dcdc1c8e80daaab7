"""Data or model parallel: which is faster, which needs less memory, when is there no choice?     python labs/data_vs_model.py

Also by hand: torchrun --nproc-per-node 2 labs/data_vs_model.py. One GPT and one global batch, by the single process and by every way to
share them out: steps are timed against each other, what each worker holds and sends is counted, and a fresh trainer of each way must have
the losses and weights of the single process. The bound is a matrix product of the network's shape, measured beside: the operations of a
step at its speed. Then the network grows, until a limit to what a worker may hold leaves no choice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import inf, log
from time import perf_counter
from typing import Any

import torch

from parlab import units
from parlab.bench import AGAIN, Bench, Case
from parlab.ddp import models
from parlab.ddp.every_way import ADAM, Make, Proof, counted, ways
from parlab.ddp.tasks import Task, tidy
from parlab.ddp.training import Recipe, Single, Trainer
from parlab.errors import CheckFailed
from parlab.experiments import growing
from parlab.judge import within
from parlab.predictions import Verdict, over
from parlab.records import Measurement, Record, measured
from parlab.start import lab
from parlab.workers import Workers

PEAK = 989e12  # FLOP/s, bfloat16, dense. Source: NVIDIA, H200 data sheet; H100 SXM has the same
MFU_GOALS = {models.GPT2.name: 0.48, models.BILLION.name: 0.50}  # of it, by one H200
# Of two single processes, by TP on two H200. Source: KempnerForge, benchmarks/mfu_scaling: 7B, 13,163 tokens/s, one alone 10,471
TP_GOALS = {models.SEVEN.name: 0.63}
STEPS = {"smoke": 2, "quick": 4, "full": 20}  # that are held against the single process
ALL = ("DP", "ZeRO-3", "FSDP2", "TP", "TP, sequence", "PP", "DP x TP", "DP x PP")
Races = dict[Task, tuple[str, ...]]  # what is trained, and in which ways
RACES: dict[str, Races] = {
    "smoke": {Task(models.TINY, 8, ADAM): ALL},
    "quick": {Task(models.SMALL, 8, ADAM): ("DP", "ZeRO-3", "TP", "PP", "DP x TP", "DP x PP")},
    "full": {Task(models.SMALL, rows, ADAM): ALL for rows in (8, 64)},
}
MIXED = Recipe("adamw", 1e-5, autocast=True)  # without a warm-up larger networks leave a faster one behind
LEAN = Recipe("adamw", 1e-5)
LARGE: Races = {
    Task(models.GPT2, 32, MIXED): ("DP", "FSDP2", "TP", "TP, sequence", "PP", "DP x TP", "DP x PP"),
    Task(models.BILLION, 8, MIXED): ("DP", "FSDP2", "TP, sequence"),
    Task(models.SEVEN, 2, LEAN, lean=True): ("TP", "TP, sequence"),
}
HOLDS, SENDS = "holds, MiB", "sends, MiB"  # facts of a worker: from step to step, and in each


def main(bench: Bench) -> None:
    """Race the ways, then let the network grow."""
    smoke, on_gpus = bench.budget.name == "smoke", bench.kind == "GPUs"
    for team in bench.groups():
        makes = ways(team.group, team.device)
        for task, chosen in (LARGE if on_gpus and not smoke else RACES[bench.budget.name]).items():
            if makes or not task.lean:  # too large to be trained beside itself, and it comes again beside the others
                race(bench, team, task, {way: makes[way] for way in chosen if way in makes})
                tidy(team.device)
        if makes:
            growing.measure(bench, team, makes)
    bench.conclude(judge)


def race(bench: Bench, team: Workers, task: Task, makes: dict[str, Make]) -> None:
    """Contrast the steps of all ways, and draw their losses. Of processes that share a core only what they count is kept."""
    crowded = team.size > bench.cores and team.device.type == "cpu"
    proven = models.TINY if crowded or bench.budget.name == "smoke" else models.SMALL
    task = replace(task, shape=replace(task.shape, context=16)) if crowded else task
    who, proofs, cases = units.count(team.size, bench.kind), dict[str, Proof](), {} if crowded else alone(team, task)
    for way, make in makes.items():
        proof = Proof(make, team.group, team.device, proven, STEPS[bench.budget.name])
        try:
            proof.check()  # what it says is asked for again, when all are checked
            trainer, mine = counted(task, make, team.group, team.device)
        except ValueError as error:  # on all workers alike
            bench.skip(f"{way} by {who}: {error}")
            continue
        each = team.gathered(mine)
        facts = {f"{name}, MiB": max(found[name] for found in each) for name in mine}  # of the worker that has most
        cases[way], proofs[way] = stepping(team, task, trainer, proof, facts), proof
    (once if crowded else contrast)(bench, team, task, cases)
    losses = {way: [(n, x, x, x) for n, x in enumerate(proof.losses, start=1)] for way, proof in proofs.items()}
    bench.curve(f"Losses by {who}, of {proven.name}: one line, if all are the same", "step", "loss, nats", losses)


def contrast(bench: Bench, team: Workers, task: Task, cases: dict[str, Case]) -> None:
    """Time the steps against each other. The bound: the product of all tokens with the first matrix of a block's MLP, by all at once."""
    tokens, width = task.rows * task.shape.context, task.shape.width
    a, b = (torch.randn(n, m, device=team.device, dtype=task.dtype) for n, m in ((tokens, width), (width, 4 * width)))
    floor = "matmul", repeated(team, Case(lambda: a @ b, work={"flops": 8.0 * tokens * width**2}), 20)
    for way, case in cases.items():
        share = task.flops / floor[1].work["flops"] / (1 if way.startswith("serial") else team.size)
        cases[way] = replace(case, work={"flops": task.flops}, share=share)
    against = next((way for way in ("DP", "TP") if way in cases), None)
    trials = bench.contrast(team, task.told, "way", cases, against=against, control=True, floor=floor, seconds=8.0)
    for way in cases:
        rate, who = tokens * cases[way].units / trials[way].seconds.median, units.count(team.size, bench.kind)
        bench.row({"way": way, "workers": who, "network": task.shape.name, "tokens/s": f"{rate:,.0f}"})


def once(bench: Bench, team: Workers, task: Task, cases: dict[str, Case]) -> None:
    """Check the ways and record what was counted."""
    for way, case in cases.items():
        begin = perf_counter()
        case.run()
        seconds = perf_counter() - begin
        if wrong := team.words(case.check() if case.check else None):
            raise CheckFailed(f"{way} is wrong: {next(iter(wrong.values()))}")
        if bench.first:
            bench.once(team, {**task.told, "way": way}, [seconds], case.facts())


def alone(team: Workers, task: Task) -> dict[str, Case]:
    """Return the step of the single process, which is the first worker's; on one GPU beside it what compiling brings."""
    several = team.size == 1 and task.recipe.autocast and task.shape.parameters < 5e8
    names = ["serial", "serial, compiled whole", "serial, eager"] if several else ["serial"]
    found = {name: Case(lambda: None, lambda: None) for name in names}
    for name in found if team.rank == 0 else ():
        trainer, facts = counted(task, Single, None, team.device)
        model: Any = trainer.model
        if name != "serial":
            task.arrange(model, compiled=False)
        if name == "serial, compiled whole":
            model.compile(dynamic=False)
        found[name] = stepping(team, task, trainer, None, {HOLDS: facts["holds"]})
    return found


def stepping(team: Workers, task: Task, trainer: Trainer, proof: Proof | None, facts: dict[str, float]) -> Case:
    """Return a step of a trainer. Its check: the proof of the way, and that the loss of this step, or a worker's part of it, is one."""
    batch, last = task.batch(team.device), [torch.zeros(())]

    def run() -> None:
        last[0] = trainer.step(*batch)  # asked for later: a GPU is not to be waited for in each step

    def check() -> str | None:
        loss = last[0].item()
        sound = 0 <= loss < log(task.shape.vocabulary) + 1
        return (proof.check() if proof else None) or (None if sound else f"its loss is {loss:g}")

    case = Case(run, check, facts=lambda: facts | ({"off": proof.off} if proof else {}))
    return repeated(team, case, 5 if task.shape.parameters < 5e8 else 1)


def repeated(team: Workers, case: Case, often: int) -> Case:
    """Return a case that is timed over several runs on a GPU, which is then waited for once: in training too it runs behind the host."""
    if team.device.type == "cpu":
        return case

    def runs() -> None:
        for _ in range(often):
            case.run()

    return replace(case, run=runs, units=often)


def judge(records: list[Record]) -> Iterator[Verdict]:
    """Say for each network and number of workers what is the same, what each way takes, which is fastest; then what fits where."""
    found: dict[tuple[int, str, str, str], dict[str, Measurement]] = {}
    for m in measured(records):
        if m.verified and not str(m.case["way"]).endswith(AGAIN):
            which = (m.workers, m.kind, str(m.case["network"]), str(m.case["batch"]))
            found.setdefault(which, {})[str(m.case["way"])] = m
    for (workers, kind, network, batch), by_way in found.items():
        who = f"{units.count(workers, kind)}, {network}, {batch}"
        if others := [m for m in by_way.values() if "off" in m.facts]:
            yield same(who, others)
            if "serial" in by_way:
                yield fastest(who, by_way["serial"], others)
        else:
            yield utilization(who, min(by_way.values(), key=lambda m: m.seconds.median))
        if network in TP_GOALS and "TP, sequence" in by_way:
            yield ideal(who, by_way["serial"], by_way["TP, sequence"])
    yield from growing.judge(records)


def same(who: str, others: Sequence[Measurement]) -> Verdict:
    """Say how near the losses are, and what each way takes."""
    off = max(m.facts["off"] for m in others)
    each = [f"{m.case['way']} {m.facts[HOLDS]:.4g} and {m.facts[SENDS]:.4g}" for m in others]
    words = f"losses of all ways are the single process' within {off:.1g} of them (goal: 1e-6)"
    return f"{who}: {words}; MiB that a worker holds, and sends a step: {'; '.join(each)}", off <= 1e-6


def fastest(who: str, serial: Measurement, others: Sequence[Measurement]) -> Verdict:
    """Say which way is fastest, by how much it beats the single process, and which to take where memory is short."""
    best, *rest = sorted(others, key=lambda m: m.seconds.median)
    gain = over(serial.seconds, best.seconds)
    words = f"{who}: {best.case['way']} is fastest, {units.span(gain)} times the single process"
    for m in [m for m in rest if m.facts[HOLDS] < 0.9 * best.facts[HOLDS]][:1]:
        less = f"{m.facts[HOLDS]:.4g} of its {best.facts[HOLDS]:.4g} MiB"
        words += f"; where memory is short take {m.case['way']}: {less}, {units.span(over(m.seconds, best.seconds))} times its time"
    times = [f"{m.case['way']} {m.seconds.median / best.seconds.median:.2f}" for m in rest]
    return words + (f" (all others: {', '.join(times)})" if times else ""), within(gain, low=1.05)


def ideal(who: str, serial: Measurement, m: Measurement) -> Verdict:
    """Hold a way against as many single processes."""
    share, goal = over(serial.seconds, m.seconds).map(lambda gain: gain / m.workers), TP_GOALS[str(m.case["network"])]
    return f"{who}: {m.case['way']} reaches {units.span(share)} of ideal (goal: {goal})", within(share, low=goal)


def utilization(who: str, best: Measurement) -> Verdict:
    """Say what part of a peak the single process reaches: of a matrix product's speed, and of the data sheet's where a goal is set."""
    limit = best.bound.seconds if best.bound else inf
    share, goal = best.seconds.map(lambda seconds: limit / seconds), MFU_GOALS.get(str(best.case["network"]))
    words = f"{who}: {best.case['way']} reaches {units.span(share)} of the speed of a matrix product of its shape"
    if goal is None:
        return words, within(share, high=1.0)
    mfu = best.seconds.map(lambda seconds: best.work["flops"] / seconds / PEAK)
    return f"{words}, {units.span(mfu, 3)} of 989 TFLOP/s (goal: {goal})", within(mfu, low=goal)


if __name__ == "__main__":
    lab("data_vs_model", main)
