"""What a construct costs: the constructs of OpenMP around a delay, and the same delays without them. regions.c is the same in C.

    for _ in range(reps):                    for _ in range(reps):
        delay(out, lane, turns)                  delay(out, lane, turns)
                                                 barrier(state, threads)

The difference of their times, divided by reps, is what a barrier adds: its overhead. Source: J. M. Bull, Measuring Synchronisation and
Scheduling Overheads in OpenMP, EWOMP 1999; EPCC OpenMP micro-benchmark suite 3.1, syncbench.

A delay adds 1 to an element of `out`, `turns` times. It is a chain of dependent additions, which no compiler may shorten, for
floating-point addition is not associative; it starts from memory and ends there, so that none can be taken out of the loop. Constructs that
let one thread in at a time delay on one element for all, as if it were what they protect: else a processor, which runs ahead of
branches that it foresees, would do the next delay while it still waits, and some constructs would seem to cost less than nothing.
In the end `out` shows the number of all turns, exactly; `Counted` checks it.

Each kernel takes out (float64[threads, APART], zeros), state (int64[STATE_WORDS], zeros), where lanes wait for each other, the
number of repetitions, and the turns of a delay.
"""

from collections.abc import Callable
from ctypes import CDLL, c_long, c_void_p
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit, prange

from parlab.openmp_like.atomics import add, compare_exchange, load, store
from parlab.openmp_like.waiting import APART, BARRIER_WORDS, barrier, end_turn, lock, unlock, wait_turn

TURN = BARRIER_WORDS  # where the lock, the number of the turn or the shared sum stands in `state`
STATE_WORDS = BARRIER_WORDS + APART

Words = np.ndarray[Any, np.dtype[Any]]
Kernel = Callable[[Words, Words, int, int], None]


@njit(cache=True)
def delay(out: Any, lane: int, turns: int) -> None:
    """Add `turns` to out[lane, 0], one addition after the other: some 3 or 4 cycles each."""
    x = load(out, (lane, 0), "relaxed")  # as `volatile` in C: no register keeps it from one delay to the next
    for _ in range(turns):
        x += 1.0
    store(out, (lane, 0), x, "relaxed")


@njit(cache=True)
def reference(out: Any, state: Any, reps: int, turns: int) -> None:
    """`reps` delays and nothing else, on one thread."""
    for _ in range(reps):
        delay(out, 0, turns)


@njit(parallel=True, cache=True)
def region(out: Any, state: Any, reps: int, turns: int) -> None:
    """#pragma omp parallel (the same as `parallel for`): a delay on each lane, then all join."""
    for _ in range(reps):
        for lane in prange(out.shape[0]):
            delay(out, lane, turns)


def region_from_python(out: Any, state: Any, reps: int, turns: int) -> None:
    """A region at a time, each called by the interpreter."""
    for _ in range(reps):
        region(out, state, 1, turns)


@njit(parallel=True, cache=True)
def reduction(out: Any, state: Any, reps: int, turns: int) -> None:
    """#pragma omp parallel for reduction(+:total): a delay on each lane, and Numba's own reduction over all lanes."""
    for _ in range(reps):
        total = 0.0
        for lane in prange(out.shape[0]):
            delay(out, lane, turns)
            total += turns
        out[0, 1] += total


@njit(parallel=True, cache=True)
def loop(out: Any, state: Any, reps: int, turns: int) -> None:
    """#pragma omp for schedule(static, 1), inside of one region: each lane finds its iterations, here one, and waits for all."""
    threads = out.shape[0]
    for lane in prange(threads):
        for _ in range(reps):
            for i in range(lane, threads, threads):
                delay(out, i, turns)
            barrier(state, threads)


@njit(parallel=True, cache=True)
def barriers(out: Any, state: Any, reps: int, turns: int) -> None:
    """#pragma omp barrier: a delay on each lane, then all wait for all."""
    threads = out.shape[0]
    for lane in prange(threads):
        for _ in range(reps):
            delay(out, lane, turns)
            barrier(state, threads)


@njit(parallel=True, cache=True)
def single(out: Any, state: Any, reps: int, turns: int) -> None:
    """#pragma omp single: the first to come does the delay, all wait for it. state[TURN] numbers the one that is open."""
    threads = out.shape[0]
    for _lane in prange(threads):
        for i in range(reps):
            if compare_exchange(state, TURN, i, i + 1, "relaxed") == i:
                delay(out, 0, turns)
            barrier(state, threads)


