"""What an entry of the table of clauses is: OpenMP's line, what stands for it in Numba, and a kernel that proves that it means the same.

    @clause("barrier", "#pragma omp barrier", "barrier(state, threads)", _separated, "waiting")
    def barrier_(threads: int) -> Form: ...             # the kernel's arrays, how to run it, what must come out

The families stand in clauses_teams, clauses_sharing, clauses_loops, clauses_waiting and clauses_tasks; clauses_table has all of them.

Source of the meanings: OpenMP Application Programming Interface 5.2, chapters 5 (data environment), 10 (parallelism), 11 (work
distribution), 12 (tasking) and 15 (synchronization).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from parlab.openmp_like.atomics import load
from parlab.openmp_like.waiting import SPINS, give_way, pause

Array = np.ndarray[Any, np.dtype[Any]]

N = 1000  # iterations of the loops; not divided by 3, 6, 7 or 9 threads
LOOKS = 1_000_000  # after which a proof gives up waiting for another thread: some 0.3 s, for nearly all are yields


@dataclass(frozen=True)
class Form:
    """A clause's kernel with its arrays, for a number of threads.

    run: the kernel on the arrays. check: says what is wrong with what the last run wrote, or None; it may run the kernel once more, under
    conditions in which a wrong form would show. poison: arrays that every run overwrites. units: how often the clause acts in a run.
    """

    run: Callable[[], object]
    check: Callable[[], str | None]
    poison: Sequence[Array] = ()
    units: int = 1


@dataclass(frozen=True)
class Clause:
    """One line of the table. numba: pieces of the kernel's source, parted by "; ". wants: of the layer that runs it, see layers.refuse."""

    name: str
    openmp: str
    numba: str
    kernel: Any
    form: Callable[[int], Form]
    wants: tuple[str, ...] = ()


def clause(name: str, openmp: str, numba: str, kernel: Any, *wants: str) -> Callable[[Callable[[int], Form]], Clause]:
    """Make a clause of the function that makes its form for a number of threads."""
    return lambda form: Clause(name, openmp, numba, kernel, form, wants)


def expect(found: Array, expected: Any) -> str | None:
    """Compare exactly, element by element."""
    if np.ndim(expected) and np.shape(expected) != found.shape:
        return f"the shape is {found.shape}, not {np.shape(expected)}"
    wanted = np.broadcast_to(expected, found.shape)
    wrong = np.argwhere(found != wanted)
    if not wrong.size:
        return None
    at = tuple(map(int, wrong[0]))
    return f"{len(wrong)} of {found.size} elements are wrong; at {at} stands {found[at]!s}, not {wanted[at]!s}"


@njit(cache=True)
def seen(words: Any, index: int, value: int) -> bool:
    """Wait until words[index] is value, but not for ever: whether it came to be so."""
    for look in range(LOOKS):
        if load(words, index, "acquire") == value:
            return True
        if look < SPINS:
            pause()
        else:
            give_way()
    return False
