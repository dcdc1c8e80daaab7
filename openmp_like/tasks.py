"""Tasks: work that makes more work. Every lane has a stack of what is ready, and takes from another's where its own is empty.

    put(stacks, ends, lane, task)                  # a task is a number that says which record of the program's it stands for
    task = take(stacks, ends, lane)                # the newest of one's own, or the oldest of another's; NONE: there is none just now

Its owner takes the newest, whose data its cache still holds; a thief takes the oldest, which in a recursion is the largest piece. Numba has
no tasks with variables of their own, so two things are written by hand: what a task needs stands in arrays, and what comes after
`taskwait` is done by whichever child ends last, when `missing` falls to 0. So no task waits, and no lane waits for a certain other: a
lane that finds nothing looks again until all is done. One lane alone would do everything: it is right on every threading layer.

Source: R. D. Blumofe, C. E. Leiserson, Scheduling Multithreaded Computations by Work Stealing, Journal of the ACM 46, 1999; here with a
lock for each stack. OpenMP 5.2, chapter 12.
"""

from typing import Any

import numpy as np
from numba import njit, prange

from parlab.openmp_like.atomics import add, load, store
from parlab.openmp_like.fences import settle
from parlab.openmp_like.waiting import APART, give_way, lock, pause, unlock

NONE = -1
LOCK, OLDEST, NEXT = range(
    3
)  # in a row of `ends`: the stack's lock, the place of its oldest task, the place for its next
EMPTY_LOOKS = 100  # looks into all stacks before an idle lane gives its core away

Words = np.ndarray[Any, np.dtype[np.int64]]


def empty_stacks(lanes: int, capacity: int) -> tuple[Words, Words]:
    """Return stacks (int64[lanes, capacity]) and their ends (int64[lanes, APART]). capacity: tasks ready on one lane at once, at most."""
    return np.zeros((lanes, capacity), np.int64), np.zeros((lanes, APART), np.int64)


@njit(cache=True, inline="always")
def put(stacks: Any, ends: Any, lane: int, task: int) -> None:
    """Make a task ready. What was written before is seen by whoever takes it."""
    settle()
    _put(stacks, ends, lane, task)


@njit(cache=True, inline="always")
def take(stacks: Any, ends: Any, lane: int) -> Any:
    """Return a task that is ready and now this lane's to do, or NONE."""
    task = _take(stacks, ends, lane)
    settle()
    return task


@njit(cache=True)
def _put(stacks: Any, ends: Any, lane: int, task: int) -> None:
    lock(ends, (lane, LOCK))
    place = ends[lane, NEXT]
    stacks[lane, place % stacks.shape[1]] = task
    store(ends, (lane, NEXT), place + 1, "relaxed")
    unlock(ends, (lane, LOCK))


@njit(cache=True)
def _take(stacks: Any, ends: Any, lane: int) -> int:
    lanes, capacity = stacks.shape
    for distance in range(lanes):
        victim = (lane + distance) % lanes
        if load(ends, (victim, NEXT), "relaxed") == load(ends, (victim, OLDEST), "relaxed"):
            continue  # it looks empty: do not disturb its owner
        task = NONE
        lock(ends, (victim, LOCK))
        oldest, after = ends[victim, OLDEST], ends[victim, NEXT]
        if oldest < after and victim == lane:
            task = stacks[victim, (after - 1) % capacity]
            store(ends, (victim, NEXT), after - 1, "relaxed")
        elif oldest < after:
            task = stacks[victim, oldest % capacity]
            store(ends, (victim, OLDEST), oldest + 1, "relaxed")
        unlock(ends, (victim, LOCK))
        if task != NONE:
            return task
    return NONE


@njit(cache=True)
def idle(looks: int) -> int:
    """Pass a moment after having found nothing; returns the number of such moments in a row."""
    if looks < EMPTY_LOOKS:
        pause()
    else:
        give_way()
    return looks + 1


# A recursion: the Fibonacci numbers, as badly as they can be computed. Below `cutoff` a task calls the serial function.


@njit(cache=True)
def fib(n: int) -> Any:
    """Return the n-th Fibonacci number by two recursive calls."""
    if n < 2:
        return n
    return fib(n - 1) + fib(n - 2)


def tasks_of(n: int, cutoff: int) -> int:
    """Return how many tasks fib_by_tasks makes."""
    return 1 if n < max(cutoff, 2) else 1 + tasks_of(n - 1, cutoff) + tasks_of(n - 2, cutoff)


ARGUMENT, PARENT, MISSING, SUM = range(
    4
)  # in a task's record: n, whose child it is, children that have not ended, their sum


