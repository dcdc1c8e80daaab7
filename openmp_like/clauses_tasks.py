"""Tasks: a recursion and a wavefront over parlab.openmp_like.tasks, and the same in C. See clauses.py for what an entry is.

Both are also programs that a lab may make larger: `Recursion` and `Wavefront` are run by tasks, by one serial loop or call, or by gcc.
"""

from ctypes import CDLL, c_long, c_void_p

import numpy as np

from parlab.openmp_like.clauses import Form, clause, expect
from parlab.openmp_like.tasks import (
    common,
    common_by_tasks,
    common_lane,
    empty_stacks,
    fib,
    fib_by_tasks,
    fib_lane,
    tasks_of,
)
from parlab.openmp_like.waiting import APART


class Recursion:
    """The n-th Fibonacci number by tasks, and serially below `cutoff`."""

    def __init__(self, threads: int, n: int, cutoff: int) -> None:
        self.threads, self.n, self.cutoff, self.tasks = threads, n, cutoff, tasks_of(n, cutoff)
        self.result = np.empty(1, np.int64)
        self.records = np.zeros((self.tasks, 4), np.int64)
        self.stacks, self.ends = empty_stacks(threads, n + 2)
        self.words = np.zeros(2 * APART, np.int64)
        self.done_by = np.zeros((threads, APART), np.int64)

    def run(self) -> None:
        """Compute it by tasks."""
        self.result[0] = fib_by_tasks(
            self.n, self.cutoff, self.records, self.stacks, self.ends, self.words, self.done_by
        )

    def serial(self) -> None:
        """Compute it by calls alone."""
        self.result[0] = fib(self.n)

    def in_c(self, library: CDLL, cutoff: int) -> None:
        """Compute it by gcc's tasks; with a cutoff above n, by calls alone."""
        library.fib_by_tasks.restype = c_long
        self.result[0] = library.fib_by_tasks(c_long(self.n), c_long(cutoff), c_long(self.threads))

    def check(self) -> str | None:
        """Compare with the sum that makes them."""
        one, two = 0, 1
        for _ in range(self.n):
            one, two = two, one + two
        return expect(self.result, one)

    def all_done(self) -> str | None:
        """The same, and that each task was done once."""
        return self.check() or expect(np.array([self.done_by[:, 0].sum()]), self.tasks)


class Wavefront:
    """The table of longest common subsequences of two words of n letters, in blocks of `side` by `side`."""

    def __init__(self, threads: int, n: int, side: int) -> None:
        random = np.random.default_rng(0)
        self.threads, self.side, blocks = threads, side, -(-n // side)
        self.a, self.b = random.integers(0, 4, (2, n), np.int32)
        self.table, self.expected = np.zeros((2, n + 1, n + 1), np.int32)
        common(self.a, self.b, self.expected, 0, 0, n)
        self.missing = np.zeros((blocks, blocks), np.int64)
        self.stacks, self.ends = empty_stacks(threads, blocks * blocks)
        self.words = np.zeros(APART, np.int64)
        self.ready = np.zeros((blocks + 1) ** 2, np.int8)

    def run(self) -> None:
        """Fill the table by tasks that wait for their neighbours."""
        common_by_tasks(self.a, self.b, self._cleared(), self.side, self.missing, self.stacks, self.ends, self.words)

    def serial(self) -> None:
        """Fill it row by row."""
        common(self.a, self.b, self._cleared(), 0, 0, len(self.a))

    def in_c(self, library: CDLL) -> None:
        """Fill it by gcc's tasks with `depend`."""
        n, table = len(self.a), self._cleared()
        library.common_by_tasks(
            *(c_void_p(x.ctypes.data) for x in (self.a, self.b, table)),
            *(c_long(x) for x in (n, n, self.side)),
            c_void_p(self.ready.ctypes.data),
            c_long(self.threads),
        )

    def check(self) -> str | None:
        """Compare with the table that one thread filled row by row."""
        return expect(self.table, self.expected)

    def _cleared(self) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
        """Return the table with the borders that the recurrence starts from."""
        self.table[0], self.table[:, 0] = 0, 0
        return self.table


@clause(
    "task, taskwait",
    "#pragma omp task",
    "put(stacks, ends, lane, child + i); take(stacks, ends, lane)",
    fib_lane,
)
def task(threads: int) -> Form:
    """Tasks that make tasks and need their results; every task is done once."""
    one = Recursion(threads, 15, 2)
    return Form(one.run, one.all_done, [one.result, one.done_by], units=one.tasks)


@clause(
    "task depend",
    "#pragma omp task depend(in: up, left) depend(out: me)",
    'add(missing, (below, right), -1, "acq_rel") == 1; put(stacks, ends, lane',
    common_lane,
)
def depend(threads: int) -> Form:
    """A block of a table is done when those above and to the left are: each element is what its neighbours make it."""
    one = Wavefront(threads, 100, 9)
    return Form(one.run, one.check, [one.table], units=one.missing.size)


TASKS = (task, depend)
