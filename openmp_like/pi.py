"""Pi by the midpoint rule: a loop of nothing but arithmetic, so what limits it is the processor, and threads share it out perfectly.

    pi = integral from 0 to 1 of 4 / (1 + x^2) dx   =   width * sum of 4 / (1 + ((i + 1/2) width)^2) for i < steps, width = 1 / steps

Each kernel comes twice. `strict` keeps the order of the additions as it is written: each waits for the one before, so one element is
computed at a time. `fast` (Numba's fastmath, OpenMP's `simd reduction`) lets the compiler keep 8 or 16 sums side by side in a vector.
Steps are summed in blocks, and the blocks' sums after that, so that float32 loses few digits: the error is below (BLOCK + blocks) / 2
roundings (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 4.2).

out: 1 element of float32 or float64, which says the precision of all arithmetic. steps: a multiple of BLOCK.
"""

from typing import Any

from numba import njit, prange

BLOCK = 4096  # steps
FLOPS_PER_STEP = 6  # i + 1/2, times width, x * x, 1 +, 4 /, sum +


def strip(first: int, width: Any) -> Any:
    """Return the sum of 4 / (1 + x^2) over the BLOCK steps from `first`; width: a float32 or float64, as are all values."""
    kind = type(width)
    total = kind(0)
    for i in range(BLOCK):
        x = (kind(first + i) + kind(0.5)) * width
        total += kind(4) / (kind(1) + x * x)
    return total


# Not cached: Numba's cache would not tell the two apart. What calls them is.
strict_strip = njit(error_model="numpy")(strip)
fast_strip = njit(fastmath=True, error_model="numpy")(strip)


@njit(error_model="numpy", cache=True)
def serial(out: Any, steps: int) -> None:
    """Write pi to out[0]: one thread and no parallel region, a vector at a time."""
    kind = out.dtype.type
    width, total = kind(1) / kind(steps), kind(0)
    for block in range(steps // BLOCK):
        total += fast_strip(block * BLOCK, width)
    out[0] = total * width


@njit(parallel=True, error_model="numpy", cache=True)
def parallel_strict(out: Any, steps: int) -> None:
    """Write pi to out[0]: all threads, one element at a time."""
    kind = out.dtype.type
    width, total = kind(1) / kind(steps), kind(0)
    for block in prange(steps // BLOCK):
        total += strict_strip(block * BLOCK, width)
    out[0] = total * width


@njit(parallel=True, error_model="numpy", cache=True)
def parallel(out: Any, steps: int, alone: int) -> None:
    """Write pi to out[0]: all threads, a vector at a time, after one thread has done the first `alone` steps (a multiple of BLOCK).

    alone > 0 gives the program a serial part of chosen size: Amdahl's law (AFIPS, 1967).
    """
    kind = out.dtype.type
    width, total = kind(1) / kind(steps), kind(0)
    for block in range(alone // BLOCK):
        total += fast_strip(block * BLOCK, width)
    for block in prange(alone // BLOCK, steps // BLOCK):
        total += fast_strip(block * BLOCK, width)
    out[0] = total * width
