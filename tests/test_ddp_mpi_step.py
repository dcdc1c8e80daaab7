"""Gradients summed over MPI: in the memory of the tensors, blocking and not; and the launch whose workers are ranks too."""

import subprocess
import sys

import pytest

pytest.importorskip("torch")
import torch
from mpi4py import MPI

from parlab.ddp.buckets import Bucket
from parlab.ddp.mpi_step import blocking, nonblocking
from parlab.machine import cores


@pytest.mark.ranks(2)
def test_sums_over_mpi_land_in_the_bucket() -> None:
    comm = MPI.COMM_WORLD
    for way in (blocking, nonblocking):
        send = way(comm)
        buckets = [Bucket([torch.zeros(3, 5), torch.zeros(7)]) for _ in range(2)]
        for scale, bucket in enumerate(buckets, start=1):
            bucket.flat.copy_(torch.arange(22.0) * scale * (comm.rank + 1))
        waits = [send(bucket) for bucket in buckets]
        for scale, (bucket, wait) in enumerate(zip(buckets, waits, strict=True), start=1):
            wait()
            assert torch.equal(bucket.views[1], torch.arange(15.0, 22.0) * scale * 3)


@pytest.mark.skipif(cores() < 2, reason="needs a core for each of two ranks")
def test_the_launch_by_mpirun_comes_first_and_leaves_the_conclusions_to_the_next() -> None:
    command = [
        sys.executable,
        "-m",
        "parlab",
        "run",
        "data_parallel",
        "--workers",
        "1,2",
        "--device",
        "cpu",
        "--dry-run",
    ]
    ranks, workers = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert " -m mpi4py " in ranks
    assert "--workers 2 " in ranks
    assert "PARLAB_MORE=1" in ranks
    assert " -m mpi4py " not in workers
    assert "--workers 1,2 " in workers
    assert "PARLAB_MORE" not in workers
