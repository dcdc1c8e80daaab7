"""Kernels of known length that compete for the GPU: a short one that comes while a long grid runs, and many at once. Needs CuPy.

Each block writes down when it came and when it went (priorities.cu), by the one clock of the whole GPU. So the order in which blocks
were let in is in the stamps, whatever the clock says of their times; parlab.cuda.waves predicts it.
"""

from typing import Any

import cupy as cp
import numpy as np

from parlab.cuda.buffers import MAPPED, Host, address, pinned
from parlab.cuda.kernels import kernel
from parlab.cuda.streams import Run, event, fork, join, main, several
from parlab.cuda.waves import THREADS, Waves


def slots() -> int:
    """Return how many blocks the GPU runs at a time."""
    known = cp.cuda.runtime.getDeviceProperties(cp.cuda.Device().id)
    return int(known["multiProcessorCount"] * (known["maxThreadsPerMultiProcessor"] // THREADS))


def stream_first() -> Any:
    """Return a stream of the highest priority: a number beyond the range counts as the end of it (cudaStreamCreateWithPriority)."""
    return cp.cuda.Stream(non_blocking=True, priority=-(2**31))


class Grid:
    """A kernel of `blocks` blocks that each stay for `seconds`.

    stamps: uint64[blocks, 2], begin and end of each block in nanoseconds, on the GPU or in mapped memory of the host; made where it is
    not given. begun: int32[1] in mapped memory, set to 1 when the first block runs.
    """

    def __init__(self, blocks: int, seconds: float, stamps: Any = None, begun: Host | None = None) -> None:
        self.blocks, self.nanoseconds, self._kernel = blocks, round(seconds * 1e9), kernel("occupy", "priorities.cu")
        self.stamps = cp.empty((blocks, 2), cp.uint64) if stamps is None else stamps
        flag = 0 if begun is None else address(begun)
        self._arguments = (np.uint64(address(self.stamps)), np.uint64(self.nanoseconds), np.uint64(flag))

    def issue(self, stream: Any) -> None:
        """Launch it."""
        self._kernel((self.blocks,), (THREADS,), self._arguments, stream=stream)

    def spans(self) -> Host:
        """Return the stamps as int64[blocks, 2], as far as they are written."""
        spans: Host = cp.asnumpy(self.stamps).astype(np.int64)
        return spans

    def wrong(self) -> str | None:
        """Say how many blocks have not stayed their time, as far as their stamps tell by now."""
        begin, end = self.spans().T
        missing = int((end - begin < self.nanoseconds).sum())
        return f"{missing} of {self.blocks} blocks did not stay for {self.nanoseconds} ns" if missing else None


def until_done(grid: Grid, stream: Any) -> Run:
    """Return a run that launches a kernel and asks until it is done: the shortest way to know."""
    ended = event()

    def run() -> None:
        grid.issue(stream)
        ended.record(stream)
        while not ended.done:
            pass

    return run


class Arrival:
    """A kernel of one block and `short` seconds that comes on `stream` while a long grid runs on the stream `low`.

    `before` launches the grid and waits until it has begun, `run` is what the short kernel takes, `after` lets the grid end.
    """

    def __init__(self, grid: Waves, short: float, low: Any, stream: Any) -> None:
        self.low = low
        self.begun = pinned(1, np.int32, MAPPED)
        self.grid, self.short = Grid(grid.blocks, grid.block, begun=self.begun), Grid(1, short)
        self.run = until_done(self.short, stream)

    def before(self) -> None:
        """Launch the grid, and come back when its first block runs."""
        self.begun[0] = 0
        self.grid.issue(self.low)
        while not (self.begun[0] or self.low.done):
            pass

    def after(self) -> None:
        """Wait for the grid."""
        self.low.synchronize()

    def wrong(self) -> str | None:
        """Say what is missing."""
        return self.grid.wrong() or self.short.wrong()

    def overtaken(self) -> float:
        """Return the share of the grid's blocks that began after the short kernel."""
        return float((self.grid.spans()[:, 0] > self.short.spans()[0, 0]).mean())

    def began(self) -> float:
        """Return the seconds from the grid's begin to that of the short kernel, by the GPU's clock."""
        return float(self.short.spans()[0, 0] - self.grid.spans()[:, 0].min()) * 1e-9

    def lanes(self) -> list[tuple[str, list[tuple[float, float, str]]]]:
        """Return when the grid's waves and the short kernel ran, in seconds from the grid's begin."""
        spans = self.grid.spans()
        spans, (zero, _) = spans[spans[:, 0].argsort()], spans.min(axis=0)
        waves = [spans[i : i + slots()] for i in range(0, len(spans), slots())]
        begin, end = self.short.spans()[0]
        begun = [
            w[:, 0].min() for w in waves
        ]  # a wave lasts until the first block of the next one, at last until the last block's end
        ends = [*begun[1:], spans[:, 1].max()]
        told = [
            ((a - zero) / 1e9, (b - zero) / 1e9, f"wave {i}")
            for i, (a, b) in enumerate(zip(begun, ends, strict=True), 1)
        ]
        return [("the grid", told), ("the short kernel", [((begin - zero) / 1e9, (end - zero) / 1e9, "short")])]


class Crowd:
    """So many kernels of `each` blocks of `block` seconds, in three ways that begin and end on main()."""

    def __init__(self, kernels: int, each: int, block: float) -> None:
        self.stamps = cp.empty((kernels * each, 2), cp.uint64)
        parts = [self.stamps[i * each : (i + 1) * each] for i in range(kernels)]
        self.grids = [Grid(each, block, stamps=part) for part in parts]
        self.whole = Grid(kernels * each, block, stamps=self.stamps)

    def in_turn(self) -> None:
        """Launch them on one stream."""
        for grid in self.grids:
            grid.issue(main())

    def together(self) -> None:
        """Launch each on a stream of its own."""
        lanes = several(len(self.grids))
        fork(lanes)
        for grid, lane in zip(self.grids, lanes, strict=True):
            grid.issue(lane)
        join(lanes)

    def as_one(self) -> None:
        """Launch all blocks as one kernel."""
        self.whole.issue(main())

    def wrong(self) -> str | None:
        """Say what is missing."""
        cp.cuda.runtime.deviceSynchronize()
        return self.whole.wrong()

    def at_once(self) -> float:
        """Return how many of the blocks ran at a time, at most."""
        begin, end = (np.sort(stamps) for stamps in self.whole.spans().T)
        return float(max(i + 1 - np.searchsorted(end, at, "right") for i, at in enumerate(begin)))
