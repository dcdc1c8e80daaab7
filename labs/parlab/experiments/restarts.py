"""Workers of a training, one of which kills itself, and who brings it back: torchrun, a process that forks, or torchft.

This file is the program of the workers that torchrun starts.
"""

import json
import multiprocessing
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

import torch
import torch._dynamo  # the first optimizer imports it, which takes more than a second: once, before the fork

from parlab import forked, lives, process, workers
from parlab.ddp import elastic_by_torchft
from parlab.ddp.mortal import Training
from parlab.ddp.sharded import ZeRO1
from parlab.errors import CheckFailed
from parlab.launch import Command
from parlab.workers import Workers

ASKED = "PARLAB_SURVIVE"  # set for the workers that torchrun starts: what they are to do
LIMIT = 90.0  # seconds that a training may take


def torchrun(asked: Training, log: Path) -> None:
    """Let torchrun start the workers, and start them again after a kill."""
    module = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1"]
    argv = [sys.executable, *module, "--monitor-interval", "0.1", "-m", __name__]
    command = Command(argv, {ASKED: json.dumps(asdict(asked)), "OMP_NUM_THREADS": "1"})
    ended = process.run(command, limit=LIMIT, log=log)
    if ended.timed_out or ended.status:
        told = f"was ended at its limit of {LIMIT:g} s" if ended.timed_out else f"ended with status {ended.status}"
        raise CheckFailed(f"torchrun {told}: what it printed is in {log}")


def worker_of_torchrun() -> NoReturn:
    """Be one of the workers that torchrun starts."""
    asked = Training(**json.loads(os.environ[ASKED]))
    rank, life = int(os.environ["RANK"]), int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    stamps = lives.Stamps(Path(asked.folder), rank, life)
    stamps.reached(lives.STARTED, lives.process_start())
    stamps.reached(lives.IMPORTED)
    team = workers.join(rank, int(os.environ["WORLD_SIZE"]), None)
    asked.run(team.group, life, stamps.reached)
    workers.leave(0)


def by_forks(asked: Training, more: Callable[[Workers, ZeRO1], None] | None = None) -> None:
    """Fork the workers, and fork them again after a kill: this process has imported torch once for all of them."""
    for life in range(1 + asked.kill):
        statuses = forked.run(2, partial(forked_worker, asked, life, more), LIMIT)
    if any(statuses):
        raise CheckFailed(f"workers that were forked ended with statuses {statuses}")


def forked_worker(asked: Training, life: int, more: Callable[[Workers, ZeRO1], None] | None, rank: int) -> NoReturn:
    """Be one of the workers that are forked; more: what they do together after the training."""
    stamps = lives.Stamps(Path(asked.folder), rank, life)
    stamps.reached(lives.STARTED)
    team = workers.join(rank, 2, Path(asked.folder) / f"store {life}")
    trainer = asked.run(team.group, life, stamps.reached)
    if more:
        more(team, trainer)
    workers.leave(0)


def torchft(asked: Training, log: Path) -> None:
    """Let a worker die while the other one goes on; start it again at once."""
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe()
    lighthouse = fork.Process(target=keep_lighthouse, args=(there,))
    lighthouse.start()
    started = [lighthouse]
    try:
        if not here.poll(LIMIT):
            raise CheckFailed("the lighthouse of torchft did not start")
        start = partial(worker_of_torchft, asked, here.recv(), log)
        lived, died, revived = (fork.Process(target=start, args=who) for who in ((0, 0), (1, 0), (1, 1)))
        for one in (lived, died, revived):
            one.start()
            started.append(one)
            if one is died:
                died.join(LIMIT)
        for one in (lived, revived):
            one.join(LIMIT)
    finally:
        for one in started:
            one.kill()
    if (lived.exitcode, revived.exitcode) != (0, 0):
        raise CheckFailed(f"workers of torchft ended with {lived.exitcode} and {revived.exitcode}: see {log}")


def worker_of_torchft(asked: Training, address: str, log: Path, worker: int, life: int) -> NoReturn:
    """Be one of the workers that go on without each other. What torchft says goes to a file of its own: it says much."""
    for stream in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT), stream)
    torch.set_num_threads(1)
    stamps = lives.Stamps(Path(asked.folder), worker, life)
    stamps.reached(lives.STARTED)
    asked.run_by_torchft(worker, life, stamps.reached, address)
    os._exit(0)  # threads of its manager still run


def keep_lighthouse(told: Connection) -> None:
    """Keep torchft's server until this process is ended."""
    server = elastic_by_torchft.lighthouse()
    told.send(server.address())
    told.poll(None)


if __name__ == "__main__":
    worker_of_torchrun()
