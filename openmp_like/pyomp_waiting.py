"""Synchronisation and tasks, as PyOMP writes them. See pyomp_table.py for what a form is."""

# ruff: noqa: SIM117 (PyOMP reads one pragma from one `with`)

from typing import Any

import numpy as np
from numba.openmp import njit, omp_get_thread_num  # type: ignore[import-not-found]
from numba.openmp import openmp_context as openmp

N = 1000  # iterations of a loop


def _barrier() -> tuple[Any, Any]:
    @njit
    def kernel(stamps: Any, seen: Any) -> None:
        with openmp("parallel num_threads(2)"):
            me = omp_get_thread_num()
            for r in range(1, len(seen)):
                stamps[me] = r
                with openmp("barrier"):
                    pass
                seen[r, me] = stamps[1 - me]
                with openmp("barrier"):
                    pass

    seen = np.zeros((N, 2), np.int64)
    kernel(np.zeros(2, np.int64), seen)
    return seen, np.repeat(np.arange(N), 2).reshape(N, 2)


def _single() -> tuple[Any, Any]:
    @njit
    def kernel(times: Any) -> None:
        with openmp("parallel num_threads(2)"):
            for i in range(len(times)):
                with openmp("single"):
                    times[i] += 1

    times = np.zeros(N, np.int64)
    kernel(times)
    return times, np.ones(N, np.int64)


def _master() -> tuple[Any, Any]:
    @njit
    def kernel(times: Any) -> None:
        with openmp("parallel num_threads(2)"):
            with openmp("master"):
                times[omp_get_thread_num()] += 1

    times = np.zeros(2, np.int64)
    kernel(times)
    return times, [1, 0]


def _critical() -> tuple[Any, Any]:
    @njit
    def kernel(total: Any, n: int) -> None:
        with openmp("parallel num_threads(2)"):
            for _ in range(n):
                with openmp("critical"):
                    total[0] += 1

    total = np.zeros(1, np.int64)
    kernel(total, N)
    return total, [2 * N]


def _atomic() -> tuple[Any, Any]:
    @njit
    def kernel(total: Any, n: int) -> None:
        with openmp("parallel num_threads(2)"):
            for _ in range(n):
                with openmp("atomic"):
                    total[0] += 1

    total = np.zeros(1, np.int64)
    kernel(total, N)
    return total, [2 * N]


def _task() -> tuple[Any, Any]:
    @njit
    def fib(n: int) -> Any:
        x = y = 0
        if n < 2:
            return n
        with openmp("task shared(x)"):
            x = fib(n - 1)
        with openmp("task shared(y)"):
            y = fib(n - 2)
        with openmp("taskwait"):
            pass
        return x + y

    @njit
    def kernel(out: Any, n: int) -> None:
        with openmp("parallel num_threads(2)"):
            with openmp("single"):
                out[0] = fib(n)

    out = np.zeros(1, np.int64)
    kernel(out, 15)
    return out, [610]


def _depend() -> tuple[Any, Any]:
    @njit
    def kernel(out: Any) -> None:
        x = 0
        with openmp("parallel num_threads(2)"):
            with openmp("single"):
                with openmp("task shared(x) depend(out: x)"):
                    x = 5
                with openmp("task shared(x) depend(in: x)"):
                    out[0] = x

    out = np.zeros(1, np.int64)
    kernel(out)
    return out, [5]


WAITING = {
    "barrier": _barrier,
    "single": _single,
    "master, masked": _master,
    "critical": _critical,
    "atomic": _atomic,
    "task, taskwait": _task,
    "task depend": _depend,
}
