"""Checks of a case's output: each returns what is wrong in one line, or None."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from parlab.measure import Array

if TYPE_CHECKING:
    from mpi4py import MPI


def equals(output: Array | None, expected: Array | None, roundings: int = 0) -> Callable[[], str | None]:
    """Compare two arrays of any shape, bit for bit or up to a number of roundings of the largest element; None: no output here.

    A NaN in the output (a poisoned element that nobody wrote) is always a difference.
    """

    def check() -> str | None:
        if output is None or expected is None:
            return None
        tolerance = roundings * np.finfo(output.dtype).eps * np.max(np.abs(expected), initial=0) if roundings else 0
        wrong = np.flatnonzero(~(np.abs(output - expected) <= tolerance))
        if wrong.size == 0:
            return None
        at = wrong[0]
        return f"{wrong.size} of {output.size} elements differ; element {at} is {output.flat[at]!r}, not {expected.flat[at]!r}"

    return check


def arrival(comm: "MPI.Intracomm", barrier: Callable[[], object]) -> Callable[[], str | None]:
    """Check that no rank leaves a barrier before the last has entered it. Needs one clock for all ranks, so ranks of one host."""

    def check() -> str | None:
        time.sleep(1e-3 * comm.rank)  # the ranks arrive apart
        entered = time.monotonic()
        barrier()
        left = time.monotonic()
        last = max(comm.allgather(entered))
        return None if left >= last else f"left {last - left:.2g} s before the last rank entered"

    return check
