"""Sharing out rows of unknown cost among ranks: four schedules for one farm.     Their OpenMP name:

    block            one run of neighbouring rows for each rank                 schedule(static)
    cyclic           chunks are dealt out like cards                            schedule(static, chunk)
    master_worker    rank 0 hands the next chunk to the rank that asks          schedule(dynamic, chunk)
    shared_counter   no master: each rank takes chunks off a counter            schedule(dynamic, chunk)

A schedule is a generator: it yields the rows (first, last), last excluded, that this rank is to do next.
`farm` does them, `gather` puts the picture together.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

Rows = tuple[int, int]
Counts = NDArray[np.int32]
Schedule = Callable[[MPI.Intracomm, int, int], Iterator[Rows]]


def block(comm: MPI.Intracomm, rows: int, chunk: int) -> Iterator[Rows]:
    """Rank k does the k-th of p equal parts; chunk plays no role."""
    yield rows * comm.rank // comm.size, rows * (comm.rank + 1) // comm.size


def cyclic(comm: MPI.Intracomm, rows: int, chunk: int) -> Iterator[Rows]:
    """Chunk c goes to rank c modulo p."""
    for first in range(comm.rank * chunk, rows, comm.size * chunk):
        yield first, min(first + chunk, rows)


def master_worker(comm: MPI.Intracomm, rows: int, chunk: int) -> Iterator[Rows]:
    """Rank 0 answers each request with the next first row and does no rows itself, unless it is alone."""
    chunks = -(-rows // chunk)
    answer, nothing, status = np.empty(1, np.int64), np.empty(0), MPI.Status()
    if comm.size == 1:
        yield from cyclic(comm, rows, chunk)
    elif comm.rank == 0:
        for c in range(chunks + comm.size - 1):  # each worker asks once more than it gets: first >= rows means stop
            comm.Recv(nothing, MPI.ANY_SOURCE, status=status)
            answer[0] = c * chunk
            comm.Send(answer, status.source)
    else:
        while True:
            comm.Sendrecv(nothing, 0, recvbuf=answer, source=0)
            first = int(answer[0])
            if first >= rows:
                return
            yield first, min(first + chunk, rows)


def shared_counter(comm: MPI.Intracomm, rows: int, chunk: int) -> Iterator[Rows]:
    """Each rank adds chunk to a counter in rank 0's memory, atomically, and does the rows that it counted.

    Source: MPI standard, MPI_Fetch_and_op, passive target; mpi4py, demo/nxtval.
    """
    step, first = np.array(chunk, np.int64), np.zeros((), np.int64)
    counter = MPI.Win.Allocate(first.nbytes if comm.rank == 0 else 0, first.nbytes, comm=comm)
    counter.Lock_all()
    if comm.rank == 0:
        counter.Put(first, 0)
        counter.Flush(0)
    comm.Barrier()  # nobody counts before the counter is 0
    while True:
        counter.Fetch_and_op(step, first, 0)
        counter.Flush(0)
        if first >= rows:
            break
        yield int(first), min(int(first) + chunk, rows)
    counter.Unlock_all()
    counter.Free()  # collective, and so not in a `finally`: a rank that fails must not wait for the others


SCHEDULES: dict[str, Schedule] = {
    "block": block,
    "cyclic": cyclic,
    "master_worker": master_worker,
    "shared_counter": shared_counter,
}


class Share(NamedTuple):
    """What one rank did, in the order of execution: rows (first, last), and their counts, (last - first, width)."""

    rows: list[Rows]
    counts: list[Counts]

    @property
    def work(self) -> int:
        """The sum of all counts: what was to be done, whatever the clock says."""
        return sum(int(counts.sum()) for counts in self.counts)


def farm(schedule: Schedule, comm: MPI.Intracomm, rows: int, chunk: int, work: Callable[[int, int], Counts]) -> Share:
    """Do all rows by one schedule; work(first, last) computes the counts of some of them.  Collective.

    rows, chunk: in rows, the same on all ranks, both at least 1, else ValueError on every rank.
    """
    if rows < 1 or chunk < 1:
        raise ValueError(f"a farm needs at least 1 row and chunks of at least 1 row, not {rows} and {chunk}")
    share = Share([], [])
    for first, last in schedule(comm, rows, chunk):
        share.rows.append((first, last))
        share.counts.append(work(first, last))
    return share


def gather(comm: MPI.Intracomm, share: Share) -> Counts | None:
    """The picture, all rows in order, on rank 0; None elsewhere."""
    shares = comm.gather(share)
    if shares is None:
        return None
    parts = sorted((first, k, i) for k, one in enumerate(shares) for i, (first, _) in enumerate(one.rows))
    return np.concatenate([shares[k].counts[i] for _, k, i in parts])


def imbalance(comm: MPI.Intracomm, share: Share) -> float:
    """The largest share of the work over the mean share: 1 is perfect, p is one rank doing all.

    Known on every rank.  A master that does no rows counts in the mean.
    """
    works: list[int] = comm.allgather(share.work)
    return max(works) * comm.size / sum(works)
