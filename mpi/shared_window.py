"""All-reduce inside one node through shared memory: in place of messages, each rank loads what another has stored.

copied          Copied(comm, shape, dtype, op)(send, recv): private arrays are copied into the window and out of it
in window       InWindow(...)(recv): the input is stored in the window to begin with, only the result is copied
shared result   InWindow(...).reduce(): nobody copies, all ranks load one result

All combine in the order of the ranks. Allocate once, call as often as needed, free, or use `with`: all collective.
"""

from itertools import cycle
from math import prod

import numpy as np
import numpy.typing as npt
from mpi4py import MPI

from parlab.mpi.buffers import Array, Buffer, edges
from parlab.mpi.lent import Lent
from parlab.mpi.node import crowded
from parlab.mpi.operation import SUM, Op

PAGE = 4096  # bytes; a rank's part begins on its own page, so that no two ranks share a cache line
CHUNK = 1 << 20  # bytes; small enough to be still in a cache when the others load it, and large against a barrier
SLOTS = 16  # at most
CHEAP = 128 << 10  # bytes that are loaded from other ranks in about the time of one barrier


def fold(op: Op, inputs: list[Array], out: Array) -> None:
    """Store inputs[0] OP inputs[1] OP ... into out; the first two at once, so that nothing is copied before."""
    if len(inputs) == 1:
        out[...] = inputs[0]
        return
    op.combine(inputs[0], inputs[1], out)
    for x in inputs[2:]:
        op.combine(out, x, out)


