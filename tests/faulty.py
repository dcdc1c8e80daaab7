"""A lab in which worker 1 of 2 leaves in the way that PARLAB_TEST_WAY names, while worker 0 waits for it: over MPI or torch.distributed."""

import os
import signal
import sys
from functools import partial
from typing import Any

from parlab import witness
from parlab.bench import Bench, Case
from parlab.start import lab

WAY = os.environ.get("PARLAB_TEST_WAY", "")


def leave_mpi(comm: Any) -> None:
    if WAY == "abort":
        comm.Abort(7)
    if WAY == "hang":
        comm.recv(source=0)


def leave_torch(team: Any) -> None:
    import torch
    import torch.distributed as dist

    if WAY == "memory":
        torch.empty(2**50)
    if WAY == "hang":
        dist.recv(torch.empty(1), group=team.group, group_src=0)


def leave() -> None:
    witness.reached("step 3")
    if WAY == "raise":
        raise ValueError("boom")
    if WAY.startswith("exit "):
        sys.exit(int(WAY.split()[1]))
    if WAY.startswith("_exit "):
        os._exit(int(WAY.split()[1]))
    if WAY in ("SIGKILL", "SIGSEGV"):
        os.kill(os.getpid(), signal.Signals[WAY])


def main(bench: Bench) -> None:
    over_torch = bench.kind == "processes"
    for team in bench.groups() if over_torch else bench.communicators():
        barrier = getattr(team, "barrier" if over_torch else "Barrier")
        bench.contrast(team, {}, "case", {"barrier": Case(barrier)})
        if WAY == "wrong":
            lie = partial(str, "1 is not 2") if team.rank else None
            bench.contrast(team, {}, "case", {"liar": Case(barrier, lie)})
        if team.rank == 1:
            leave()
            (leave_torch if over_torch else leave_mpi)(team)
        barrier()


if __name__ == "__main__":
    lab("faulty", main)
