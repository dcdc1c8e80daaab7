"""Run the launches of a lab one after the other, and explain a fault: who failed, why, and where its output is."""

import argparse
import re
import time
from pathlib import Path

from parlab import process, results, witness
from parlab.catalogue import Lab
from parlab.errors import BAD_REQUEST, DONE, FAILED, TIMED_OUT
from parlab.launch import Command
from parlab.options import BUDGETS
from parlab.progress import Progress
from parlab.records import Fault

START_SECONDS = 60  # for interpreters to start and Numba to compile, beside a lab's own time
SLACK = 3  # how often a lab's own time fits into its limit, for each number of workers: a deadlock is for ever


def workers_of(command: Command) -> list[int]:
    """Return the numbers of workers that a launch measures."""
    return [int(p) for p in command.argv[command.argv.index("--workers") + 1].split(",")]


def follow(
    lab: Lab, commands: list[Command], options: argparse.Namespace, writer: results.Writer, progress: Progress
) -> int:
    """Run the launches of a lab until one fails; return the exit status. A fault is recorded."""
    out = writer.path.parent
    log = out / f"{lab.id}.log"
    for command in commands:
        witness.clear(out)
        longest = START_SECONDS + SLACK * BUDGETS[options.budget].lab_seconds * len(workers_of(command))
        limit = options.limit or longest
        with progress.launch(command, log) as watch:
            ended = process.run(command, limit=limit, log=log, watch=watch, on_timeout=lambda: _ask(out))
        testimony = witness.read(out)
        if ended.timed_out:
            return _fault(lab, writer, f"ended after its limit of {limit:g} s; {testimony.sentence()}", TIMED_OUT, log)
        if 0 not in testimony.finished or testimony.raised:  # rank 0 says it is done when all others are
            told = testimony.sentence() if testimony.raised or testimony.silent or testimony.stood else _last_line(log)
            return _fault(lab, writer, told, BAD_REQUEST if ended.status == BAD_REQUEST else FAILED, log)
        if ended.status:
            return _fault(lab, writer, f"the launcher ended with status {ended.status}: {_last_line(log)}", FAILED, log)
        if options.debug:
            print(ended.output)
    witness.clear(out)
    return DONE


def _fault(lab: Lab, writer: results.Writer, told: str, status: int, log: Path) -> int:
    writer.write(Fault(lab.id, f"{told}; what it printed is in {log}"))
    return status


def _ask(out: Path) -> None:
    witness.ask(out)
    time.sleep(0.2)  # the handlers write a few lines


def _last_line(log: Path) -> str:
    """Pick from what a launch printed the line that tells most: the last exception, else the last line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip(" -*=\n")]
    raised = [line for line in lines if re.match(r"\w+(Error|Exception)\b", line)]
    return (raised or lines or ["it printed nothing"])[-1]