class SharedWindow(Lent):
    """A window to which each rank lends `slots` arrays, and rank 0 one more for the result.

    comm: all its ranks on one node, as in comm.Split_type(MPI.COMM_TYPE_SHARED).
    shape, dtype: of one array, the same on all ranks; axis 0 counts the elements.
    inputs[slot][rank], result: the arrays, on every rank.  own: the slice of them that this rank combines.
    MPI.Exception if the ranks do not share memory, or there is not enough of it (Linux: the size of /dev/shm).
    """

    def __init__(
        self, comm: MPI.Intracomm, shape: tuple[int, ...], dtype: npt.DTypeLike, op: Op = SUM, slots: int = 1
    ) -> None:
        self.comm, self.op = comm, op
        room = (prod(shape) * np.dtype(dtype).itemsize // PAGE + 1) * PAGE
        self.window = MPI.Win.Allocate_shared(room * (slots + (comm.rank == 0)), comm=comm)
        self.window.Lock_all(MPI.MODE_NOCHECK)  # Sync is allowed inside an epoch only
        parts = [self.window.Shared_query(rank)[0] for rank in range(comm.size)]
        self.inputs = [[np.ndarray(shape, dtype, part, slot * room) for part in parts] for slot in range(slots)]
        self.result: Array = np.ndarray(shape, dtype, parts[0], slots * room)
        self.own = slice(*edges(shape[0], comm.size)[comm.rank : comm.rank + 2])
        for slot in self.inputs:
            slot[comm.rank][...] = 0  # a page lies near the rank that stores to it first
        self.result[self.own] = 0

    def barrier(self) -> None:
        """Wait for all ranks; what any of them stored before, all can load after.

        A barrier orders the ranks, not the memory: Sync before it makes this rank's stores visible to the others, and
        Sync after it keeps this rank's loads from being done early.  Source: MPI standard, MPI_Win_sync.
        """
        self.window.Sync()
        self.comm.Barrier()
        self.window.Sync()

    def free(self) -> None:
        """Give the memory back (collective); no array of the window may be used any more."""
        del self.inputs, self.result  # a view must not outlive the memory
        self.window.Unlock_all()
        self.window.Free()


class InWindow(SharedWindow):
    """The user stores this rank's input into `input`, which lies in the window."""

    def __init__(self, comm: MPI.Intracomm, shape: tuple[int, ...], dtype: npt.DTypeLike, op: Op = SUM) -> None:
        super().__init__(comm, shape, dtype, op)
        self.input: Array = self.inputs[0][comm.rank]
        self.slices = [x[self.own] for x in self.inputs[0]]

    def reduce(self) -> Array:
        """Each rank combines its slice; return the one result that all ranks load, valid until any calls again.

        A rank is past the second barrier only when all slices are combined, so it may store the next input at once.
        The next result is stored after the next first barrier, which no rank enters before it has loaded this one.
        """
        self.barrier()  # all inputs are stored
        fold(self.op, self.slices, self.result[self.own])
        self.barrier()  # all slices are combined
        return self.result

    def __call__(self, recv: Array) -> None:
        """Reduce, and copy the result to recv, a private array of the window's shape and dtype."""
        recv[...] = self.reduce()

    def free(self) -> None:
        """As SharedWindow.free."""
        del self.input, self.slices
        super().free()


class Copied(SharedWindow):
    """The user's arrays are private; they go through the window in chunks of `chunk` bytes at most, None: chosen.

    Two ways, chosen by what they cost for p ranks and a chunk of m bytes:
    sliced      each rank combines its slice: about 2 m loaded from others, two barriers
    redundant   each rank combines everything for itself: (p - 1) m loaded from others, one barrier, no result to copy
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        shape: tuple[int, ...],
        dtype: npt.DTypeLike,
        op: Op = SUM,
        chunk: int | None = None,
    ) -> None:
        self.count, element = shape[0], prod(shape[1:]) * np.dtype(dtype).itemsize
        if chunk is None:  # where ranks share cores, a barrier costs a turn of the scheduler: then one chunk for all
            chunk = max(CHUNK, self.count * element) if crowded(comm) else CHUNK
        self.step = max(1, min(self.count, chunk // element))  # elements
        nbytes = self.step * element
        if (comm.size - 2) * nbytes <= CHEAP:
            self.way, slots = self._redundant, max(2, min(SLOTS, chunk // max(1, nbytes)))
        else:
            self.way, slots = self._sliced, 1
        super().__init__(comm, (self.step, *shape[1:]), dtype, op, slots)
        self.turns = cycle(self.inputs)

    def __call__(self, send: Buffer, recv: Array) -> None:
        """All-reduce send, or with MPI.IN_PLACE recv, into recv: private arrays of the shape and dtype given first."""
        x = recv if send is MPI.IN_PLACE else send
        for start in range(0, self.count, self.step):
            self.way(x[start : start + self.step], recv[start : start + self.step])

    def _sliced(self, x: Array, out: Array) -> None:
        """The two barriers protect each other's memory too: see InWindow.reduce."""
        start, stop = edges(len(x), self.comm.size)[self.comm.rank : self.comm.rank + 2]
        mine = self.inputs[0][self.comm.rank]
        mine[:start] = x[:start]  # what this rank combines itself it takes from x
        mine[stop : len(x)] = x[stop:]
        self.barrier()
        inputs = [y[start:stop] for y in self.inputs[0]]
        inputs[self.comm.rank] = x[start:stop]
        fold(self.op, inputs, self.result[start:stop])
        self.barrier()
        out[...] = self.result[: len(x)]

    def _redundant(self, x: Array, out: Array) -> None:
        """One barrier: before a slot's turn comes again there is another, and past that no rank loads from it any more.

        Two slots would do; with more of them their lines have left the other caches by then, and a store is faster.
        """
        inputs = [y[: len(x)] for y in next(self.turns)]
        inputs[self.comm.rank][...] = x
        if self.comm.rank < 2:  # fold reads this input before it stores to out, which may be x
            inputs[self.comm.rank] = x  # faster than to load one's own lines back while the others load them
        self.barrier()
        fold(self.op, inputs, out)

    def free(self) -> None:
        """As SharedWindow.free."""
        del self.turns
        super().free()
