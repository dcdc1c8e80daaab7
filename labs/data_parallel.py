"""How are gradients summed over processes, what does it cost, and how much of that hides?     python labs/data_parallel.py

Also by hand: torchrun --nproc-per-node 2 labs/data_parallel.py. Copies of one GPT share the batch: with an all-reduce for each parameter,
for all of them together, for buckets while backward goes on, and by the library. Each way must equal the single process; its bytes are
counted by the kernel and call by call. A speed-up is against the single process, measured beside it; the bound is as many workers that
train alone: what is lost up to there is the machine's doing, what is lost beyond the communication's. Then: the all-reduce by itself,
sizes of buckets, gradients added up before they are sent, MPI in gloo's place, and overlap on an emulated link, held to its law.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter

from parlab import launch, predictions, units
from parlab.bench import AGAIN, Bench, Case
from parlab.ddp import exposed, models
from parlab.ddp.buckets import MIB, Send, all_reduce, cut
from parlab.ddp.data_parallel import Bucketed, Flat, Naive, TorchDDP
from parlab.ddp.spans import Watched
from parlab.ddp.training import Recipe
from parlab.ddp.workload import Workload
from parlab.errors import BadRequest
from parlab.experiments import beside_mpi, emulated_link, summing
from parlab.experiments.replicas import Mode, alone, by_all, repeated, who
from parlab.judge import hidden_share, within
from parlab.predictions import Verdict, times_as_long
from parlab.records import Measurement, Record, beside, compared, measured
from parlab.start import UNDER_MPI, lab
from parlab.stats import Interval
from parlab.workers import Workers

WAYS: dict[str, Mode] = {"naive": Naive, "flat": Flat, "bucketed": Bucketed, "DDP": TorchDDP}
ROWS = {"quick": 1, "full": 32}  # a worker's, on the CPU


def main(bench: Bench) -> None:
    """Train by each number of workers; in the launch by mpirun beside MPI, and nothing else."""
    by_mpirun = any(variable in os.environ for variable in UNDER_MPI)
    for team in bench.groups():
        if by_mpirun:
            beside_mpi.measure(bench, team, workload(bench, team).shape)
        else:
            trained(bench, team)
    bench.conclude(judge)


def trained(bench: Bench, team: Workers) -> None:
    """Do all that needs no MPI."""
    task = workload(bench, team)
    tasks = [task, replace(task, compiled="by layer")] if task.compiled else [task]
    if team.size > 1:
        summing.measure(bench, team, {})
    for each in tasks:
        steps(bench, team, each)
    if team.size == 2:
        short = tasks[-1] if task.compiled else replace(task, rows=1, length=16)
        buckets(bench, team, short)
        accumulation(bench, team, short)
        timeline(bench, team, tasks[-1])
    if team.size == 2 and team.device.type == "cpu":
        emulated_link.measure(bench, team)
        try:
            launch.find_mpi()
        except BadRequest as error:
            bench.skip(f"the same over MPI: {error}")


def workload(bench: Bench, team: Workers) -> Workload:
    """Return what is trained here."""
    if bench.budget.name == "smoke":
        return Workload(team.device, models.TINY, 2, 16)
    if team.device.type == "cuda":
        return Workload(team.device, models.GPT2, 32, 1024, Recipe("adamw", 3e-4, autocast=True), "whole")
    if team.size > bench.cores:
        return Workload(team.device, models.SMALL, 1, 16)
    return Workload(team.device, models.SMALL, ROWS[bench.budget.name], 64)


def steps(bench: Bench, team: Workers, task: Workload) -> None:
    """Contrast the ways while the work grows with the workers; the headline's where it is kept too; and what stands in for its sums."""
    crowded = team.size > bench.cores
    apart = team.size > 1 and not crowded
    cases = {} if crowded else {"serial": alone(team, task, together=False)}
    cases |= {name: by_all(team, task, mode) for name, mode in WAYS.items() if apart or name in ("bucketed", "DDP")}
    floor = ("alone", alone(team, task, together=True)) if apart else None
    if apart and not task.compiled and task.rows >= team.size:
        part = replace(task, rows=task.rows // team.size)
        label = {"scaling": "strong", **part.told, "way": "bucketed"}
        cases["bucketed, batch kept"] = replace(by_all(team, part, Bucketed), label=label, share=None)
    send = all_reduce(team.group)
    late = exposed.Late(send)
    if apart:
        filled = list(cut(task.network().parameters(), 25 * MIB, MIB))
        cases["sums only"] = Case(lambda: [wait() for wait in [send(bucket) for bucket in filled]])
        stand_ins: dict[str, Send] = {} if bench.budget.name == "quick" else {"not sent": exposed.nothing}
        if task.compiled:
            stand_ins = {"not sent": exposed.nothing, "sent, late": late, "copied": exposed.Copied()}
        cases |= {
            name: by_all(team, task, partial(Bucketed, send=other), right=False) for name, other in stand_ins.items()
        }
    if task.compiled:  # several steps in a run: what is late ends with the last of them
        cases = {name: repeated(case) for name, case in cases.items()}
        floor = floor and (floor[0], repeated(floor[1]))
    seconds = 12.0 if bench.budget.name == "full" else 2.0
    weak = {**task.told, "scaling": "weak"}
    bench.contrast(team, weak, "way", cases, against="DDP", control=apart, floor=floor, seconds=seconds)
    late.close()


def buckets(bench: Bench, team: Workers, task: Workload) -> None:
    """Contrast ours with the library's for sizes of a bucket."""
    for size in bench.sizes("4 MiB", "256 MiB", 3) if task.compiled else bench.sizes("256 KiB", "16 MiB", 3):
        cases = {
            "bucketed": by_all(team, task, partial(Bucketed, cap=size, first=size)),
            "DDP": by_all(team, task, partial(TorchDDP, cap=size)),
        }
        told = {**task.told, "varied": "buckets", "bucket_bytes": size}
        bench.contrast(team, told, "way", cases, against="DDP", seconds=4.0)


def accumulation(bench: Bench, team: Workers, task: Workload) -> None:
    """Cut a share into parts whose gradients are added up and sent once, or sent with each part."""
    for parts in [2, 4] if bench.budget.name == "full" else [2]:
        cut_up = replace(task, rows=task.rows * parts)
        cases = {
            "DDP": by_all(team, cut_up, TorchDDP, parts),
            "bucketed": by_all(team, cut_up, Bucketed, parts),
            "DDP, each sent": by_all(team, cut_up, partial(TorchDDP, each=True), parts),
        }
        told = {**cut_up.told, "varied": "parts of a share", "parts": parts}
        bench.contrast(team, told, "way", cases, against="DDP", seconds=4.0)


def timeline(bench: Bench, team: Workers, task: Workload) -> None:
    """Draw who did what when in a step; the one before it warms up."""
    cap = 25 * MIB if task.compiled else 2 * MIB
    trainer = Watched(task.model(), task.recipe, team.group, perf_counter, cap)
    trainer.step(*task.batch(team.size))
    team.barrier()
    trainer.step(*task.batch(team.size))
    lanes = team.gathered(trainer.lanes())
    if bench.first:
        each = [(f"worker {rank}: {name}", spans) for rank, found in enumerate(lanes) for name, spans in found]
        bench.lanes(team, {"step": "bucketed", **task.told}, each)


def judge(records: list[Record]) -> Iterator[Verdict]:
    """Say what each part showed; of processes that share a core, only what they sent."""
    for m in measured(records, scaling="weak", way="bucketed"):
        if not m.how["oversubscribed"]:
            yield beside_library(records, m)
            if m.workers > 1:
                yield from scaled(records, m)
    yield from counted(measured(records))
    yield from summing.judge(records)
    for way in ("bucketed", "DDP"):
        for found in predictions.curves(measured(records, varied="buckets", way=way), "GPT").values():
            yield best_buckets(found, way)
    for c in compared(records, varied="parts of a share", way="DDP, each sent"):
        longer = units.span(c.ratio.map(lambda ratio: 1 / ratio))
        words = f"{c.faster['parts']} parts of a share, each sent, take {longer} times as long as sent together"
        yield words, c.says == "slower" or None
    yield from emulated_link.judge(records)
    yield from beside_mpi.judge(records)


def beside_library(records: Sequence[Record], m: Measurement) -> Verdict:
    """Hold the bucketed step against the library's."""
    library, again = beside(records, m, way="DDP"), beside(records, m, way="DDP" + AGAIN)
    assert library
    goal, ratio = 1 / 0.98 if m.kind == "GPUs" else 1.05, times_as_long(m, library)
    control = f"; DDP beside itself: {units.span(times_as_long(again, library), 3)}" if again else ""
    words = f"bucketed takes {units.span(ratio, 3)} times DDP's step (goal: at most {goal:.2f}{control})"
    return f"{who(m)}: {words}", within(ratio, high=goal)


def scaled(records: Sequence[Record], m: Measurement) -> Iterator[Verdict]:
    """Say how a step scales, the work growing or kept, and what the loss is due to; a busy machine is no one's fault."""
    serial, alone, sums, unsent, late = (
        beside(records, m, way=way) for way in ("serial", "alone", "sums only", "not sent", "sent, late")
    )
    assert serial
    assert alone
    assert sums
    machine, goal = times_as_long(serial, alone), 0.96 if m.kind == "GPUs" else 0.93
    judged, free = m.kind == "GPUs" or str(m.case["a worker"]).startswith("32 "), machine.low > 0.97

    def verdict(value: Interval, least: float) -> bool | None:
        holds = within(value, low=least) if judged else None
        return holds if holds or free else None

    exposed = 1 - hidden_share(sums.seconds, alone.seconds, m.seconds).median
    why = f"the machine's {units.span(machine)} times communication's {units.span(times_as_long(alone, m))}"
    why += f", which takes {exposed:.0%} of what the sums take by themselves"
    if unsent and late:  # these parts add up
        times = [t.seconds.median for t in (serial, alone, unsent, late, m)]
        names = ("beside others", "to fill buckets", "slower while sums are under way", "of sums exposed")
        each = [f"{1e3 * (b - a):+.2g} ms {name}" for a, b, name in zip(times[:-1], times[1:], names, strict=True)]
        why += f"; {units.seconds(times[0])} alone, {', '.join(each)}"
    asked = f"goal: {goal:g}{'' if judged else ' at 32 rows: --budget full'}"
    weak = times_as_long(serial, m)
    yield f"{who(m)}: weak efficiency {units.span(weak)} ({asked}): {why}", verdict(weak, goal)
    for kept in [k for k in measured(records, m.workers, scaling="strong", GPT=m.case["GPT"]) if k.kind == m.kind]:
        strong, least = times_as_long(serial, kept), 0.85 * m.workers
        words = f"strong speed-up {units.span(strong)} (goal: {least:g} at 32 rows in all)"
        yield f"{who(kept)}: {words}", verdict(strong, least)


def counted(found: Sequence[Measurement]) -> Iterator[Verdict]:
    """Hold the bytes of a step against the law, by both counts; those of a tiny network drown in what gloo adds to a message."""
    counts = [
        m.facts for m in found if m.facts.get("MiB", 0) >= 1 and m.facts["calls"] and "each" not in str(m.case["way"])
    ]
    if counts:
        exact = all(abs(facts["called / law"] - 1) < 1e-9 for facts in counts)
        off = max((abs(facts["sent / law"] - 1) for facts in counts if "sent / law" in facts), default=0.0)
        words = f"{len(counts)} ways call for 2 (p - 1) / p of the gradients' bytes a step, {'exactly' if exact else 'not all of them'}"
        yield f"{words}, and send them within {off:.2%} by the kernel's count (goal: 1 %)", exact and off <= 0.01


def best_buckets(found: Sequence[Measurement], way: str) -> Verdict:
    """Say which size of buckets is best."""
    best, worst = (pick(found, key=lambda m: m.seconds.median) for pick in (min, max))
    sizes = [units.nbytes(float(m.case["bucket_bytes"])) for m in (best, worst)]
    words = f"{who(best)}: {way} is fastest with buckets of {sizes[0]} ({units.seconds(best.seconds.median)})"
    longer = f"{worst.seconds.median / best.seconds.median:.2f} times as long"
    return f"{words}, with {sizes[1]} it takes {longer}", best.seconds.high < worst.seconds.low or None


if __name__ == "__main__":
    lab("data_parallel", main)
