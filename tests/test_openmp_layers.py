"""What a threading layer cannot do is refused in one line; and each refusal is needed: without it the program hangs or aborts."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numba
import pytest
from numba import config

from parlab.openmp_like import layers
from parlab.openmp_like.layers import CANNOT, LAYERS, WANTS, Refused, missing, refuse

CORES = config.NUMBA_DEFAULT_NUM_THREADS
TBB = str(Path(sys.prefix) / "lib")

HERE = {layer: missing(layer) for layer in LAYERS}
on = {layer: pytest.mark.skipif(reason is not None, reason=str(reason)) for layer, reason in HERE.items()}


def run(code: str, layer: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a program of its own on a layer."""
    env = {
        **os.environ,
        "NUMBA_THREADING_LAYER": layer,
        "LD_LIBRARY_PATH": TBB,
        "NUMBA_NUM_THREADS": str(CORES + 2),
        **more,
    }
    program = PRELUDE + textwrap.dedent(code)
    return subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=60)


PRELUDE = """
import os, signal, sys, threading
import numba, numpy as np
from numba import njit, prange
from parlab.openmp_like.layers import Refused, refuse, use
from parlab.openmp_like.waiting import BARRIER_WORDS, barrier

@njit(parallel=True)
def region(n):
    total = 0
    for i in prange(n):
        total += i
    return total

@njit(parallel=True, nogil=True)  # with the GIL held, the other thread would not come that far
def long_region(x, rounds):
    for i in prange(len(x)):
        for k in range(rounds):
            x[i] = x[i] * 0.5 + 1.0

@njit(parallel=True)
def nested(n):
    total = 0
    for i in prange(n):
        total += region(n)
    return total

@njit(parallel=True)
def meet(state, threads):
    for lane in prange(threads):
        barrier(state, threads)
"""

NESTED = "assert nested(4) == 24; print('done')"
CONCURRENT = """
    long_region(np.ones(2), 1)  # compiled and started by the main thread
    two = [threading.Thread(target=long_region, args=(np.ones(64), 1_000_000)) for _ in range(2)]
    [one.start() for one in two]
    [one.join() for one in two]
    print('done')
"""
FORK = """
    region(2)
    if os.fork() == 0:
        region(2)
        os._exit(7)
    print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
MEET = """
    threads = numba.config.NUMBA_NUM_THREADS  # two more than cores
    numba.set_num_threads(threads)
    signal.alarm(4)  # ends the program in the middle of native code too
    meet(np.zeros(BARRIER_WORDS, np.int64), threads)
    print('done')
