"""Ping-pong without messages for the payload: one-sided (Put, Get), and by plain stores into shared memory."""

import os

import numpy as np
from mpi4py import MPI

from parlab.mpi.buffers import Array
from parlab.mpi.rung import Rung

LINE = 64  # bytes of a cache line


class Window(Rung):
    """A rung with a window on one of the arrays of each rank; of 1 byte at least, since an empty one has no memory."""

    def _expose(self, nbytes: int) -> Array:
        self.window = MPI.Win.Allocate(max(1, nbytes), comm=self.pair)
        memory: Array = np.frombuffer(self.window.tomemory(), np.uint8)
        memory[:] = 0
        return memory[:nbytes]

    def _teardown(self) -> None:
        self.window.Free()


class PutFence(Window):
    """A fence ends one epoch and begins the next."""

    def _setup(self) -> None:
        self.incoming = self._expose(self.nbytes)
        self.window.Fence()

    def __call__(self) -> None:
        """Rank 0's Put, a fence, rank 1's Put, a fence."""
        if self.first:
            self.window.Put(self.outgoing, self.peer)
        self.window.Fence()
        if not self.first:
            self.window.Put(self.outgoing, self.peer)
        self.window.Fence()


class GetFence(Window):
    """Each rank fetches what the other has stored in its own memory."""

    def _setup(self) -> None:
        self.outgoing = self._expose(self.nbytes)

    def __call__(self) -> None:
        """A fence that shows what was stored since the last call, rank 1's Get, a fence, rank 0's Get, a fence."""
        self.window.Fence()
        if not self.first:
            self.window.Get(self.incoming, self.peer)
        self.window.Fence()
        if self.first:
            self.window.Get(self.incoming, self.peer)
        self.window.Fence()


class Passive(Window):
    """A lock held for good; who has touched the other's memory says so in a message of 0 bytes."""

    def _lock(self) -> None:
        self.window.Lock_all()
        self.nothing = np.empty(0, np.uint8)

    def _tell(self) -> None:
        self.window.Sync()  # our stores before the message
        self.pair.Send(self.nothing, self.peer)

    def _wait(self) -> None:
        self.pair.Recv(self.nothing, self.peer)
        self.window.Sync()  # our loads after it

    def _teardown(self) -> None:
        self.window.Unlock_all()
        super()._teardown()


class PutFlush(Passive):
    """Each rank delivers into the other's memory."""

    def _setup(self) -> None:
        self.incoming = self._expose(self.nbytes)
        self._lock()

    def __call__(self) -> None:
        """On each side a Put, a Flush (the bytes are there) and a message of 0 bytes that says so."""
        if not self.first:
            self._wait()
        self.window.Put(self.outgoing, self.peer)
        self.window.Flush(self.peer)
        self._tell()
        if self.first:
            self._wait()


class GetFlush(Passive):
    """Each rank fetches what the other says is ready."""

    def _setup(self) -> None:
        self.outgoing = self._expose(self.nbytes)
        self._lock()

    def __call__(self) -> None:
        """On each side a Get and a Flush; the third of three messages lets rank 1 store again."""
        if self.first:
            self._tell()
        self._wait()
        self.window.Get(self.incoming, self.peer)
        self.window.Flush(self.peer)
        self._tell()
        if not self.first:
            self._wait()


class SharedMemory(Rung):
    """A flag and the bytes in each rank's memory, which the other stores to; MPI.Exception without shared memory."""

    def _setup(self) -> None:
        lines = 1 + -(-self.nbytes // LINE)  # the flag has its own, and the two ranks share none
        self.window = MPI.Win.Allocate_shared(lines * LINE, comm=self.pair)
        self.window.Lock_all()
        mine, theirs = (self.window.Shared_query(rank)[0] for rank in (self.pair.rank, self.peer))
        self.incoming, self.target = (np.frombuffer(part, np.uint8)[LINE:][: self.nbytes] for part in (mine, theirs))
        self.my_flag, self.their_flag = (memoryview(part)[:8].cast("q") for part in (mine, theirs))
        self.my_flag[0] = self.calls = 0
        self.pair.Barrier()

    def _store(self) -> None:
        self.target[:] = self.outgoing
        self.window.Sync()  # the bytes before the flag
        self.their_flag[0] = self.calls

    def _wait(self) -> None:
        looks = 0
        while self.my_flag[0] != self.calls:
            looks += 1
            if looks > 100:  # some microseconds: the other rank may need this core
                os.sched_yield()
        self.window.Sync()  # the flag before the bytes

    def __call__(self) -> None:
        """Two copies, two flags."""
        self.calls += 1
        if self.first:
            self._store()
            self._wait()
        else:
            self._wait()
            self._store()

    def _teardown(self) -> None:
        del self.incoming, self.target, self.my_flag, self.their_flag
        self.window.Unlock_all()
        self.window.Free()
