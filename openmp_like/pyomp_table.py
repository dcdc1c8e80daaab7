"""Run a clause as PyOMP writes it:     PYTHONPATH=labs .venv-pyomp/bin/python -m parlab.openmp_like.pyomp_table private

PyOMP (https://github.com/Python-for-HPC/PyOMP) compiles `with openmp("..."):` as C compilers do a pragma, by an older Numba, which must
have an environment of its own (`make pyomp`): beside it `prange` no longer compiles. So the pyomp files import nothing that needs our
Numba, and each form has a process to itself: some end it.

A form is a kernel on two threads; it returns what that left, and what it should have left. Exit status: 0 where these are equal, WRONG
where they are not, though nothing was said; REFUSED after an exception, told in one line; some forms abort instead.
"""

import os
import sys

import numpy as np

from parlab.openmp_like.pyomp_loops import LOOPS
from parlab.openmp_like.pyomp_sharing import SHARING
from parlab.openmp_like.pyomp_waiting import WAITING

FORMS = SHARING | LOOPS | WAITING  # by the names that clauses_table has
REFUSED, WRONG = 1, 3


def main(name: str) -> int:
    """Run a form, say on stderr what is wrong with it, and return the exit status."""
    try:
        left, wanted = map(np.ravel, FORMS[name]())
    except Exception as error:
        lines = str(error).strip().splitlines()
        sys.stderr.write(f"{type(error).__name__}: {lines[0] if lines else ''}\n")
        return REFUSED
    wrong = np.flatnonzero(left != wanted)
    if wrong.size:
        sys.stderr.write(f"element {wrong[0]} is {left[wrong[0]]}, not {wanted[wrong[0]]}\n")
        return WRONG
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1])
    sys.stderr.flush()
    os._exit(status)  # some forms leave an interpreter behind that crashes when it cleans up