"""


# The table: every refusal is one line that names the layer and what would work.


@pytest.mark.parametrize(("layer", "want"), [(layer, want) for layer in LAYERS for want in WANTS])
def test_the_table_is_what_refuse_says(layer: str, want: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "missing", lambda layer: None)
    if (layer, want) not in CANNOT:
        refuse(want, layer=layer, threads=min(2, CORES))
        return
    crowd = CORES + 1 if want == "waiting" else 1
    monkeypatch.setattr(config, "NUMBA_NUM_THREADS", crowd)
    with pytest.raises(Refused, match=rf"^the layer {layer} cannot do {WANTS[want]}: .+; .+$") as refused:
        refuse(want, layer=layer, threads=crowd)
    assert "\n" not in str(refused.value)
    assert isinstance(refused.value, ValueError)


def test_waiting_on_tbb_is_refused_only_beyond_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "missing", lambda layer: None)
    monkeypatch.setattr(config, "NUMBA_NUM_THREADS", CORES + 1)
    refuse("waiting", layer="tbb", threads=CORES)
    refuse("waiting", layer="omp", threads=CORES + 1)
    with pytest.raises(Refused, match=f"or {CORES} threads$"):
        refuse("waiting", layer="tbb", threads=CORES + 1)


def test_more_threads_than_numba_holds_are_refused() -> None:
    most = config.NUMBA_NUM_THREADS
    refuse(threads=most)
    with pytest.raises(
        Refused, match=rf"^{most + 1} threads asked for, .* at most {most}, or set NUMBA_NUM_THREADS={most + 1}"
    ):
        refuse(threads=most + 1)
    with pytest.raises(ValueError, match="number of threads"):  # the mutant: Numba itself says no, in its own words
        numba.set_num_threads(most + 1)


def test_a_core_for_each_thread_is_refused_where_there_are_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "NUMBA_NUM_THREADS", CORES + 1)
    refuse("cores", threads=CORES)
    with pytest.raises(Refused, match=f"may use {CORES}; ask for at most {CORES}$"):
        refuse("cores", threads=CORES + 1)


def test_a_want_that_is_not_in_the_table_and_a_layer_that_is_none_are_refused() -> None:
    with pytest.raises(Refused, match=r"'speed' is not in the table"):
        refuse("speed", layer="workqueue")
    with pytest.raises(Refused, match=r"'gnu' is no threading layer: choose omp, tbb, workqueue$"):
        refuse("lanes", layer="gnu")


# A layer that is not here: found out without starting any.


def test_a_tbb_that_is_not_here_or_too_old_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "_tbb", lambda: ("", 0))
    assert missing("tbb") == (
        "the layer tbb needs libtbb.so.12 of interface 12060 or newer (none was found): pip install tbb, or choose omp"
    )
    monkeypatch.setattr(layers, "_tbb", lambda: ("libtbb.so.12", 12050))
    assert "(found: 12050)" in str(missing("tbb"))
    with pytest.raises(Refused, match=r"pip install tbb"):
        refuse("lanes", layer="tbb")


def test_an_omp_that_is_not_here_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba.np.ufunc.omppool", None)
    told = missing("omp")
    assert told is not None
    assert told.startswith("the layer omp is not here (")
    assert "\n" not in told


def test_workqueue_is_always_here() -> None:
    assert missing("workqueue") is None


def test_looking_for_the_layers_starts_none_and_chooses_none() -> None:
    code = "from parlab.openmp_like import layers\nfor layer in layers.LAYERS: layers.missing(layer)\n"
    code += "assert layers.started() is None\nassert 'libtbb' not in open('/proc/self/maps').read()\nprint('done')"
    assert run(code, "default").stdout == "done\n"


@on["tbb"]
def test_the_tbb_of_this_environment_is_found_without_its_folder_on_the_loaders_path() -> None:
    code = "use('tbb')\nregion(2)\nprint(numba.threading_layer())"
    assert run(code, "default", LD_LIBRARY_PATH="").stdout == "tbb\n"


@on["tbb"]
@pytest.mark.skipif(layers._tbb()[0] == "libtbb.so.12", reason="the loader finds tbb by itself")
def test_without_that_numba_does_not_find_it() -> None:
    """The mutant: what a user sees today."""
    done = run("region(2)", "tbb", LD_LIBRARY_PATH="")
    assert done.returncode == 1
    assert "No threading layer could be loaded" in done.stderr
    refused = run("refuse('lanes')", "tbb", LD_LIBRARY_PATH="")
    assert "Refused: the layer tbb cannot do each thread" in refused.stderr.splitlines()[-1]


def test_a_layer_that_runs_stays() -> None:
    code = "region(2)\ntry:\n    use('omp')\nexcept Refused as error:\n    print(error)"
    assert run(code, "workqueue").stdout == (
        "the layer workqueue runs already, and no other can in this process: choose omp in a new one\n"
    )


# The faults themselves: each program asks first, is told, and goes on all the same.


def after_asking(want: str, code: str, threads: str = "1") -> str:
    ask = f"try:\n    refuse('{want}', threads={threads})\nexcept Refused as error:\n    print(error, flush=True)\n"
    return ask + textwrap.dedent(code)


def test_a_nested_region_aborts_workqueue() -> None:
    done = run(after_asking("nested", NESTED), "workqueue")
    assert done.stdout.startswith(
        "the layer workqueue cannot do a parallel region inside another: it aborts the process"
    )
    assert done.returncode == -signal.SIGABRT


def test_regions_of_two_threads_at_one_time_abort_workqueue() -> None:
    done = run(after_asking("concurrent", CONCURRENT), "workqueue")
    assert done.stdout.startswith("the layer workqueue cannot do parallel regions of two threads")
    assert done.returncode == -signal.SIGABRT


@pytest.mark.parametrize("layer", [pytest.param(layer, marks=on[layer]) for layer in ("omp", "tbb")])
def test_the_other_layers_can_nest_and_run_regions_of_two_threads(layer: str) -> None:
    done = run(after_asking("nested", NESTED) + "\n" + after_asking("concurrent", CONCURRENT), layer)
    assert (done.returncode, done.stdout) == (0, "done\ndone\n")


@on["omp"]
def test_gnu_openmp_kills_a_child_made_by_fork() -> None:
    done = run("refuse('fork')  # nothing ran yet\nregion(2)\n" + after_asking("fork", FORK), "omp")
    told, ended = done.stdout.splitlines()
    assert told.startswith(
        "the layer omp cannot do a child by fork after a parallel region: GNU OpenMP kills the child"
    )
    assert ended == str(-signal.SIGTERM)


@pytest.mark.parametrize("layer", ["workqueue", pytest.param("tbb", marks=on["tbb"])])
def test_the_other_layers_can_fork(layer: str) -> None:
    assert run("region(2)\n" + after_asking("fork", FORK), layer).stdout == "7\n"


@on["tbb"]
def test_threads_beyond_the_cores_that_wait_for_each_other_never_meet_on_tbb() -> None:
    done = run(after_asking("waiting", MEET, "numba.config.NUMBA_NUM_THREADS"), "tbb")
    assert done.stdout.startswith("the layer tbb cannot do lanes that wait for each other: it starts no lane before")
    assert done.returncode == -signal.SIGALRM
    assert run(MEET.replace("NUMBA_NUM_THREADS", "NUMBA_DEFAULT_NUM_THREADS"), "tbb").stdout == "done\n"


@pytest.mark.parametrize("layer", ["workqueue", pytest.param("omp", marks=on["omp"])])
def test_on_the_other_layers_they_meet(layer: str) -> None:
    assert run(after_asking("waiting", MEET, "numba.config.NUMBA_NUM_THREADS"), layer).stdout == "done\n"
