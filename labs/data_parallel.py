"""How are gradients summed over processes, what does it cost, and how much of that hides?     python labs/data_parallel.py

Also by hand: torchrun --nproc-per-node 2 labs/data_parallel.py. Copies of one GPT share the batch: with an all-reduce for each parameter,
for all of them together, for buckets while backward goes on, and by the library. Each way must equal the single process; its bytes are
counted by the kernel and call by call. A speed-up is against the single process, measured beside it; the bound is as many workers that
train alone: what is lost up to there is the machine's doing, what is lost beyond the communication's. Then: the all-reduce by itself,
sizes of buckets, gradients added up before they are sent, MPI in gloo's place, and overlap on an emulated link, held to its law.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from math import log
from time import perf_counter

import torch

from parlab import launch, predictions, units
from parlab.bench import AGAIN, Bench, Case
from parlab.ddp import exposed, link, models, mpi_step, wire
from parlab.ddp.buckets import MIB, Bucket, Send, all_reduce, cut
from parlab.ddp.data_parallel import Bucketed, Flat, Naive, Replica, TorchDDP
from parlab.ddp.proof import Proof, first_loss
from parlab.ddp.spans import Watched
from parlab.ddp.training import Recipe, Single
from parlab.ddp.workload import Asleep, Workload
from parlab.errors import BadRequest
from parlab.judge import every, hidden_share, within
from parlab.records import Measurement, Record, compared, measured
from parlab.start import UNDER_MPI, lab
from parlab.stats import Interval, paired_ratio
from parlab.workers import Workers

Mode = Callable[..., Replica]
Verdict = tuple[str, bool | None]
WAYS: dict[str, Mode] = {"naive": Naive, "flat": Flat, "bucketed": Bucketed, "DDP": TorchDDP}
ROWS = {"quick": 1, "full": 32}  # a worker's, on the CPU
SLEEP = {"smoke": 2e-4, "quick": 2e-3, "full": 1e-2}  # seconds that the forward of a sleeping layer takes
DEPTH, WIDTH = 8, 1024  # of the sleeping layers
STEPS = 4  # in a run, where costs are told apart
NVLINK = 300e9  # bytes/s on the bus in an all-reduce of 256 MiB by two H200. Source: NVIDIA's nccl-tests, run on them


def main(bench: Bench) -> None:
    """Train by each number of workers; in the launch by mpirun beside MPI, and nothing else."""
    by_mpirun = any(variable in os.environ for variable in UNDER_MPI)
    for team in bench.groups():
        (beside_mpi if by_mpirun else trained)(bench, team)
    bench.conclude(judge)


def trained(bench: Bench, team: Workers) -> None:
    """Do all that needs no MPI."""
    task = workload(bench, team)
    tasks = [task, replace(task, compiled="by layer")] if task.compiled else [task]
    if team.size > 1:
        by_size(bench, team, {})
    for each in tasks:
        steps(bench, team, each)
    if team.size == 2:
        short = tasks[-1] if task.compiled else replace(task, rows=1, length=16)
        buckets(bench, team, short)
        accumulation(bench, team, short)
        timeline(bench, team, tasks[-1])
    if team.size == 2 and team.device.type == "cpu":
        overlap(bench, team)
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


def by(team: Workers, task: Workload, mode: Mode, parts: int = 1, right: bool = True) -> Case:
    """Return a step of all workers. right: it must equal the single process."""
    trainer = mode(task.model(apart=mode is TorchDDP), task.recipe, team.group)
    proof = Proof(mode, team.group, task, parts)
    run = partial(trainer.step, *task.batch(team.size), parts=parts)
    work = {"flops": task.flops(team.size)}
    return Case(run, proof.check if right else None, work=work, share=1.0, facts=lambda: proof.found)


def alone(team: Workers, task: Workload, together: bool) -> Case:
    """Return a step of the single process on a worker's batch. together: each worker does one by itself; else only the first."""
    single = Single(task.model(), task.recipe)

    def guesses() -> str | None:  # as a network must that has learned nothing
        scores = (
            models.STD**2 * task.shape.width
        )  # their variance: the norm before the head leaves 1 for each of its inputs
        loss, guess = first_loss(task, team.size + 1), log(task.shape.vocabulary) + scores / 2
        return None if abs(loss - guess) < 0.1 else f"its first loss is {loss:.3f}, not about {guess:.3f}"

    run = partial(single.step, *task.batch(1)) if together or team.rank == 0 else lambda: None
    return Case(run, guesses, work={"flops": task.flops(1)})


