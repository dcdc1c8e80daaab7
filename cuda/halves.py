"""The heat equation on two GPUs: the grid is cut in two by rows, and each step needs the row at the other side of the cut. Needs CuPy.

The edge of a half is its row at the cut. The other half reads it beyond its own rows: in its halo, into which it is copied over the link or
by way of the host in every step, or where it is.

    in_turn        sweep all rows, then hand the edge over; the next step begins when the other's edge is here
    overlapped     sweep the edge first, in a stream of high priority, and hand it over while the rest is swept in another stream

Runs begin and end on streams.main(). Every wait in them is needed: the tests remove each.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import cupy as cp
import numpy as np

from parlab.cuda.buffers import copy_in, copy_out, pinned
from parlab.cuda.heat import Slab, Steps, serial
from parlab.cuda.peers import BOTH, Across, event_on, stream_on
from parlab.cuda.streams import Do, Run, main

HIGHEST = -5  # priority


class Half(Slab):
    """The upper half of a grid on GPU 0, the lower on GPU 1. ValueError for fewer than 4 rows.

    edge, halo: its rows at the cut; rest: its rows but the edge, from and up to. bulk, rim: streams, the second of high priority. swept,
    rimmed, sent: events. post: pinned memory for an edge, one for each array.
    """

    def __init__(self, gpu: int, total: int, columns: int) -> None:
        upper = (total + 1) // 2
        if total < 4:
            raise ValueError(f"a grid of at least 4 rows can be cut in two, not one of {total}")
        super().__init__(gpu, 1 + gpu * upper, total - upper if gpu else upper, total, columns)
        self.edge, self.halo = (1, 0) if gpu else (self.rows, self.rows + 1)
        self.rest = (2, self.rows + 1) if gpu else (1, self.rows)
        self.bulk, self.rim = stream_on(gpu), stream_on(gpu, HIGHEST)
        self.swept, self.rimmed, self.sent = (event_on(gpu) for _ in range(3))
        self.post = [pinned(columns + 2, np.float64) for _ in range(2)]


Halves = tuple[Half, Half]
Work = Callable[[Half, Half], Steps]  # what a half, the first of the two, does in each step
Trade = Callable[[Half, Half], tuple[Steps, Steps]]  # how it hands its new edge over, and how it takes the other's


def cut(rows: int, columns: int) -> Halves:
    """Return the halves of a grid."""
    upper, lower = (Half(gpu, rows, columns) for gpu in BOTH)
    return upper, lower


def nothing(stream: Any) -> None:
    """Issue nothing."""


def idle(half: Half, other: Half) -> Steps:
    """Do nothing."""
    return nothing, nothing


def whole(half: Half, other: Half) -> Steps:
    """Sweep all rows; the other's edge is in the halo."""
    return half.sweep(1, half.rows + 1)


def reading(half: Half, other: Half) -> Steps:
    """Sweep all rows; the other's edge is read where it is. The GPUs must be allowed to reach each other."""
    return half.sweep(1, half.rows + 1, other)


def edge(half: Half, other: Half) -> Steps:
    """Sweep the edge."""
    return half.sweep(half.edge, half.edge + 1)


def rest(half: Half, other: Half) -> Steps:
    """Sweep all rows but the edge."""
    return half.sweep(*half.rest)


def carry(half: Half, other: Half) -> Steps:
    """Read and write all rows: what a sweep costs at least."""
    return half.carry()


def by_link(half: Half, other: Half) -> tuple[Steps, Steps]:
    """Copy the edge into the other's halo."""

    def send(new: int) -> Do:
        to, of, nbytes = other.row(new, other.halo), half.row(new, half.edge), 8 * (half.columns + 2)
        default = (
            cp.cuda.runtime.memcpyDefault
        )  # the addresses tell the GPUs; cudaMemcpyPeerAsync cannot be captured into a graph
        return lambda stream: cp.cuda.runtime.memcpyAsync(to, of, nbytes, default, stream.ptr)

    return (send(1), send(0)), (nothing, nothing)


