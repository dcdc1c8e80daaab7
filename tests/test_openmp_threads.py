"""Threads are pinned to a core each while it matters, and nothing else is: not the caller afterwards, and not what it starts."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numba
import pytest

from parlab.openmp_like import layers, threads
from parlab.openmp_like.threads import masks, pinned, proof

if not hasattr(os, "sched_getaffinity"):
    pytest.skip("masks of cores are Linux's", allow_module_level=True)

CORES = sorted(os.sched_getaffinity(0))
two_cores = pytest.mark.skipif(len(CORES) < 2, reason="needs two cores")
on = {
    layer: pytest.mark.skipif(bool(layers.missing(layer)), reason=str(layers.missing(layer))) for layer in layers.LAYERS
}
CHILD = [sys.executable, "-c", "import os; print(sorted(os.sched_getaffinity(0)))"]


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = numba.get_num_threads()
    numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))
    yield
    numba.set_num_threads(before)


def child_mask() -> str:
    return subprocess.run(CHILD, capture_output=True, text=True, check=True).stdout.strip()


def run(code: str, layer: str, **more: str) -> str:
    """Return what a program of its own on a layer prints."""
    env = {**os.environ, "NUMBA_THREADING_LAYER": layer, "LD_LIBRARY_PATH": str(Path(sys.prefix) / "lib"), **more}
    prelude = "import os, subprocess, sys, numba\nfrom parlab.openmp_like.threads import layer, masks, pinned\n"
    prelude += f"numba.set_num_threads(2)\nCHILD = {CHILD}\n"
    done = subprocess.run(
        [sys.executable, "-c", prelude + textwrap.dedent(code)], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_layer_is_the_one_that_runs() -> None:
    assert threads.layer() == numba.threading_layer()
    assert threads.layer() in layers.LAYERS


@two_cores
def test_inside_each_lane_has_one_core_of_its_own_and_afterwards_all_are_as_before() -> None:
    before = masks(2)
    with pinned(2):
        assert masks(2) == [{CORES[0]}, {CORES[1]}]
    assert masks(2) == before


@two_cores
def test_an_exception_inside_frees_them_too() -> None:
    before = masks(2)
    with pytest.raises(RuntimeError, match="inside"), pinned(2):
        raise RuntimeError("inside")
    assert masks(2) == before


@two_cores
def test_neither_the_caller_nor_a_child_is_narrowed_afterwards() -> None:
    with pinned(2):
        masks(2)
    assert os.sched_getaffinity(0) == set(CORES)
    assert child_mask() == str(CORES)


BOUND = """
    masks(2)  # a region like any other
    print(sorted(os.sched_getaffinity(0)), flush=True)
    subprocess.run(CHILD)
"""


@two_cores
@on["omp"]
def test_omp_proc_bind_does_narrow_the_caller_and_its_children() -> None:
    """The trap that `pinned` avoids: the mutant of the test above."""
    mine, child = run(BOUND, "omp", OMP_PROC_BIND="true", OMP_PLACES="cores").splitlines()
    assert mine == child
    assert len(eval(mine)) < len(CORES)
    assert run(BOUND, "omp", OMP_PROC_BIND="false") == f"{CORES}\n{CORES}\n"


PINNED = """
    before = masks(2)
    with pinned(2):
        print(masks(2))
    print(masks(2) == before, layer())
"""


@two_cores
def test_workqueue_is_pinned_as_well() -> None:
    assert run(PINNED, "workqueue") == f"{[{core} for core in CORES[:2]]}\nTrue workqueue\n"


@two_cores
@on["tbb"]
def test_on_tbb_nothing_is_pinned() -> None:
    free = set(CORES)
    assert run(PINNED, "tbb") == f"{[free, free]}\nTrue tbb\n"


@pytest.mark.skipif(len(CORES) >= numba.config.NUMBA_NUM_THREADS, reason="there is a core for each thread")
def test_more_threads_than_cores_are_left_where_they_are() -> None:
    crowd = len(CORES) + 1
    numba.set_num_threads(crowd)
    with pinned(crowd):
        assert masks(crowd) == [set(CORES)] * crowd


@pytest.mark.parametrize("count", [2, 3])
def test_the_proof_can_be_run_with_two_threads_and_with_more(count: int) -> None:
    if count > numba.config.NUMBA_NUM_THREADS:
        pytest.skip("Numba holds fewer threads")
    numba.set_num_threads(count)
    alone, together, ping_pong, rounds = proof(count)
    for part in (alone, together, ping_pong):
        for _ in range(2):
            part()
    assert rounds > 0
