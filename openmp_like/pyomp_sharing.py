"""The region itself and the data-sharing clauses, as PyOMP writes them. See pyomp_table.py for what a form is."""

from typing import Any

import numpy as np
from numba.openmp import njit, omp_get_num_threads, omp_get_thread_num  # type: ignore[import-not-found]
from numba.openmp import openmp_context as openmp

N = 1000  # iterations of a loop


def _parallel() -> tuple[Any, Any]:
    @njit
    def kernel(who: Any) -> None:
        with openmp("parallel num_threads(2)"):
            who[omp_get_thread_num()] += 1

    who = np.zeros(3, np.int64)
    kernel(who)
    return who, [1, 1, 0]


def _if() -> tuple[Any, Any]:
    @njit
    def kernel(team: Any, n: int) -> None:
        large = n >= 10
        with openmp("parallel if(large) num_threads(2)"):
            team[int(large)] = omp_get_num_threads()

    team = np.zeros(2, np.int64)
    kernel(team, 5)
    kernel(team, 50)
    return team, [1, 2]


def _num_threads() -> tuple[Any, Any]:
    @njit
    def kernel(team: Any, wanted: int) -> None:
        with openmp("parallel num_threads(wanted)"):
            team[0] = omp_get_num_threads()

    team = np.zeros(1, np.int64)
    kernel(team, 2)
    return team, [2]


def _proc_bind() -> tuple[Any, Any]:
    @njit
    def kernel(team: Any) -> None:
        with openmp("parallel num_threads(2) proc_bind(close)"):
            team[0] = omp_get_num_threads()

    team = np.zeros(1, np.int64)
    kernel(team)
    return team, [2]


def _default_none() -> tuple[Any, Any]:
    @njit
    def kernel(x: Any) -> None:
        with openmp("parallel for num_threads(2) default(none) shared(x) private(i)"):
            for i in range(len(x)):
                x[i] = i

    x = np.zeros(N, np.int64)
    kernel(x)
    return x, np.arange(N)


def _shared() -> tuple[Any, Any]:
    @njit
    def kernel(words: Any, found: Any) -> None:
        n = len(words)
        with openmp("parallel for num_threads(2) shared(words)"):
            for i in range(n):
                words[i] = i
        with openmp("parallel for num_threads(2) shared(words)"):
            for i in range(n):
                found[i] = words[n - 1 - i]

    found = np.zeros(N, np.int64)
    kernel(np.zeros(N, np.int64), found)
    return found, np.arange(N)[::-1]


def _private() -> tuple[Any, Any]:
    @njit
    def kernel(out: Any) -> None:
        x = 7
        with openmp("parallel num_threads(2) private(x)"):
            x = omp_get_thread_num()
            with openmp("barrier"):
                pass
            out[omp_get_thread_num()] = x
        out[2] = x

    out = np.zeros(3, np.int64)
    kernel(out)
    return out, [0, 1, 7]


def _firstprivate() -> tuple[Any, Any]:
    @njit
    def kernel(out: Any) -> None:
        x = 7
        with openmp("parallel num_threads(2) firstprivate(x)"):
            x += omp_get_thread_num()
            with openmp("barrier"):
                pass
            out[omp_get_thread_num()] = x
        out[2] = x

    out = np.zeros(3, np.int64)
    kernel(out)
    return out, [7, 8, 7]


def _lastprivate() -> tuple[Any, Any]:
    @njit
    def kernel(n: int) -> int:
        x = 0
        with openmp("parallel for num_threads(2) lastprivate(x)"):
            for i in range(n):
                x = i
        return x

    return [kernel(N)], [N - 1]


def _threadprivate() -> tuple[Any, Any]:
    @njit
    def kernel(out: Any) -> None:
        x = 0
        openmp("threadprivate(x)")
        with openmp("parallel num_threads(2)"):
            x = 10 + omp_get_thread_num()
        with openmp("parallel num_threads(2)"):
            out[omp_get_thread_num()] = x

    out = np.zeros(2, np.int64)
    kernel(out)
    return out, [10, 11]


def _copyin() -> tuple[Any, Any]:
    @njit
    def kernel(out: Any) -> None:
        x = 7
        with openmp("parallel num_threads(2) copyin(x)"):
            out[omp_get_thread_num()] = x

    out = np.zeros(2, np.int64)
    kernel(out)
    return out, [7, 7]


def _copyprivate() -> tuple[Any, Any]:
    @njit
    def kernel(out: Any) -> None:
        x = 0
        with openmp("parallel num_threads(2) private(x)"):
            with openmp("single copyprivate(x)"):
                x = 9
            out[omp_get_thread_num()] = x

    out = np.zeros(2, np.int64)
    kernel(out)
    return out, [9, 9]


def _reduction() -> tuple[Any, Any]:
    @njit
    def kernel(x: Any) -> Any:
        total = 0
        product = 1
        with openmp("parallel for num_threads(2) reduction(+: total) reduction(*: product)"):
            for i in range(len(x)):
                total += x[i]
                product *= 1 + (x[i] < 3)
        return total, product

    return kernel(np.arange(N)), (N * (N - 1) // 2, 8)


def _reduction_array() -> tuple[Any, Any]:
    @njit
    def kernel(total: Any, n: int) -> None:
        with openmp("parallel for num_threads(2) reduction(+: total)"):
            for i in range(n):
                total[i % 8] += 1

    total = np.zeros(8, np.int64)
    kernel(total, N)
    return total, np.full(8, N // 8)


SHARING = {
    "parallel": _parallel,
    "if": _if,
    "num_threads": _num_threads,
    "proc_bind": _proc_bind,
    "default(none)": _default_none,
    "shared": _shared,
    "private": _private,
    "firstprivate": _firstprivate,
    "lastprivate": _lastprivate,
    "threadprivate": _threadprivate,
    "copyin": _copyin,
    "copyprivate": _copyprivate,
    "reduction": _reduction,
    "reduction, array": _reduction_array,
}
