"""Copies between two GPUs: over the link that joins them, by way of the host, by a kernel that reads the other's memory. Needs CuPy.

A way is prepared for one direction: from the other GPU to GPU `to`, in a stream of that one. What it returns issues the copy: all of it
begins after what was issued to that stream before, and is over for what is issued to it after.

What holds between GPUs: a kernel goes to a stream of the current GPU, an event is recorded in a stream of the GPU that it was made on; but
a copy is issued, and an event waited for, from anywhere. Source: CUDA C++ Programming Guide, Multi-Device System.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import cupy as cp
import numpy as np

from parlab.cuda.buffers import address, copy_in, copy_out, pinned
from parlab.cuda.kernels import THREADS, blocks, kernel
from parlab.cuda.plan import parts
from parlab.cuda.streams import Do, Run, event, main

BOTH = (0, 1)  # the two GPUs; main() is a stream of the first
SLOTS = 4  # chunks that are on the host at a time: two would do if handing over took no time
POISON = 0x5A5A5A5A
ALREADY, NOT_GIVEN = 704, 705  # CUDA runtime API: cudaErrorPeerAccessAlreadyEnabled, cudaErrorPeerAccessNotEnabled


def reachable() -> bool:
    """Tell whether each of the two GPUs can read the other's memory."""
    return all(cp.cuda.runtime.deviceCanAccessPeer(gpu, 1 - gpu) for gpu in BOTH)


def let_reach(allowed: bool) -> None:
    """Let each of the two GPUs read the other's memory, or forbid it: copies between them are then staged through the host."""
    for gpu in BOTH:
        with cp.cuda.Device(gpu):
            cp.cuda.runtime.deviceSynchronize()
            change = cp.cuda.runtime.deviceEnablePeerAccess if allowed else cp.cuda.runtime.deviceDisablePeerAccess
            try:
                change(1 - gpu)
            except cp.cuda.runtime.CUDARuntimeError as error:
                if error.status not in (ALREADY, NOT_GIVEN):
                    raise


def free_bytes() -> int:
    """Return the bytes that are free on both GPUs, what CuPy keeps for later among them."""
    found = []
    for gpu in BOTH:
        with cp.cuda.Device(gpu):
            cp.get_default_memory_pool().free_all_blocks()
            found.append(int(cp.cuda.Device(gpu).mem_info[0]))
    return min(found)


def stream_on(gpu: int, priority: int = 0) -> Any:
    """Return a new stream of a GPU. priority: the lower the sooner; CUDA takes the nearest that there is."""
    with cp.cuda.Device(gpu):
        return cp.cuda.Stream(non_blocking=True, priority=priority)


def event_on(gpu: int) -> Any:
    """Return an event that streams of this GPU can record."""
    with cp.cuda.Device(gpu):
        return event()


def launched(gpu: int, name: str, grid: tuple[int, ...], block: tuple[int, ...], *arguments: Any) -> Do:
    """Return what launches a kernel of heat.cu on a GPU. CuPy loads it on each GPU when it is first launched there."""
    device, made = cp.cuda.Device(gpu), kernel(name, "heat.cu")

    def issue(stream: Any) -> None:
        with device:
            made(grid, block, arguments, stream=stream)

    return issue


class Across:
    """Forks streams of any GPU from main() and joins them to it, with events that are made once, each on the right GPU."""

    def __init__(self, lanes: Sequence[Any]) -> None:
        self._lanes = [(stream, event_on(stream.device_id)) for stream in lanes]
        self._begun = event_on(BOTH[0])

    def fork(self) -> None:
        """Let what is issued to these streams from now on begin after what was issued to main() before."""
        main().record(self._begun)
        for stream, _ in self._lanes:
            stream.wait_event(self._begun)

    def join(self) -> None:
        """Let what is issued to main() from now on begin after what was issued to these streams before."""
        for stream, ended in self._lanes:
            main().wait_event(stream.record(ended))


