"""The ways of a host to wait for a GPU: what each waits for, and the cores that it burns meanwhile. Needs CuPy.

A way marks a point in a stream (by an event, by a callback, or not at all) and then waits for it. What it really waits for is found by a
kernel that is held: while the host does not let it go, only a wait that does not concern it can return.

Source: NVIDIA, CUDA Runtime API, Stream synchronization behavior.
"""

import resource
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cupy as cp
import numpy as np

from parlab.cuda.buffers import MAPPED, address, pinned
from parlab.cuda.kernels import kernel
from parlab.cuda.priorities import Grid
from parlab.cuda.streams import Run, event
from parlab.cuda.wait_rules import BEFORE, BLOCKING, OTHER, PLACES

HELD = 20e-3  # seconds after which a held kernel gives up: a host that is awake looks long before
GAVE_UP = 2  # what it then writes (kernels.cu)
PATIENCE = 1e-3  # seconds: so often a callback's way looks itself whether the stream is done
LONG = 0.1  # seconds: CPU time is counted in ticks of up to 4 ms


def nothing() -> None:
    """Do it."""


@dataclass(frozen=True)
class Way:
    """mark: issue what marks the point. wait: come back when the GPU has passed it."""

    mark: Run
    wait: Run


def ways(stream: Any) -> dict[str, Way]:
    """Return the ways to wait for what was issued to a stream."""
    spinning, blocking = event(), cp.cuda.Event(block=True, disable_timing=True)
    called = threading.Event()

    def asleep() -> None:
        while not (called.wait(PATIENCE) or stream.done):
            pass
        called.clear()

    return {
        "device synchronise": Way(nothing, cp.cuda.runtime.deviceSynchronize),
        "stream synchronise": Way(nothing, stream.synchronize),
        "event synchronise": Way(lambda: spinning.record(stream), spinning.synchronize),
        "event synchronise, blocking": Way(lambda: blocking.record(stream), blocking.synchronize),
        "query the stream": Way(nothing, until(lambda: stream.done)),
        "query an event": Way(lambda: spinning.record(stream), until(lambda: spinning.done)),
        "callback": Way(lambda: stream.launch_host_func(lambda _: called.set(), None), asleep),
    }


def indirect(stream: Any) -> dict[str, Way]:
    """Return two more, which one may not take for waits: they are not timed."""
    word = cp.empty(1, cp.float32)
    return {
        "null stream synchronise": Way(nothing, cp.cuda.Stream.null.synchronize),
        "copy back by get": Way(nothing, lambda: word.get(stream=stream)),
    }


def until(done: Callable[[], bool]) -> Run:
    """Return what asks until the answer is yes."""

    def run() -> None:
        while not done():
            pass

    return run


def waits_for(way: Way, stream: Any, place: str, others: dict[str, Any]) -> bool:
    """Tell whether a way waits for a kernel that is held in one of the PLACES. others: the streams of the last two."""
    flag = pinned(1, np.int32, MAPPED)
    flag[0] = 0
    arguments = (np.uint64(address(flag)), np.uint64(int(HELD * 1e9)))
    if place == BEFORE:
        kernel("gate")((1,), (1,), arguments, stream=stream)
    way.mark()
    if place != BEFORE:
        kernel("gate")((1,), (1,), arguments, stream=others.get(place, stream))
    way.wait()
    waited = bool(flag[0] == GAVE_UP)
    if not waited:
        flag[0] = 1
    cp.cuda.runtime.deviceSynchronize()
    return waited


def waited(stream: Any, other: Any) -> dict[str, tuple[str, ...]]:
    """Return for each way to wait for a stream the PLACES of the kernels that it waited for."""
    others = {OTHER: other, BLOCKING: cp.cuda.Stream()}
    found = ways(stream) | indirect(stream)
    cp.cuda.runtime.deviceSynchronize()
    return {name: tuple(p for p in PLACES if waits_for(way, stream, p, others)) for name, way in found.items()}


class Waiting:
    """A kernel of so many seconds, and a way to wait for it. `run` does both; `idle` waits for nothing."""

    def __init__(self, way: Way, stream: Any, seconds: float) -> None:
        self.way, self.stream = way, stream
        self.stamps = pinned(2, np.uint64, MAPPED).reshape(1, 2)  # the host sees them without any further wait
        self.grid, self._long = (Grid(1, t, stamps=self.stamps) for t in (seconds, LONG))

    def run(self) -> None:
        """Launch the kernel and wait for it."""
        self.grid.issue(self.stream)
        self.idle()

    def idle(self) -> None:
        """Mark the stream and wait for the mark."""
        self.way.mark()
        self.way.wait()

    def wrong(self) -> str | None:
        """Say whether the wait came back before the kernel had ended."""
        return self.grid.wrong() and "the wait came back before the kernel had ended"

    def tried(self) -> str | None:
        """Launch the kernel, wait for it, and say whether that was too short."""
        self.stamps.fill(0)
        self.run()
        return self.wrong()

    def cores_busy(self) -> dict[str, float]:
        """Return how many cores this process keeps busy while it waits."""
        before = resource.getrusage(resource.RUSAGE_SELF)
        self._long.issue(self.stream)
        self.idle()
        now = resource.getrusage(resource.RUSAGE_SELF)
        return {"cores busy": (now.ru_utime - before.ru_utime + now.ru_stime - before.ru_stime) / LONG}
