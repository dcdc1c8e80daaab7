"""One call of each collective, ready to be made by hand or by the library: problem("scan", comm, x).

The vectors are linear in x: change the sign of `inputs` and of `expected`, and the expected output is right again.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from mpi4py import MPI

from parlab.mpi.buffers import Array, edges


@dataclass(frozen=True)
class Problem:
    """The arguments of one call on this rank, and what must come out.

    arguments: what a hand-written function takes after the communicator. library(comm): the same by the library's own call.
    inputs: the arrays that the call reads on this rank. output: the array that it writes here, None where it writes nothing.
    expected: of output, made by mpi4py's pickled collectives, a third implementation.
    """

    arguments: tuple[Array | None, ...]
    library: Callable[[MPI.Intracomm], object]
    inputs: list[Array] = field(default_factory=list)
    output: Array | None = None
    expected: Array | None = None

    @property
    def vectors(self) -> tuple[Array, Array]:
        """What is sent and what is received, where this rank has both."""
        send, recv = self.arguments
        assert send is not None
        assert recv is not None
        return send, recv


def problem(operation: str, comm: MPI.Intracomm, x: Array) -> Problem:
    """Make a call of the operation on float64 vectors of len(x) elements; scatter, gather, allgather, alltoall: on such blocks.

    x: this rank's vector, of another content on each rank. Rank 0 is the root. Collective.
    """
    return MAKERS[operation](comm, x)


def _barrier(comm: MPI.Intracomm, x: Array) -> Problem:
    return Problem((), lambda c: c.Barrier())


def _bcast(comm: MPI.Intracomm, x: Array) -> Problem:
    buffer = x.copy()
    inputs, output = ([buffer], None) if comm.rank == 0 else ([], buffer)
    return Problem((buffer,), lambda c: c.Bcast(buffer), inputs, output, comm.bcast(x))


def _scatter(comm: MPI.Intracomm, x: Array) -> Problem:
    send = np.outer(np.arange(1, comm.size + 1), x) if comm.rank == 0 else None
    recv = np.empty_like(x)
    return Problem(
        (send, recv),
        lambda c: c.Scatter(send, recv),
        [] if send is None else [send],
        recv,
        comm.scatter(None if send is None else list(send)),
    )


def _gather(comm: MPI.Intracomm, x: Array) -> Problem:
    recv = np.empty((comm.size, *x.shape)) if comm.rank == 0 else None
    parts = comm.gather(x)
    return Problem((x, recv), lambda c: c.Gather(x, recv), [x], recv, None if parts is None else np.array(parts))


def _allgather(comm: MPI.Intracomm, x: Array) -> Problem:
    recv = np.empty((comm.size, *x.shape))
    return Problem((x, recv), lambda c: c.Allgather(x, recv), [x], recv, np.array(comm.allgather(x)))


def _reduce(comm: MPI.Intracomm, x: Array) -> Problem:
    recv = np.empty_like(x) if comm.rank == 0 else None
    return Problem((x, recv), lambda c: c.Reduce(x, recv), [x], recv, comm.reduce(x))


def _allreduce(comm: MPI.Intracomm, x: Array) -> Problem:
    recv = np.empty_like(x)
    return Problem((x, recv), lambda c: c.Allreduce(x, recv), [x], recv, comm.allreduce(x))


def _reduce_scatter(comm: MPI.Intracomm, x: Array) -> Problem:
    start = edges(len(x), comm.size)
    own = slice(start[comm.rank], start[comm.rank + 1])
    counts, recv = np.diff(start).tolist(), np.empty(own.stop - own.start)
    return Problem((x, recv), lambda c: c.Reduce_scatter(x, recv, counts), [x], recv, comm.allreduce(x)[own].copy())


def _alltoall(comm: MPI.Intracomm, x: Array) -> Problem:
    send = np.outer(np.arange(1, comm.size + 1), x)
    recv = np.empty_like(send)
    return Problem((send, recv), lambda c: c.Alltoall(send, recv), [send], recv, np.array(comm.alltoall(list(send))))


def _scan(comm: MPI.Intracomm, x: Array) -> Problem:
    recv = np.empty_like(x)
    return Problem((x, recv), lambda c: c.Scan(x, recv), [x], recv, comm.scan(x))


MAKERS: dict[str, Callable[[MPI.Intracomm, Array], Problem]] = {
    "barrier": _barrier,
    "bcast": _bcast,
    "scatter": _scatter,
    "gather": _gather,
    "allgather": _allgather,
    "reduce": _reduce,
    "allreduce": _allreduce,
    "reduce_scatter": _reduce_scatter,
    "alltoall": _alltoall,
    "scan": _scan,
}