def by_host(half: Half, other: Half) -> tuple[Steps, Steps]:
    """Copy the edge to the host; take the other's from there. There are two posts: while one is read, the other is written."""

    def send(new: int) -> Do:
        return partial(copy_out, half.post[new], half.u[new, half.edge, : half.columns + 2])

    def receive(new: int) -> Do:
        return partial(copy_in, half.u[new, half.halo, : half.columns + 2], other.post[new])

    return (send(1), send(0)), (receive(1), receive(0))


def by_word(half: Half, other: Half) -> tuple[Steps, Steps]:
    """Copy nothing: for who reads the edge where it is, the event that it is there is enough."""
    return (nothing, nothing), (nothing, nothing)


def apart(halves: Halves, steps: int, work: Work) -> Run:
    """Return a run in which each GPU works by itself: a part of a step, or a bound, to be timed."""
    across = Across([half.bulk for half in halves])
    both = [(half.bulk, work(half, other)) for half, other in (halves, halves[::-1])]

    def run() -> None:
        across.fork()
        for k in range(steps):
            for stream, each in both:
                each[k % 2](stream)
        across.join()

    return run


def in_turn(halves: Halves, steps: int, trade: Trade, work: Work = whole) -> Run:
    """Return a run in which the GPUs work, then trade."""
    across = Across([half.bulk for half in halves])
    both = [(half, other, work(half, other), *trade(half, other)) for half, other in (halves, halves[::-1])]

    def run() -> None:
        across.fork()
        for k in range(steps):
            for half, _, each, send, _ in both:
                each[k % 2](half.bulk)
                send[k % 2](half.bulk)
                half.bulk.record(half.sent)
            for half, other, _, _, receive in both:
                half.bulk.wait_event(other.sent)
                receive[k % 2](half.bulk)
        across.join()

    return run


def overlapped(halves: Halves, steps: int, trade: Trade) -> Run:
    """Return a run in which each GPU trades its edge while it sweeps the rest.

    Its two streams need each other's last step: the neighbours of the edge are in the rest, and those of the rest in the edge.
    """
    across = Across([stream for half in halves for stream in (half.bulk, half.rim)])
    pairs = halves, halves[::-1]
    both = [(half, other, edge(half, other), rest(half, other), *trade(half, other)) for half, other in pairs]

    def run() -> None:
        across.fork()
        for k in range(steps):
            for half, _, outer, inner, send, _ in both:
                if k:
                    half.bulk.wait_event(half.rimmed)
                    half.rim.wait_event(half.swept)
                outer[k % 2](half.rim)
                half.rim.record(half.rimmed)
                send[k % 2](half.rim)
                half.rim.record(half.sent)
                inner[k % 2](half.bulk)
                half.bulk.record(half.swept)
            for half, other, _, _, _, receive in both:
                half.rim.wait_event(other.sent)
                receive[k % 2](half.rim)
        across.join()

    return run


def wrong(grid: Slab, halves: Halves, steps: int, run: Run) -> str | None:
    """Start afresh, do the run and say where it differs, bit by bit, from the serial run on the grid, of which array 1 is overwritten."""
    for slab in (grid, *halves):
        slab.load()
    run()
    serial(grid, steps)()
    for half in halves:
        to, nbytes = grid.row(1, half.first), 8 * half.pitch * half.rows
        cp.cuda.runtime.memcpyAsync(to, half.row(0, 1), nbytes, cp.cuda.runtime.memcpyDefault, main().ptr)
    main().synchronize()
    expected, found = grid.u.view(cp.uint64)[:, 1 : grid.rows + 1, 1 : grid.columns + 1]
    differs = found != expected
    if not (count := int(differs.sum())):
        return None
    row, column = divmod(int(differs.argmax()), grid.columns)
    at = row + 1, column + 1
    return f"{count} points differ; {at} is {float(grid.u[1, *at])!r}, not {float(grid.u[0, *at])!r}"