@njit(parallel=True, cache=True)
def ordered(out: Any, state: Any, reps: int, turns: int) -> None:
    """#pragma omp for ordered schedule(static, 1): a delay at a time, in the order of the iterations."""
    threads = out.shape[0]
    for lane in prange(threads):
        for i in range(lane, reps, threads):
            wait_turn(state[TURN:], i)
            delay(out, 0, turns)
            end_turn(state[TURN:], i)


@njit(parallel=True, cache=True)
def locked(out: Any, state: Any, reps: int, turns: int) -> None:
    """omp_set_lock, omp_unset_lock (or `critical`): a delay at a time, in any order."""
    threads = out.shape[0]
    for lane in prange(threads):
        for _ in range(lane, reps, threads):
            lock(state, TURN)
            delay(out, 0, turns)
            unlock(state, TURN)


@njit(parallel=True, cache=True)
def atomic(out: Any, state: Any, reps: int, turns: int) -> None:
    """#pragma omp atomic: all lanes add to one word, without a delay, for it would keep them from meeting there."""
    threads = out.shape[0]
    for lane in prange(threads):
        for _ in range(lane, reps, threads):
            add(state, TURN, 1)
    out[0, 0] = state[TURN]


@dataclass(frozen=True)
class Construct:
    """A kernel, the functions of regions.c that do the same, and how it counts.

    shared: one delay in each repetition, on one element for all; else one on each lane. regions: a repetition is a whole region. summed:
    out[0, 1] is the sum of all delays. delays: false where there are none, and each repetition counts 1.
    waiting: lanes wait for each other, see layers.refuse.
    """

    kernel: Kernel
    gcc: tuple[str, ...]
    shared: bool = False
    regions: bool = False
    waiting: bool = False
    summed: bool = False
    delays: bool = True


REFERENCE = Construct(reference, ("reference",), shared=True)
CONSTRUCTS = {
    "region": Construct(region, ("parallel", "parallel_for"), regions=True),
    "from Python": Construct(region_from_python, (), regions=True),
    "reduction": Construct(reduction, ("reduction",), regions=True, summed=True),
    "for": Construct(loop, ("for_loop",), waiting=True),
    "barrier": Construct(barriers, ("barrier",), waiting=True),
    "single": Construct(single, ("single",), shared=True, waiting=True),
    "ordered": Construct(ordered, ("ordered",), shared=True, waiting=True),
    "lock": Construct(locked, ("lock", "critical"), shared=True),
    "atomic": Construct(atomic, ("atomic",), shared=True, delays=False),
}


def words(threads: int) -> tuple[Words, Words]:
    """Return out and state. Kernels that are compared should have the same: what a contended word costs depends on where it lies."""
    return np.zeros((threads, APART)), np.zeros(STATE_WORDS, np.int64)


class Counted:
    """One construct with its arrays: `run` does it, `check` says what is wrong with what the lanes counted."""

    def __init__(
        self, construct: Construct, kernel: Kernel, arrays: tuple[Words, Words], reps: int, turns: int
    ) -> None:
        """Prepare for `kernel`: the construct's own, or one that does the same (`in_c`)."""
        self.construct, self.kernel, self.reps, self.turns = construct, kernel, reps, turns
        self.out, self.state = arrays

    def run(self) -> None:
        """Do it once, from zero."""
        self.out.fill(0.0)
        self.state.fill(0)
        self.kernel(self.out, self.state, self.reps, self.turns)

    def check(self) -> str | None:
        """Compare the counts, exact in float64, with the number of delays."""
        expected = float(self.reps * self.turns if self.construct.delays else self.reps)
        counted = self.out[:1, 0] if self.construct.shared else self.out[:, 0]
        if self.construct.summed and self.out[0, 1] != expected * len(counted):
            return f"the reductions give {self.out[0, 1]}, not {expected * len(counted)}"
        return None if (counted == expected).all() else f"counted {counted.tolist()}, not {expected} each"


def in_c(library: CDLL, name: str) -> Kernel:
    """Return a function of regions.c as a kernel like those above."""
    function = getattr(library, name)
    function.restype, function.argtypes = None, [c_void_p, c_void_p, c_long, c_long, c_long]

    def kernel(out: Any, state: Any, reps: int, turns: int) -> None:
        function(out.ctypes.data, state.ctypes.data, out.shape[0], reps, turns)

    return kernel
