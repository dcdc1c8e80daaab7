"""Work sharing and its schedules, as PyOMP writes them. See pyomp_table.py for what a form is."""

# ruff: noqa: SIM117 (PyOMP reads one pragma from one `with`)

from typing import Any

import numpy as np
from numba.openmp import njit, omp_get_thread_num  # type: ignore[import-not-found]
from numba.openmp import openmp_context as openmp

N = 1000  # iterations of a loop


def _for() -> tuple[Any, Any]:
    @njit
    def kernel(times: Any) -> None:
        with openmp("parallel for num_threads(2)"):
            for i in range(len(times)):
                times[i] += 1

    times = np.zeros(N, np.int64)
    kernel(times)
    return times, np.ones(N, np.int64)


def _ordered() -> tuple[Any, Any]:
    @njit
    def kernel(written: Any, length: Any) -> None:
        with openmp("parallel for ordered schedule(static, 1) num_threads(2)"):
            for i in range(len(written)):
                with openmp("ordered"):
                    written[length[0]] = i
                    length[0] += 1

    written = np.full(N, -1)
    kernel(written, np.zeros(1, np.int64))
    return written, np.arange(N)


def _collapse() -> tuple[Any, Any]:
    @njit
    def kernel(times: Any, n: int, m: int) -> None:
        with openmp("parallel for collapse(2) num_threads(2)"):
            for i in range(n):
                for j in range(m):
                    times[i, j] += 1

    times = np.zeros((7, 13), np.int64)
    kernel(times, 7, 13)
    return times, np.ones((7, 13), np.int64)


def _nowait() -> tuple[Any, Any]:
    @njit
    def kernel(x: Any, y: Any) -> None:
        with openmp("parallel num_threads(2)"):
            with openmp("for nowait"):
                for i in range(len(x)):
                    x[i] = i
            with openmp("for"):
                for i in range(len(y)):
                    y[i] = i

    x, y = np.zeros(N, np.int64), np.zeros(N, np.int64)
    kernel(x, y)
    return [x, y], [np.arange(N)] * 2


def _sections() -> tuple[Any, Any]:
    @njit
    def kernel(times: Any) -> None:
        with openmp("parallel num_threads(2)"):
            with openmp("sections"):
                with openmp("section"):
                    times[0] += 1
                with openmp("section"):
                    times[1] += 1

    times = np.zeros(2, np.int64)
    kernel(times)
    return times, [1, 1]


def _simd() -> tuple[Any, Any]:
    @njit
    def kernel(x: Any) -> Any:
        total = 0.0
        with openmp("simd reduction(+: total)"):
            for i in range(len(x)):
                total += x[i]
        return total

    return [kernel(np.ones(N))], [N]


def _static() -> tuple[Any, Any]:
    @njit
    def kernel(who: Any) -> None:
        with openmp("parallel for schedule(static) num_threads(2)"):
            for i in range(len(who)):
                who[i] = omp_get_thread_num()

    who = np.full(N, -1)
    kernel(who)
    return who, np.arange(N) // (N // 2)


def _static_chunks() -> tuple[Any, Any]:
    @njit
    def kernel(who: Any) -> None:
        with openmp("parallel for schedule(static, 8) num_threads(2)"):
            for i in range(len(who)):
                who[i] = omp_get_thread_num()

    who = np.full(N, -1)
    kernel(who)
    return who, np.arange(N) // 8 % 2


def _dynamic() -> tuple[Any, Any]:
    @njit
    def kernel(times: Any) -> None:
        with openmp("parallel for schedule(dynamic, 8) num_threads(2)"):
            for i in range(len(times)):
                times[i] += 1

    times = np.zeros(N, np.int64)
    kernel(times)
    return times, np.ones(N, np.int64)


def _guided() -> tuple[Any, Any]:
    @njit
    def kernel(times: Any) -> None:
        with openmp("parallel for schedule(guided, 8) num_threads(2)"):
            for i in range(len(times)):
                times[i] += 1

    times = np.zeros(N, np.int64)
    kernel(times)
    return times, np.ones(N, np.int64)


def _runtime() -> tuple[Any, Any]:
    @njit
    def kernel(times: Any) -> None:
        with openmp("parallel for schedule(runtime) num_threads(2)"):
            for i in range(len(times)):
                times[i] += 1

    times = np.zeros(N, np.int64)
    kernel(times)
    return times, np.ones(N, np.int64)


LOOPS = {
    "for": _for,
    "ordered": _ordered,
    "collapse": _collapse,
    "nowait": _nowait,
    "sections": _sections,
    "simd": _simd,
    "schedule(static)": _static,
    "schedule(static, k)": _static_chunks,
    "schedule(dynamic, k)": _dynamic,
    "schedule(guided, k)": _guided,
    "schedule(runtime)": _runtime,
}
