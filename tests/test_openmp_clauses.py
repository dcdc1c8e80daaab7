"""The table of clauses: every form means what it says, on one to four threads and on every threading layer that can run it."""

import inspect
import os
import re
import subprocess
import sys

import numba
import numpy as np
import pytest

from parlab.openmp_like import clauses
from parlab.openmp_like.clauses import Clause, seen
from parlab.openmp_like.clauses_table import CLAUSES

BY_NAME = {clause.name: clause for clause in CLAUSES}


def wrong(clause: Clause, threads: int) -> str | None:
    """Run a clause's form on poisoned outputs, twice, and say what its check says."""
    form = clause.form(threads)
    for _ in range(2):
        for array in form.poison:
            array.fill(np.nan if array.dtype.kind == "f" else 0x5A)
        form.run()
        if told := form.check():
            return told
    return None


@pytest.mark.parametrize("name", BY_NAME)
def test_each_form_means_what_the_clause_does(name: str, threads: int) -> None:
    assert wrong(BY_NAME[name], threads) is None


def test_the_table_has_each_clause_once() -> None:
    assert len(BY_NAME) == len(CLAUSES)
    known = "parallel if num_threads default(none) shared private firstprivate lastprivate copyin threadprivate copyprivate reduction "
    known += "schedule(runtime) ordered collapse nowait barrier single critical atomic sections simd for"
    assert set(known.split()) <= set(BY_NAME)
    assert all(clause.form.__doc__ and clause.openmp.startswith("#pragma omp ") for clause in CLAUSES)


@pytest.mark.parametrize("clause", [c for c in CLAUSES if c.kernel], ids=lambda c: c.name)
def test_what_the_table_shows_stands_in_the_kernel(clause: Clause) -> None:
    source = re.sub(r"\s+", " ", inspect.getsource(getattr(clause.kernel, "py_func", clause.kernel)))
    assert [piece for piece in clause.numba.split("; ") if piece not in source] == []


def test_threads_that_may_move_are_not_bound() -> None:
    cores = len(os.sched_getaffinity(0))
    if min(cores, numba.config.NUMBA_NUM_THREADS) < 2:
        pytest.skip("one core")
    numba.set_num_threads(2)
    assert "may move" in (wrong(BY_NAME["proc_bind"], 2) or "")


def test_a_proof_gives_up_waiting() -> None:
    assert seen(np.ones(1, np.int64), 0, 1)
    assert not seen(np.zeros(1, np.int64), 0, 1)


def test_expect_tells_where() -> None:
    assert clauses.expect(np.arange(4), np.arange(4)) is None
    assert clauses.expect(np.ones(3), 1) is None
    assert clauses.expect(np.array([1, 5, 1]), 1) == "1 of 3 elements are wrong; at (1,) stands 5, not 1"
    assert "shape" in str(clauses.expect(np.ones(3), [1, 1]))


LAYERED = """
import sys, numba
from parlab.openmp_like import layers, threads
from parlab.openmp_like.clauses_table import CLAUSES
try:
    layers.use(sys.argv[1])
except layers.Refused as error:
    sys.exit(f"SKIP {error}")
refused = []
for lanes in (1, 2):
    numba.set_num_threads(lanes)
    for clause in CLAUSES:
        try:
            layers.refuse(*clause.wants, threads=lanes)
        except layers.Refused:
            refused.append(clause.name)
            continue
        form = clause.form(lanes)
        if clause.name == "proc_bind":
            continue
        form.run()
        if told := form.check():
            sys.exit(f"{clause.name}: {told}")
print(threads.layer(), len(refused))
"""


@pytest.mark.parametrize("layer", ["tbb", "workqueue"])
def test_the_forms_hold_on_the_other_layers_or_are_refused(layer: str) -> None:
    done = subprocess.run([sys.executable, "-c", LAYERED, layer], capture_output=True, text=True, timeout=100)
    if done.stderr.startswith("SKIP"):
        pytest.skip(done.stderr[5:])
    assert done.stdout.split()[:1] == [layer], done.stderr
    assert (int(done.stdout.split()[1]) > 0) == (layer == "tbb")