def steps(bench: Bench, team: Workers, task: Workload) -> None:
    """Contrast the ways while the work grows with the workers; the headline's where it is kept too; and what stands in for its sums."""
    crowded = team.size > bench.cores
    apart = team.size > 1 and not crowded
    cases = {} if crowded else {"serial": alone(team, task, together=False)}
    cases |= {name: by(team, task, mode) for name, mode in WAYS.items() if apart or name in ("bucketed", "DDP")}
    floor = ("alone", alone(team, task, together=True)) if apart else None
    if apart and not task.compiled and task.rows >= team.size:
        part = replace(task, rows=task.rows // team.size)
        label = {"scaling": "strong", **part.told, "way": "bucketed"}
        cases["bucketed, batch kept"] = replace(by(team, part, Bucketed), label=label, share=None)
    send = all_reduce(team.group)
    late = exposed.Late(send)
    if apart:
        filled = list(cut(task.network().parameters(), 25 * MIB, MIB))
        cases["sums only"] = Case(lambda: [wait() for wait in [send(bucket) for bucket in filled]])
        stand_ins: dict[str, Send] = {} if bench.budget.name == "quick" else {"not sent": exposed.nothing}
        if task.compiled:
            stand_ins = {"not sent": exposed.nothing, "sent, late": late, "copied": exposed.Copied()}
        cases |= {name: by(team, task, partial(Bucketed, send=other), right=False) for name, other in stand_ins.items()}
    if task.compiled:  # several steps in a run: what is late ends with the last of them
        cases = {name: repeated(case) for name, case in cases.items()}
        floor = floor and (floor[0], repeated(floor[1]))
    seconds = 12.0 if bench.budget.name == "full" else 2.0
    weak = {**task.told, "scaling": "weak"}
    bench.contrast(team, weak, "way", cases, against="DDP", control=apart, floor=floor, seconds=seconds)
    late.close()


def repeated(case: Case) -> Case:
    """Return a case of several steps a run."""
    return replace(case, run=lambda: [case.run() for _ in range(STEPS)], units=STEPS)


def by_size(bench: Bench, team: Workers, others: dict[str, Send], **common: str) -> None:
    """Sum messages of growing size by the library, and by others."""
    on_gpus = team.device.type == "cuda"
    name, expected = "NCCL" if on_gpus else "gloo", team.size * (team.size + 1) / 2

    def case(bucket: Bucket, send: Send) -> Case:
        def check() -> str | None:
            bucket.flat.fill_(team.rank + 1)
            send(bucket)()
            return None if (bucket.flat == expected).all() else f"not all sums are {expected}"

        work = {"bytes": wire.ring_all_reduce(team.size, bucket.flat.nbytes)}  # on the bus, as nccl-tests has it
        return Case(lambda: send(bucket)(), check, work=work)

    for size in bench.sizes("4 KiB", "256 MiB" if on_gpus else "16 MiB", 2):
        bucket = Bucket([torch.ones(size // 4, device=team.device)])
        cases = {way: case(bucket, send) for way, send in {name: all_reduce(team.group), **others}.items()}
        told: dict[str, str | int] = {"sums": "float32", **common, "bytes": size}
        bench.contrast(team, told, "way", cases, against=name, seconds=2.0)


def buckets(bench: Bench, team: Workers, task: Workload) -> None:
    """Contrast ours with the library's for sizes of a bucket."""
    for size in bench.sizes("4 MiB", "256 MiB", 3) if task.compiled else bench.sizes("256 KiB", "16 MiB", 3):
        cases = {
            "bucketed": by(team, task, partial(Bucketed, cap=size, first=size)),
            "DDP": by(team, task, partial(TorchDDP, cap=size)),
        }
        told = {**task.told, "varied": "buckets", "bucket_bytes": size}
        bench.contrast(team, told, "way", cases, against="DDP", seconds=4.0)


def accumulation(bench: Bench, team: Workers, task: Workload) -> None:
    """Cut a share into parts whose gradients are added up and sent once, or sent with each part."""
    for parts in [2, 4] if bench.budget.name == "full" else [2]:
        cut_up = replace(task, rows=task.rows * parts)
        cases = {
            "DDP": by(team, cut_up, TorchDDP, parts),
            "bucketed": by(team, cut_up, Bucketed, parts),
            "DDP, each sent": by(team, cut_up, partial(TorchDDP, each=True), parts),
        }
        told = {**cut_up.told, "varied": "parts of a share", "parts": parts}
        bench.contrast(team, told, "way", cases, against="DDP", seconds=4.0)


def overlap(bench: Bench, team: Workers) -> None:
    """Hold sleeping layers over an emulated link to the law: backward takes twice as long as forward, the link three quarters of that."""
    seconds = SLEEP[bench.budget.name]
    gradients, rate = 4 * WIDTH * DEPTH, 4 * WIDTH / (1.5 * seconds)
    links = {n: link.Link(team.group, rate) for n in (1, 2, 4, 8)}

    def case(n: int, send: Send) -> Case:
        mode = partial(Bucketed, cap=gradients // n, first=gradients // n, send=send)
        asleep = Asleep(DEPTH, WIDTH, seconds)
        return Case(
            partial(mode(asleep.network(), Recipe(rate=0.0), team.group).step, *asleep.few(0, team.size)),
            Proof(mode, team.group, replace(asleep, seconds=0.0)).check,
            prediction=("overlap", link.law(DEPTH * seconds, 2 * DEPTH * seconds, gradients / rate, n)),
            label={"way": "bucketed", "buckets": n},
            facts=lambda: {"seconds asleep": 3 * DEPTH * seconds, "seconds on the link": gradients / rate},
        )

    cases = {n: case(n, slow) for n, slow in links.items()}
    unsent: dict[str, str | int] = {"way": "not sent", "buckets": 1}
    cases[0] = replace(case(1, exposed.nothing), check=None, prediction=None, label=unsent)
    bench.contrast(team, {"layers": "asleep", "link": "emulated"}, "buckets", cases, seconds=3.0)
    for slow in links.values():
        slow.close()


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


def beside_mpi(bench: Bench, team: Workers) -> None:
    """Sum by MPI what gloo sums, in processes that are ranks of both."""
    from mpi4py import MPI

    comm = MPI.COMM_WORLD.Create_group(MPI.COMM_WORLD.group.Incl(range(team.size)))
    by_size(bench, team, {"mpi4py": mpi_step.blocking(comm)}, launcher="mpirun")
    if bench.budget.name != "quick":
        task = Workload(team.device, workload(bench, team).shape, 1, 16)
        cases = {
            "flat, gloo": by(team, task, Flat),
            "flat, mpi4py": by(team, task, partial(Flat, send=mpi_step.blocking(comm))),
            "bucketed, mpi4py": by(team, task, partial(Bucketed, send=mpi_step.nonblocking(comm))),
        }
        told = {**task.told, "launcher": "mpirun"}
        bench.contrast(team, told, "way", cases, against="flat, gloo", control=True, seconds=8.0)
    comm.Free()


def judge(records: list[Record]) -> Iterator[Verdict]:
    """Say what each part showed; of processes that share a core, only what they sent."""
    for m in measured(records, scaling="weak", way="bucketed"):
        if not m.how["oversubscribed"]:
            yield beside_library(records, m)
            if m.workers > 1:
                yield from scaled(records, m)
    yield from counted(measured(records))
    for way in ("gloo", "NCCL"):
        if found := [m for m in measured(records, 2, sums="float32", way=way) if "launcher" not in m.case]:
            yield on_the_bus(found, way)
    for way in ("bucketed", "DDP"):
        for found in predictions.curves(measured(records, varied="buckets", way=way), "GPT").values():
            yield best_buckets(found, way)
    for c in compared(records, varied="parts of a share", way="DDP, each sent"):
        longer = units.span(c.ratio.map(lambda ratio: 1 / ratio))
        words = f"{c.faster['parts']} parts of a share, each sent, take {longer} times as long as sent together"
        yield words, c.says == "slower" or None
    for asleep in measured(records, link="emulated", way="not sent"):
        yield overlapped(asleep, measured(records, asleep.workers, link="emulated", way="bucketed"))
    for c in compared(records, launcher="mpirun"):
        if c.faster["way"] in ("mpi4py", "flat, mpi4py"):
            what = f"sums of {units.nbytes(float(c.faster['bytes']))}" if "bytes" in c.faster else "a step"
            words = f"{what} by MPI: {units.span(c.ratio)} times as fast as by gloo"
            yield words, {"faster": True, "slower": False}.get(c.says)


def over(numerator: Measurement, denominator: Measurement) -> Interval:
    """Return the ratio of two times of a contrast, round by round; of their medians where rounds were dropped."""
    if len(numerator.samples) == len(denominator.samples):
        return paired_ratio(numerator.samples, denominator.samples)
    return predictions.over(numerator.seconds, denominator.seconds)


def beside(records: Sequence[Record], m: Measurement, way: str) -> Measurement | None:
    """Return another way of the same contrast, None where there is none."""
    found = measured(records, m.workers, **{**m.case, "way": way})
    return next((other for other in found if other.kind == m.kind), None)


def who(m: Measurement) -> str:
    """Say who trained what."""
    return f"{units.count(m.workers, m.kind)}, GPT {m.case['GPT']}, {m.case['a worker']}"


def beside_library(records: Sequence[Record], m: Measurement) -> Verdict:
    """Hold the bucketed step against the library's."""
    library, again = beside(records, m, "DDP"), beside(records, m, "DDP" + AGAIN)
    assert library
    goal, ratio = 1 / 0.98 if m.kind == "GPUs" else 1.05, over(m, library)
    control = f"; DDP beside itself: {units.span(over(again, library), 3)}" if again else ""
    words = f"bucketed takes {units.span(ratio, 3)} times DDP's step (goal: at most {goal:.2f}{control})"
    return f"{who(m)}: {words}", within(ratio, high=goal)


def scaled(records: Sequence[Record], m: Measurement) -> Iterator[Verdict]:
    """Say how a step scales, the work growing or kept, and what the loss is due to; a busy machine is no one's fault."""
    serial, alone, sums, unsent, late = (
        beside(records, m, way) for way in ("serial", "alone", "sums only", "not sent", "sent, late")
    )
    assert serial
    assert alone
    assert sums
    machine, goal = over(serial, alone), 0.96 if m.kind == "GPUs" else 0.93
    judged, free = m.kind == "GPUs" or str(m.case["a worker"]).startswith("32 "), machine.low > 0.97

    def verdict(value: Interval, least: float) -> bool | None:
        holds = within(value, low=least) if judged else None
        return holds if holds or free else None

    exposed = 1 - hidden_share(sums.seconds, alone.seconds, m.seconds).median
    why = f"the machine's {units.span(machine)} times communication's {units.span(over(alone, m))}"
    why += f", which takes {exposed:.0%} of what the sums take by themselves"
    if unsent and late:  # these parts add up
        times = [t.seconds.median for t in (serial, alone, unsent, late, m)]
        names = ("beside others", "to fill buckets", "slower while sums are under way", "of sums exposed")
        each = [f"{1e3 * (b - a):+.2g} ms {name}" for a, b, name in zip(times[:-1], times[1:], names, strict=True)]
        why += f"; {units.seconds(times[0])} alone, {', '.join(each)}"
    asked = f"goal: {goal:g}{'' if judged else ' at 32 rows: --budget full'}"
    weak = over(serial, m)
    yield f"{who(m)}: weak efficiency {units.span(weak)} ({asked}): {why}", verdict(weak, goal)
    for kept in [k for k in measured(records, m.workers, scaling="strong", GPT=m.case["GPT"]) if k.kind == m.kind]:
        strong, least = over(serial, kept), 0.85 * m.workers
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


def on_the_bus(found: Sequence[Measurement], way: str) -> Verdict:
    """Say how fast large messages are summed, and that small ones cost more than their bytes."""
    least, most = (pick(found, key=lambda m: float(m.case["bytes"])) for pick in (min, max))
    rate = most.seconds.map(lambda seconds: most.work["bytes"] / seconds)
    latency = least.seconds.map(lambda seconds: seconds * rate.median / least.work["bytes"])
    words = f"{way} sums {units.nbytes(float(most.case['bytes']))} at {rate.median / 1e9:.3g} GB/s of bus"
    small = f"{units.nbytes(float(least.case['bytes']))} take {latency.median:.3g} times their share of that"
    if way == "NCCL":
        share = rate.map(lambda rate: rate / NVLINK)
        reached = f"{units.span(share)} of what nccl-tests reach on two H200 (goal: 0.97)"
        return f"{words}, {reached}; {small}", within(share, low=0.97)
    return f"{words}; {small}", within(latency, low=1.0)


def overlapped(asleep: Measurement, found: Sequence[Measurement]) -> Verdict:
    """Hold steps over the emulated link to the law, round by round, from how long sleeping took beside them: a busy machine wakes late."""
    each, late = {}, asleep.seconds.median / asleep.facts["seconds asleep"]
    for m in found:
        n, total = int(m.case["buckets"]), m.facts["seconds on the link"]
        each[n] = paired_ratio(m.samples, [link.law(a / 3, 2 * a / 3, total, n) for a in asleep.samples])
    told = ", ".join(f"{n}: {units.span(ratio, 3)}" for n, ratio in each.items())
    words = f"over the emulated link a step is to forward + backward + sums / buckets as, by buckets, {told}"
    holds = every(within(ratio, 0.95, 1.05) for ratio in each.values())
    return (
        f"{words} (goal: within 5 %); asleep {late:.2f} times as long as asked for",
        holds if holds or late < 1.06 else None,
    )


def best_buckets(found: Sequence[Measurement], way: str) -> Verdict:
    """Say which size of buckets is best."""
    best, worst = (pick(found, key=lambda m: m.seconds.median) for pick in (min, max))
    sizes = [units.nbytes(float(m.case["bucket_bytes"])) for m in (best, worst)]
    words = f"{who(best)}: {way} is fastest with buckets of {sizes[0]} ({units.seconds(best.seconds.median)})"
    longer = f"{worst.seconds.median / best.seconds.median:.2f} times as long"
    return f"{words}, with {sizes[1]} it takes {longer}", best.seconds.high < worst.seconds.low or None


if __name__ == "__main__":
    lab("data_parallel", main)
