"""What a thread did and when, written down by itself inside compiled code: a clock, and a log that each thread has rows of its own in."""

import platform
from typing import Any

import numpy as np
from llvmlite import ir
from numba import get_thread_id, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

MONOTONIC = {"Darwin": 6}.get(platform.system(), 1)  # CLOCK_MONOTONIC of <time.h>; Linux: 1
FIELDS = FIRST, LAST, BEGIN, END, THREAD = range(
    5
)  # of an entry: iterations first to last - 1, nanoseconds, who did it

Log = np.ndarray[Any, np.dtype[np.int64]]


@intrinsic
def now(context: Any) -> Any:
    """Return the time in nanoseconds on the clock that Python's monotonic_ns reads: clock_gettime(CLOCK_MONOTONIC) of POSIX."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        word = ir.IntType(64)
        timespec = cgutils.alloca_once(builder, ir.LiteralStructType([word, word]))
        kind = ir.FunctionType(ir.IntType(32), [ir.IntType(32), timespec.type])
        clock = cgutils.get_or_insert_function(builder.module, kind, "clock_gettime")
        builder.call(clock, [ir.Constant(ir.IntType(32), MONOTONIC), timespec])
        seconds, rest = (builder.load(cgutils.gep_inbounds(builder, timespec, 0, field)) for field in (0, 1))
        return builder.add(builder.mul(seconds, ir.Constant(word, 10**9)), rest)

    return types.int64(), emit


def empty_log(lanes: int, turns: int = 0) -> Log:
    """Return a log for this many lanes with room for the first `turns` entries of each; without room nothing is noted, or timed."""
    return np.zeros((lanes, turns, len(FIELDS)), np.int64)


@njit(cache=True)
def begin(log: Any, turn: int) -> int:
    """Return the time if the log has room for this turn."""
    return now() if turn < log.shape[1] else 0


@njit(cache=True)
def note(log: Any, lane: int, turn: int, first: int, last: int, began: int) -> None:
    """Write down, if the log has room, that this thread did iterations first to last - 1 of a lane, beginning at `began`."""
    if turn < log.shape[1]:
        entry = log[lane, turn]
        entry[FIRST], entry[LAST], entry[BEGIN], entry[END], entry[THREAD] = first, last, began, now(), get_thread_id()


def noted(log: Log) -> Log:
    """Return the entries (entries, 5) of all lanes, in the order of their first iterations."""
    entries = log.reshape(-1, len(FIELDS))
    entries = entries[entries[:, LAST] > entries[:, FIRST]]
    return entries[np.argsort(entries[:, FIRST], kind="stable")]


def once(entries: Log, n: int) -> bool:
    """Tell whether the entries, in the order of `noted`, hold each of n iterations exactly once."""
    edges = np.concatenate([[0], entries[:, LAST]])
    return np.array_equal(entries[:, FIRST], edges[:-1]) and int(edges[-1]) == n