class Pair:
    """On each of two GPUs `count` numbers (uint32), the source, and room for those of the other, the target."""

    def __init__(self, count: int) -> None:
        self.count, self.source, self.target = count, list[Any](), list[Any]()
        self._seed = 0
        for gpu in BOTH:
            with cp.cuda.Device(gpu):
                self.source.append(cp.empty(count, cp.uint32))
                self.target.append(cp.empty(count, cp.uint32))

    @property
    def nbytes(self) -> int:
        """Bytes of a source."""
        return 4 * self.count

    def wrong(self, run: Run, targets: Sequence[int]) -> str | None:
        """Give the sources new numbers, poison these targets, do the run; say what has not come, bit by bit; None: all has."""
        self._seed += 1
        for gpu in BOTH:
            with cp.cuda.Device(gpu):
                self._kernel("number", self.source[gpu], gpu)
                self.target[gpu].fill(POISON)
                cp.cuda.runtime.deviceSynchronize()
        run()
        main().synchronize()
        for gpu in targets:
            with cp.cuda.Device(gpu):
                found = cp.zeros(1, cp.uint64)
                self._kernel("differing", self.target[gpu], 1 - gpu, np.uint64(address(found)))
                if wrong := int(found[0]):
                    return f"{wrong} of {self.count} elements on GPU {gpu} are not those of GPU {1 - gpu}"
        return None

    def _kernel(self, name: str, array: Any, of: int, *more: Any) -> None:
        """Launch a kernel on the numbers that GPU `of` has now, in the current GPU's default stream."""
        arguments = np.uint64(address(array)), np.int64(self.count), np.uint64((2 * self._seed + of) << 40), *more
        kernel(name, "heat.cu")(blocks(self.count), (THREADS,), arguments)


Way = Callable[[Pair, int, Any], Run]


def by_copy(pair: Pair, to: int, stream: Any) -> Run:
    """Copy as CUDA does it: over the link where the GPUs may reach each other, else staged through the host by the driver."""
    there, here = address(pair.source[1 - to]), address(pair.target[to])
    return partial(cp.cuda.runtime.memcpyPeerAsync, here, to, there, 1 - to, pair.nbytes, stream.ptr)


def by_kernel(pair: Pair, to: int, stream: Any) -> Run:
    """Let a kernel of GPU `to` read the other's memory. The GPUs must be allowed to reach each other."""
    there, here = address(pair.source[1 - to]), address(pair.target[to])
    grid = blocks(-(-pair.count // 4))
    issue = launched(to, "pull", grid, (THREADS,), np.uint64(here), np.uint64(there), np.int64(pair.count))
    return partial(issue, stream)


def by_hand(pair: Pair, to: int, stream: Any, chunks: int) -> Run:
    """Copy each chunk to pinned memory of the host and from there: while one comes in, the next goes out of the other GPU.

    A few slots are used in turn: one is filled again when it has been emptied. ValueError for fewer than one chunk.
    """
    pieces = parts(pair.count, chunks)
    largest, used = -(-pair.count // len(pieces)), min(SLOTS, len(pieces))
    slots = [pinned(largest, np.uint32) for _ in range(used)]
    filled, emptied = [event_on(1 - to) for _ in slots], [event_on(to) for _ in slots]
    begun, out = event_on(to), stream_on(1 - to)
    hops = [
        (
            i % used,
            i >= used,
            slots[i % used][: part.stop - part.start],
            pair.source[1 - to][part],
            pair.target[to][part],
        )
        for i, part in enumerate(pieces)
    ]

    def run() -> None:
        out.wait_event(stream.record(begun))
        for at, again, slot, source, target in hops:
            if again:
                out.wait_event(emptied[at])
            copy_out(slot, source, out)
            stream.wait_event(out.record(filled[at]))
            copy_in(target, slot, stream)
            stream.record(emptied[at])

    return run


def one_way(pair: Pair, way: Way) -> Run:
    """Return a run that copies from the second GPU to the first."""
    return way(pair, BOTH[0], main())


def both_ways(pair: Pair, way: Way) -> Run:
    """Return a run that copies from each GPU to the other at the same time."""
    far = stream_on(BOTH[1])
    across, there, here = Across([far]), way(pair, BOTH[1], far), way(pair, BOTH[0], main())

    def run() -> None:
        across.fork()
        there()
        here()
        across.join()

    return run
