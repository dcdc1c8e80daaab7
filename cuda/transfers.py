"""A copy by a copy engine or by a kernel, alone, after others, beside them, waited for or not. Needs CuPy.

    there = by_engine(given, pinned)            # what issues it to a stream, with all arguments worked out beforehand
    alone(there)()                              # on main(); the host goes on
    at_once(there, by_engine(result, made))()   # each on a stream of its own

A kernel that reads or writes the host's memory by itself is "zero copy": NVIDIA, CUDA C++ Best Practices Guide, Zero Copy.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import cupy as cp
import numpy as np

from parlab.cuda.buffers import address
from parlab.cuda.device import behind_gate
from parlab.cuda.kernels import THREADS, kernel
from parlab.cuda.streams import Do, Run, event, fork, join, main, several

By = Callable[[Any, Any], Do]  # by_engine or by_kernel
Timer = Callable[[Callable[[], object], int], float]  # does a run so many times, returns the seconds of all of them

WIDE = 16  # bytes that a thread moves at a time
MOST_SPARE = 32  # copies of which some must outlast those that are timed beside them
MOST_BLOCKS = 1024  # of a copying kernel: as many as a large GPU runs at a time; more would only queue


def by_engine(to: Any, source: Any) -> Do:
    """Return what issues cudaMemcpyAsync of all of `source` to the beginning of `to`: arrays on the host or on the GPU."""
    kind = {
        (False, True): cp.cuda.runtime.memcpyHostToDevice,
        (True, False): cp.cuda.runtime.memcpyDeviceToHost,
        (False, False): cp.cuda.runtime.memcpyDeviceToDevice,
    }[isinstance(to, np.ndarray), isinstance(source, np.ndarray)]
    copy = partial(cp.cuda.runtime.memcpyAsync, address(to), address(source), source.nbytes, kind)

    def issue(stream: Any, _kept: Any = (to, source)) -> None:  # kept, for an address keeps no memory alive
        copy(stream.ptr)

    return issue


def by_kernel(to: Any, source: Any) -> Do:
    """Return what launches a kernel that does the same; host memory must be pinned."""
    move, grid = kernel("copy_bytes", "copying.cu"), (wide_blocks(source.nbytes),)
    arguments = np.uint64(address(to)), np.uint64(address(source)), np.int64(source.nbytes)

    def issue(stream: Any, _kept: Any = (to, source)) -> None:
        move(grid, (THREADS,), arguments, stream=stream)

    return issue


def wide_blocks(nbytes: int) -> int:
    """Return how many blocks copy so many bytes."""
    return max(1, min(MOST_BLOCKS, -(-nbytes // (WIDE * THREADS))))


def in_turn(*issues: Do) -> Do:
    """Return what issues all of these to one stream."""

    def issue(stream: Any) -> None:
        for one in issues:
            one(stream)

    return issue


def alone(issue: Do) -> Run:
    """Return the run that issues this to main()."""
    return lambda: issue(main())


def at_once(*issues: Do) -> Run:
    """Return the run that issues each to a stream of its own: they begin together, and main() goes on when the last has ended."""
    lanes = several(len(issues))

    def run() -> None:
        fork(lanes)
        for issue, stream in zip(issues, lanes, strict=True):
            issue(stream)
        join(lanes)

    return run


def waited(run: Run) -> Run:
    """Return a run after which the host waits for main()."""

    def wait() -> None:
        run()
        main().synchronize()

    return wait


def beside(other: Do) -> Timer:
    """Return what times runs on main() beside which others began before and end after them.

    So does NVIDIA's nvbandwidth time copies in both directions. Raises RuntimeError where the others ended first.
    """
    (side,), begin, end, last = several(1), cp.cuda.Event(), cp.cuda.Event(), cp.cuda.Event()
    spare = 2  # copies beyond those that must run: main() begins some microseconds after it is let go, many short copies later

    def seconds(run: Callable[[], object], batch: int) -> float:
        nonlocal spare

        def both() -> None:
            fork([side])
            other(side)
            main().wait_event(side.record(event()))  # from here on the others are under way
            begin.record(main())
            for _ in range(batch):
                run()
                other(side)
            end.record(main())
            for _ in range(spare + 2 * batch):  # twice as many again, for one of them may take half as long
                other(side)
            last.record(side)
            join([side])

        while spare <= MOST_SPARE:
            behind_gate(both, 1)
            if cp.cuda.get_elapsed_time(end, last) > 0:
                return float(cp.cuda.get_elapsed_time(begin, end)) * 1e-3
            spare *= 4
        raise RuntimeError("the copies the other way ended first: nothing was timed beside them")

    return seconds


def differs(found: Any, expected: Any) -> str | None:
    """Say where two arrays of the GPU differ, when all that was issued is done; None where nowhere."""
    cp.cuda.runtime.deviceSynchronize()
    wrong = found != expected
    number = int(wrong.sum())
    if not number:
        return None
    at = int(wrong.argmax())
    return f"{number} of {wrong.size} numbers differ; number {at} is {int(found[at])}, not {int(expected[at])}"
