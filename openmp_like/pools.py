"""Workers that are started once and then wait for tasks: threads or processes; and three ways to hand them their part of an array.

    with processes(4) as pool:                           # all four are ready from here on
        by_pickling(pool, arrays, count, parts, steps)   # results[:count] = the orbits of values[:count], as `parts` tasks

    by_views     threads see the arrays themselves
    by_pickling  a process is sent its values and sends back its results: each way a copy into a pipe and one out of it
    by_sharing   a process finds its values in memory that it shares, and leaves its results there

A task is a function of (values, results, steps): `interpreted` or `compiled` below, or one of parlab.openmp_like.workload. Processes
import this file, so it is light: Numba comes with the first compiled step. They and the shared memory end with the `with`, and with the
process that made them, however it ends. Source: Python's library reference, concurrent.futures, multiprocessing.shared_memory.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import cache
from multiprocessing.connection import wait
from multiprocessing.shared_memory import SharedMemory
from typing import Any, NamedTuple, Self

import numpy as np

from parlab.openmp_like import orbit

START_SECONDS = 60  # for interpreters to start; a worker that is not there by then will not come

Array = np.ndarray[Any, np.dtype[np.float64]]
Task = Callable[[Array, Array, int], None]


class Arrays(NamedTuple):
    """What to work on and where the results go: float64, of one length."""

    values: Array
    results: Array


def interpreted(values: Array, results: Array, steps: int) -> None:
    """Do the task in plain Python. A memoryview gives Python's own floats, which it handles faster than NumPy's."""
    orbit.iterate(memoryview(values), memoryview(results), steps)


def compiled(values: Array, results: Array, steps: int) -> None:
    """Do the task in machine code; without steps, with NumPy's copy."""
    if steps == 0:
        results[:] = values
        return
    from parlab.openmp_like.workload import iterate

    iterate(values, results, steps)


def threads(workers: int) -> Executor:
    """Start threads of this process. They run at one time only where their task drops the GIL."""
    gate = threading.Barrier(workers)
    return _all_there(ThreadPoolExecutor(workers, initializer=gate.wait, initargs=(START_SECONDS,)), workers)


def processes(workers: int, start: str = "spawn") -> Executor:
    """Start processes. start: "spawn" (a new interpreter each) or "forkserver" (forks of a helper that loads this file but once).

    "fork" would copy this process with all its locks and none of its threads: ValueError where its threads make that fatal. All import
    the main script: one that starts processes should import what is heavy only where it is used.
    """
    if start == "fork":
        from parlab.openmp_like.layers import refuse

        refuse("fork")
    context = multiprocessing.get_context(start)
    context.set_forkserver_preload([__name__])
    return _all_there(ProcessPoolExecutor(workers, context, _begin, (context.Barrier(workers),)), workers)


def _all_there(pool: Executor, workers: int) -> Executor:
    """Return the pool when all workers are there. It starts one for each task that finds none idle, and they wait for each other."""
    try:
        _finish([pool.submit(os.getpid) for _ in range(workers)])
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
    return pool


def by_views(pool: Executor, arrays: Arrays, count: int, parts: int, steps: int, task: Task = compiled) -> None:
    """Let threads do the task on the first `count` values."""
    values, results = arrays
    _finish([pool.submit(task, values[a:b], results[a:b], steps) for a, b in cuts(count, parts)])


def by_pickling(pool: Executor, arrays: Arrays, count: int, parts: int, steps: int, task: Task = compiled) -> None:
    """Let processes do the task on the first `count` values."""
    values, results = arrays
    sent = [pool.submit(_answer, values[a:b], steps, task) for a, b in cuts(count, parts)]
    for (a, b), answer in zip(cuts(count, parts), sent, strict=True):
        results[a:b] = answer.result()


def by_sharing(pool: Executor, block: "Block", count: int, parts: int, steps: int, task: Task = compiled) -> None:
    """Let processes do the task on the first `count` values of the block."""
    _finish([pool.submit(_in_place, block.name, a, b, steps, task) for a, b in cuts(count, parts)])


def cuts(count: int, parts: int) -> Iterator[tuple[int, int]]:
    """Yield first and last (excluded) of `parts` runs of neighbours, of one size or one more."""
    for part in range(parts):
        yield part * count // parts, (part + 1) * count // parts


def _finish(tasks: list[Future[Any]]) -> None:
    """Wait for all; raise what the first of them raised."""
    for task in tasks:
        task.result()


class Memory(SharedMemory):
    """Shared memory that stays mapped here as long as an array lies on it, held perhaps by the traceback of an exception."""

    def close(self) -> None:
        """Unmap it, if no array is left; called at its end too, where an exception would have nowhere to go."""
        with contextlib.suppress(BufferError):
            super().close()


class Block:
    """`count` values and as many results in memory that other processes find by its name. A `with` block ends it for all."""

    def __init__(self, count: int) -> None:
        self.memory = Memory(create=True, size=2 * count * np.dtype(np.float64).itemsize)
        self.name = self.memory.name
        self.arrays = halves(self.memory.buf)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the name now; the memory itself goes when the last array on it does."""
        del self.arrays
        self.memory.unlink()
        self.memory.close()


def halves(buffer: Any) -> Arrays:
    """Take a block's memory as its values and its results."""
    both = np.frombuffer(buffer, np.float64)
    return Arrays(both[: both.size // 2], both[both.size // 2 :])


# What the processes do.


def _begin(gate: Any) -> None:
    """Set up a process: it leaves Ctrl-C to the one that started it, and ends with it, even where that one was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    gate.wait(START_SECONDS)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _answer(values: Array, steps: int, task: Task) -> Array:
    results = np.empty_like(values)
    task(values, results, steps)
    return results


def _in_place(name: str, first: int, last: int, steps: int, task: Task) -> None:
    _, (values, results) = _attach(name)
    task(values[first:last], results[first:last], steps)


@cache
def _attach(name: str) -> tuple[Memory, Arrays]:
    """Find the shared memory, once: mapping it anew for each task would cost a page fault for every 4 KiB."""
    memory = Memory(name)
    return memory, halves(memory.buf)
