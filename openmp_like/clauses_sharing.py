"""Who sees which variable: the data-sharing clauses. Numba decides by where a variable is assigned.

An array is shared. A variable that the body of a `prange` assigns is private; one that it only reads is a copy of what it was before the
region. A variable from before the loop that the body adds to is a reduction. See clauses.py for what an entry is.
"""

from typing import Any

import numpy as np
from numba import get_thread_id, njit, prange

from parlab.openmp_like import updates
from parlab.openmp_like.atomics import compare_exchange, store
from parlab.openmp_like.clauses import Form, N, clause, expect, seen
from parlab.openmp_like.waiting import APART, BARRIER_WORDS, barrier


@njit(parallel=True, cache=True)
def _scaled(x: Any, y: Any, factor: float) -> None:
    for i in prange(x.shape[0]):
        y[i] = factor * x[i]


def globals_read(kernel: Any) -> set[str]:
    """Return the names of data that a kernel takes from outside of its arguments: frozen when it is compiled."""
    code = kernel.py_func.__code__
    outside = {name: kernel.py_func.__globals__.get(name, len) for name in code.co_names}
    return {name for name, value in outside.items() if not callable(value)} | set(code.co_freevars)


@clause(
    "default(none)",
    "#pragma omp parallel for default(none) shared(x, y, factor)",
    "def _scaled(x: Any, y: Any, factor: float)",
    _scaled,
)
def default_none(threads: int) -> Form:
    """The kernel names all its data as arguments. Numba does not insist: it would freeze a global, so here it is looked up."""
    x, y = np.arange(N, dtype=np.float64), np.empty(N)

    def check() -> str | None:
        return f"globals: {taken}" if (taken := globals_read(_scaled)) else expect(y, 3 * x)

    return Form(lambda: _scaled(x, y, 3.0), check, [y])


@njit(parallel=True, cache=True)
def _exchanged(words: Any, found: Any) -> None:
    n = words.shape[0]
    for i in prange(n):
        words[i] = i
    for i in prange(n):
        found[i] = words[n - 1 - i]


@clause("shared", "#pragma omp parallel for shared(words)", "words[i] = i; found[i] = words[n - 1 - i]", _exchanged)
def shared(threads: int) -> Form:
    """What one thread wrote into an array, others read in the next region."""
    words, found = np.empty(N, np.int64), np.empty(N, np.int64)
    return Form(lambda: _exchanged(words, found), lambda: expect(found, np.arange(N)[::-1]), [words, found])


@njit(parallel=True, cache=True)
def _own(out: Any, state: Any, threads: int) -> None:
    for lane in prange(threads):
        x = lane
        xs = np.empty(2, np.int64)
        xs[:] = lane
        barrier(state, threads)  # by now all lanes have written theirs
        out[lane] = x + xs[0] + xs[1]


@clause("private", "#pragma omp parallel private(x)", "x = lane; xs = np.empty(2, np.int64)", _own, "waiting")
def private(threads: int) -> Form:
    """A variable and an array made in the body keep a lane's value after all other lanes wrote theirs."""
    out, state = np.empty(threads, np.int64), np.zeros(BARRIER_WORDS, np.int64)
    return Form(lambda: _own(out, state, threads), lambda: expect(out, 3 * np.arange(threads)), [out])


@njit(parallel=True, cache=True)
def _copied(start: Any, out: Any, state: Any, threads: int) -> None:
    for lane in prange(threads):
        x = start.copy()
        x[0] += lane
        barrier(state, threads)  # by now all lanes have changed theirs
        out[lane] = x[0]


@clause("firstprivate", "#pragma omp parallel firstprivate(x)", "x = start.copy()", _copied, "waiting")
def firstprivate(threads: int) -> Form:
    """Each lane starts from the value before the region, changes its own copy, and the original stays."""
    start, out, state = np.array([7]), np.empty(threads, np.int64), np.zeros(BARRIER_WORDS, np.int64)
    return Form(
        lambda: _copied(start, out, state, threads),
        lambda: expect(start, 7) or expect(out, 7 + np.arange(threads)),
        [out],
    )


@njit(parallel=True, cache=True)
def _latest(values: Any, last: Any, ended: Any, proving: bool) -> None:
    """proving: the first iteration waits for the last one to end, so that the last one ends first."""
    n = values.shape[0]
    ended[0] = 0
    for i in prange(n):
        if i == 0 and proving:
            seen(ended, 0, 1)
        x = 2 * values[i]
        if i == n - 1:
            last[0] = x
            store(ended, 0, 1, "release")