@njit(parallel=True, cache=True)
def fib_by_tasks(n: int, cutoff: int, records: Any, stacks: Any, ends: Any, words: Any, done_by: Any) -> Any:
    """Return the n-th Fibonacci number.

    records: int64[tasks_of(n, cutoff), 4]. stacks, ends: for at least n + 1 tasks. words: int64[2 * APART]. done_by: int64[lanes, APART];
    done_by[lane, 0] becomes the number of tasks that the lane did.
    """
    records[0, ARGUMENT], records[0, PARENT] = n, NONE
    words[0], words[APART] = 1, 0  # records in use; whether the root has ended
    put(stacks, ends, 0, 0)
    for lane in prange(stacks.shape[0]):
        done_by[lane, 0] = fib_lane(lane, cutoff, records, stacks, ends, words)
    return records[0, SUM]


@njit(cache=True)
def fib_lane(lane: int, cutoff: int, records: Any, stacks: Any, ends: Any, words: Any) -> int:
    """Do tasks until the root has ended; returns how many."""
    looks = count = 0
    while load(words, APART, "acquire") == 0:
        task = take(stacks, ends, lane)
        if task == NONE:
            looks = idle(looks)
            continue
        looks = 0
        count += 1
        argument = records[task, ARGUMENT]
        if argument < cutoff or argument < 2:
            _end(records, words, task, fib(argument))
        else:
            child = add(words, 0, 2)
            records[task, MISSING], records[task, SUM] = 2, 0
            for i in range(2):
                records[child + i, ARGUMENT], records[child + i, PARENT] = argument - 1 - i, task
                put(stacks, ends, lane, child + i)
    return count


@njit(cache=True)
def _end(records: Any, words: Any, task: int, value: int) -> None:
    """Hand the value of a task to its parent; the last child to do so ends the parent too."""
    while True:
        parent = records[task, PARENT]
        if parent == NONE:
            records[task, SUM] = value
            store(words, APART, 1, "release")
            return
        add(records, (parent, SUM), value)
        if add(records, (parent, MISSING), -1, "acq_rel") != 1:
            return
        task, value = parent, records[parent, SUM]


# A wavefront: a table of which each block needs the one above and the one to the left.


@njit(cache=True)
def common(a: Any, b: Any, table: Any, top: int, left: int, side: int) -> None:
    """Fill a block of table[i, j] = length of the longest common subsequence of a[:i] and b[:j] (Wagner and Fischer's recurrence).

    table: int32[len(a) + 1, len(b) + 1], row 0 and column 0 are 0. top, left: where the block's first element stands, from 0.
    """
    other = b[left : left + side]
    for i in range(top, min(top + side, a.shape[0])):
        above, row = (
            table[i, left:],
            table[i + 1, left:],
        )  # j from 0 on: Numba need not ask whether an index counts from the end
        for j in range(other.shape[0]):
            row[j + 1] = above[j] + 1 if a[i] == other[j] else max(above[j + 1], row[j])


@njit(parallel=True, cache=True)
def common_by_tasks(a: Any, b: Any, table: Any, side: int, missing: Any, stacks: Any, ends: Any, words: Any) -> None:
    """Fill the table block by block: a block is ready when those above and to the left are done (OpenMP's `depend`).

    missing: int64[rows, columns] of blocks. stacks, ends: for at least that many tasks. words: int64[APART].
    """
    rows, columns = missing.shape
    for i in range(rows):
        for j in range(columns):
            missing[i, j] = (i > 0) + (j > 0)
    words[0] = rows * columns  # blocks that are not done
    put(stacks, ends, 0, 0)
    for lane in prange(stacks.shape[0]):
        common_lane(lane, a, b, table, side, missing, stacks, ends, words)


@njit(cache=True)
def common_lane(
    lane: int, a: Any, b: Any, table: Any, side: int, missing: Any, stacks: Any, ends: Any, words: Any
) -> None:
    """Do blocks until all are done."""
    rows, columns = missing.shape
    looks = 0
    while load(words, 0, "acquire") > 0:
        task = take(stacks, ends, lane)
        if task == NONE:
            looks = idle(looks)
            continue
        looks = 0
        i, j = task // columns, task % columns
        common(a, b, table, i * side, j * side, side)
        for below, right in ((i + 1, j), (i, j + 1)):
            if below < rows and right < columns and add(missing, (below, right), -1, "acq_rel") == 1:
                put(stacks, ends, lane, below * columns + right)
        add(words, 0, -1, "release")
