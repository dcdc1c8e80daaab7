"""Run labs: build the launches of each, let them run one after the other, and leave one results file that holds everything measured."""

import argparse
import contextlib
import os
import time
from collections.abc import Iterator
from math import inf
from pathlib import Path

from parlab import gpus, header, launch, results, table
from parlab.bench import MORE, RUNNING
from parlab.catalogue import Lab, select
from parlab.errors import DONE, INTERRUPTED, TIMED_OUT, BadRequest
from parlab.follow import follow, workers_of
from parlab.launch import Command, find_mpi, ranks, threads
from parlab.machine import cores
from parlab.options import BUDGETS, doubling
from parlab.pace import PAGE, PAGE_OF_LAB, PREDICTED, Pace, Usual, in_turns, usual
from parlab.progress import Progress
from parlab.records import LAYERS, Skip


def run(options: argparse.Namespace) -> int:
    """Run the labs that are asked for and return the exit status."""
    chosen = in_turns(select(options.labs)) if options.minutes else select(options.labs)
    if not chosen:
        print(f"{', '.join(options.labs)}: no lab here yet; its README.md says what it will hold")
        return DONE
    out = options.out or Path("results") / time.strftime("%Y-%m-%dT%H-%M-%S")
    missing = {lab.id: lab.missing() or _unsuited(lab, options) for lab in chosen}
    # All command lines are built before anything is written: a request that makes no sense leaves nothing behind.
    commands = {lab.id: [] if missing[lab.id] and not lab.gpus else launches(lab, options, out) for lab in chosen}
    if options.dry_run:
        for lab in chosen:
            skipped = [f"# {lab.id}: skipped: {missing[lab.id]}"] if missing[lab.id] else []
            print("\n".join([*skipped, *(c.line() for c in commands[lab.id])]))
        return DONE
    progress = Progress(_pace(chosen, commands, missing, options))
    writer = results.Writer(out)
    with_ranks = [lab for lab in chosen if "ranks" in lab.needs and not missing[lab.id]]
    mpi = {"mpi": str(find_mpi())} if with_ranks else {}
    begun = header.begin(writer, options, mpi)
    table.heading(begun)
    progress.plan()
    statuses = [DONE]
    try:
        for lab in chosen:
            if reason := missing[lab.id]:
                writer.write(Skip(lab.id, reason))
            if commands[lab.id]:  # a lab of GPUs runs without one too: it predicts
                if beyond := _beyond(lab, options):
                    writer.write(Skip(lab.id, f"{beyond} threads: this process may use {cores()} cores"))
                statuses.append(_in_time(lab, commands[lab.id], options, writer, progress))
            table.show_lab(lab, results.read(out))
            if missing[lab.id] or (lab.on_gpus and not gpus.count()):
                table.show_recorded(lab, whole=bool({lab.id, lab.topic} & set(options.labs)))
    except KeyboardInterrupt:
        statuses.append(INTERRUPTED)
    finally:
        header.end(writer)
        run_so_far = results.read(out)
        table.ending(run_so_far, writer.path)
    if INTERRUPTED in statuses:
        progress.interrupted(out)
        return INTERRUPTED
    if len(chosen) > 1:
        table.show_telling(run_so_far)
    if options.budget != "smoke":
        print(progress.page(out))
    return TIMED_OUT if TIMED_OUT in statuses else max(statuses)


def _in_time(
    lab: Lab, commands: list[Command], options: argparse.Namespace, writer: results.Writer, progress: Progress
) -> int:
    """Run a lab in the share of its time that is left for it, or leave it out; return its exit status."""
    share = progress.begin(lab.id)
    if share is None:
        writer.write(
            Skip(lab.id, f"no time was left of {options.minutes:g} minutes: `parlab run {lab.id}` takes its own")
        )
        return DONE
    if share < 1:
        minutes = share * BUDGETS[options.budget].lab_seconds / 60
        commands = [Command([*command.argv, "--minutes", f"{minutes:.3g}"], command.env) for command in commands]
    status = follow(lab, commands, options, writer, progress)
    progress.end(lab.id)
    return status


def _pace(
    chosen: list[Lab], commands: dict[str, list[Command]], missing: dict[str, str | None], options: argparse.Namespace
) -> Pace:
    """Plan the run: what each lab that has launches usually takes, within the minutes that were asked for."""
    ahead = [_usual(lab, commands[lab.id], missing[lab.id], options) for lab in chosen if commands[lab.id]]
    ending = PAGE + PAGE_OF_LAB * len(ahead) if options.budget != "smoke" else 0.0
    return Pace(ahead, 60 * options.minutes if options.minutes else inf, ending)


def _usual(lab: Lab, commands: list[Command], missing: str | None, options: argparse.Namespace) -> Usual:
    numbers = {p for command in commands for p in workers_of(command)}
    need = "gpu" if lab.gpus else lab.needs[0]
    return PREDICTED if missing else usual(need, len(numbers), BUDGETS[options.budget])