@clause("lastprivate", "#pragma omp parallel for lastprivate(x)", "if i == n - 1; last[0] = x", _latest)
def lastprivate(threads: int) -> Form:
    """After the loop x is what the last iteration made it, though that one was not the last to end."""
    values, last, ended = np.arange(N), np.empty(1, np.int64), np.zeros(1, np.int64)

    def check() -> str | None:
        if wrong := expect(last, 2 * N - 2):
            return wrong
        _latest(values, last, ended, threads > 1)
        return expect(last, 2 * N - 2)

    return Form(lambda: _latest(values, last, ended, False), check, [last])


@njit(parallel=True, cache=True)
def _kept(rows: Any, threads: int) -> None:
    for _lane in prange(threads):
        rows[get_thread_id(), 0] = 10 + get_thread_id()
    for _lane in prange(threads):
        rows[get_thread_id(), 1] = rows[get_thread_id(), 0]


@clause("threadprivate", "#pragma omp threadprivate(x)", "rows[get_thread_id(), 0]", _kept, "lanes")
def threadprivate(threads: int) -> Form:
    """What a thread put into its row it finds again in the next region."""
    rows = np.empty((threads, APART), np.int64)
    return Form(lambda: _kept(rows, threads), lambda: expect(rows[:, 1], 10 + np.arange(threads)), [rows])


@njit(parallel=True, cache=True)
def _brought(rows: Any, threads: int) -> None:
    rows[0, 0] = 7
    master = rows[0, 0]
    for lane in prange(threads):
        rows[lane, 0] = master
        rows[lane, 0] += lane


@clause("copyin", "#pragma omp parallel copyin(x)", "master = rows[0, 0]; rows[lane, 0] = master", _brought)
def copyin(threads: int) -> Form:
    """Each thread's row starts with what the master's holds."""
    rows = np.empty((threads, APART), np.int64)
    return Form(lambda: _brought(rows, threads), lambda: expect(rows[:, 0], 7 + np.arange(threads)), [rows])


@njit(parallel=True, cache=True)
def _handed_out(slot: Any, out: Any, state: Any, threads: int) -> None:
    slot[0] = 0
    for lane in prange(threads):
        if compare_exchange(slot, 0, 0, 1) == 0:
            slot[1] = 100 + lane
        barrier(state, threads)
        x = slot[1]
        out[lane] = x


@clause(
    "copyprivate",
    "#pragma omp single copyprivate(x)",
    "slot[1] = 100 + lane; barrier(state, threads); x = slot[1]",
    _handed_out,
    "waiting",
)
def copyprivate(threads: int) -> Form:
    """What the one thread of a `single` found, all have."""
    slot, out, state = np.zeros(2, np.int64), np.empty(threads, np.int64), np.zeros(BARRIER_WORDS, np.int64)

    def check() -> str | None:
        return expect(out, out[0]) if 100 <= out[0] < 100 + threads else f"no lane wrote {out[0]}"

    return Form(lambda: _handed_out(slot, out, state, threads), check, [out])


@njit(parallel=True, cache=True)
def _reduced(x: Any, out: Any) -> None:
    total, product, most = 0, 1, x[0]
    for i in prange(x.shape[0]):
        total += x[i]
        product *= 1 + (x[i] == 5)
        most = max(most, x[i])
    out[0], out[1], out[2] = total, product, most


@clause(
    "reduction",
    "#pragma omp parallel for reduction(+: total)",
    "total += x[i]; most = max(most, x[i])",
    _reduced,
)
def reduction(threads: int) -> Form:
    """Sum, product and maximum, exact in integers, whatever the number of threads."""
    x, out = np.random.default_rng(0).integers(0, 1000, N), np.empty(3, np.int64)
    expected = [x.sum(), 2 ** np.count_nonzero(x == 5), x.max()]
    return Form(lambda: _reduced(x, out), lambda: expect(out, expected), [out])


@clause("reduction, array", "#pragma omp parallel for reduction(+: total[:m])", "total += mine", updates.reduction)
def reduction_array(threads: int) -> Form:
    """The same for an array, here a histogram: each lane adds one of its own to `total`, and Numba adds them up."""
    samples, counts = np.arange(N, dtype=np.uint16) % 8, np.empty(8, np.int64)
    return Form(lambda: updates.reduction(samples, counts, threads), lambda: expect(counts, N // 8), [counts])


SHARING = (
    default_none,
    shared,
    private,
    firstprivate,
    lastprivate,
    threadprivate,
    copyin,
    copyprivate,
    reduction,
    reduction_array,
)
