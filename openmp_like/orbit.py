"""One task for a processor and nothing else, in plain Python: the orbit of each element under a cubic map.

    x  <-  R x (1 - x x)        `steps` times

It is chaotic: a result that is rounded otherwise in one step, in the last bit, is another number fifty steps later. But all its
operations are additions and multiplications in one stated order, which IEEE 754 rounds alike everywhere, so all ways to run it (an
interpreter, a compiler, threads, processes) must agree bit for bit. It is odd: -x has the orbit of x with the signs changed. Without steps
the results are the values: what is left of any way is the handing over.

This file imports nothing, so that an interpreter without numpy can run it, and parlab.openmp_like.workload compiles this very function.
"""

from typing import Any

R = 2.5  # between 2.3 and 3 sqrt(3) / 2 = 2.598 the orbit is chaotic and stays within -1 and 1
FLOPS_PER_STEP = 4  # three multiplications and a subtraction


def iterate(values: Any, results: Any, steps: int) -> None:
    """Let results[i] be values[i] after `steps` steps. values, results: two sequences of floats of one length, |values[i]| <= 1."""
    for i in range(len(values)):
        x = values[i]
        for _ in range(steps):
            x = R * x * (1.0 - x * x)
        results[i] = x