def launches(lab: Lab, options: argparse.Namespace, out: Path) -> list[Command]:
    """Build the command lines of a lab of ranks: one launch for the numbers that the cores can hold, one for those beyond.

    Apart, because ranks that own a core should be bound and spin, and ranks that share one must yield: one launch cannot do both.
    """
    wanted = _wanted(lab, options)
    if lab.gpus:
        return [_of_run(launch.process(_program(lab, options, wanted)), out, False)]
    if "processes" in lab.needs:
        return list(_trained(lab, options, out))
    if "torchrun" in lab.needs:
        return [_of_run(launch.workers(_program(lab, options, wanted)), out, False)]
    if "ranks" not in lab.needs:
        return list(_processes(lab, options, out, wanted))
    here = options.hosts is None and "SLURM_JOB_ID" not in os.environ
    room = cores() if here else max(wanted)  # elsewhere the engine knows the cores, and places the ranks
    parts = [part for part in ([p for p in wanted if p <= room], [p for p in wanted if p > room]) if part]
    return list(_commands(lab, options, out, parts))


def _wanted(lab: Lab, options: argparse.Namespace) -> list[int]:
    if lab.gpus:
        return lab.workers
    if not {"ranks", "processes", "torchrun"}.isdisjoint(lab.needs):
        return lab.wanted(options.workers or doubling(max(4, cores())))
    usual = [cores()] if lab.whole else doubling(cores())
    return [p for p in lab.wanted(options.workers or usual) if p <= cores()]


def _beyond(lab: Lab, options: argparse.Namespace) -> str:
    """Name the numbers of threads that were asked for and have no core each."""
    return ", ".join(str(p) for p in options.workers or [] if "threads" in lab.needs and p > cores())


def _unsuited(lab: Lab, options: argparse.Namespace) -> str | None:
    """Say why none of the numbers of workers suits the lab. Raises BadRequest where the lab was asked for by its name."""
    if (beyond := _beyond(lab, options)) and {lab.id, lab.topic} & set(options.labs):
        fitting = ",".join(map(str, doubling(cores())))
        raise BadRequest(
            f"{lab.id}: {beyond} threads asked, but this process may use {cores()} cores: ask for --workers {fitting}"
        )
    if "processes" in lab.needs and not _on_device(lab, options):
        reason = f"asked for on GPUs: {gpus.count()} are here" if lab.on_gpus else "it has no use for a GPU"
    elif _wanted(lab, options):
        return None
    else:
        reason = (
            f"it runs on {' or '.join(map(str, lab.workers))} workers, not on {', '.join(map(str, options.workers))}"
        )
    if lab.id in options.labs:
        raise BadRequest(f"{lab.id}: {reason}: leave out --workers and --device, or name others")
    return reason


def _commands(lab: Lab, options: argparse.Namespace, out: Path, parts: list[list[int]]) -> Iterator[Command]:
    for i, part in enumerate(parts):
        yield _of_run(ranks(part[-1], _program(lab, options, part), hosts=options.hosts), out, i + 1 < len(parts))


def _processes(lab: Lab, options: argparse.Namespace, out: Path, wanted: list[int]) -> Iterator[Command]:
    """Build one launch for each layer, or one on the layer that is usual here."""
    asked = os.environ.get("NUMBA_THREADING_LAYER")
    layers = LAYERS if lab.layers and asked is None else (asked,)
    for layer in layers:
        command = threads(wanted[-1], _program(lab, options, wanted), layer=layer, gpus=lab.on_gpus)
        yield _of_run(command, out, layer != layers[-1])


def _on_device(lab: Lab, options: argparse.Namespace) -> list[tuple[str, list[int]]]:
    """Return where the processes of a lab run, and how many: on the CPU, on the GPUs, or on the one and then on the other."""
    here = gpus.count() if lab.on_gpus else 0
    fitting = [p for p in lab.wanted(options.workers or doubling(here)) if 0 < p <= here]
    parts = [("cpu", _wanted(lab, options)), ("gpu", fitting)]
    return [(device, counts) for device, counts in parts if counts and options.device in (None, device)]


def _trained(lab: Lab, options: argparse.Namespace, out: Path) -> Iterator[Command]:
    """Build the launches of a lab of processes: one with tensors in main memory, one with a GPU for each worker.

    Before them, where it compares itself with MPI: one by mpirun, with as many ranks as have a core each.
    """
    parts = _on_device(lab, options)
    fitting = [p for device, counts in parts for p in counts if device == "cpu" and 1 < p <= cores()]
    if lab.over_mpi and fitting:
        with contextlib.suppress(BadRequest):  # no MPI here: the lab itself says so
            program = [*_program(lab, options, fitting), "--device", "cpu"]
            yield _of_run(ranks(fitting[-1], program), out, True)
    for i, (device, counts) in enumerate(parts):
        program = [*_program(lab, options, counts), "--device", device]
        yield _of_run(launch.workers(program), out, i + 1 < len(parts))


def _program(lab: Lab, options: argparse.Namespace, workers: list[int]) -> list[str]:
    asked = ["--workers", ",".join(map(str, workers)), "--budget", options.budget, "--seed", str(options.seed)]
    return [str(lab.script), *asked, *(["--debug"] if options.debug else [])]


def _of_run(command: Command, out: Path, more: bool) -> Command:
    """Tell the processes which run they belong to, and whether another launch of the lab follows, which will conclude."""
    return Command(command.argv, command.env | {RUNNING: str(out.resolve())} | ({MORE: "1"} if more else {}))
