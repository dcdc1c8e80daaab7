"""Forks the workers of tests: reads [n, test, limit, folder, on_gpus] a line, answers [statuses, timed out] a line.

What is slow to import is imported here once; each worker then runs its test by a pytest of its own, its output in folder/RANK.log.
"""

import json
import os
import sys
import time
from functools import partial
from pathlib import Path

import hypothesis  # noqa: F401 - here before pytest looks: it would rewrite all its assertions in each worker
import pytest
import torch._dynamo  # DistributedDataParallel imports it when first used
import torch.distributed.fsdp
import torch.distributed.optim
import torch.distributed.pipelining
import torch.distributed.tensor.parallel  # noqa: F401

from parlab import forked, workers


class Joined:
    """Hands the team to the fixture of that name."""

    def __init__(self, team: workers.Workers) -> None:
        self.team = team

    def pytest_configure(self, config: pytest.Config) -> None:
        """Be called by pytest when it starts."""
        config.team = self.team  # type: ignore[attr-defined]


def main() -> None:
    """Serve one test after the other until standard input ends."""
    for line in sys.stdin:
        n, test, limit, folder, on_gpus = json.loads(line)
        start = time.monotonic()
        statuses = forked.run(n, partial(worker, n, test, Path(folder), on_gpus), limit)
        print(json.dumps([statuses, time.monotonic() - start >= limit]), flush=True)


def worker(n: int, test: str, folder: Path, on_gpus: bool, rank: int) -> int:
    """Join the others and run the test."""
    log = os.open(folder / f"{rank}.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    team = workers.join(rank, n, folder / "store", on_gpus)
    workers.leave(int(pytest.main([*sys.argv[1:], test], plugins=[Joined(team)])))


if __name__ == "__main__":
    main()
