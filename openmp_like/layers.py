"""What each of Numba's threading layers cannot do, and a refusal in one clear line before anything hangs or aborts.

    a program that wants                                            omp       tbb                   workqueue
    lanes       each thread to run one lane of prange(threads)      yes       no                    yes
    waiting     lanes that wait for each other                      yes       up to the cores       yes
    nested      a parallel region inside another                    yes       yes                   aborts
    concurrent  regions of two Python threads at one time           yes       yes                   aborts
    fork        a region in a child made by fork, after one here    killed    yes                   yes

    refuse("waiting", threads=4)        # returns where the layer that runs can do it, else raises Refused, which is a ValueError

The layer is what NUMBA_THREADING_LAYER or numba.config.THREADING_LAYER names when the first parallel function runs, and stays it.
Source: Numba's documentation, "The Threading Layers"; the faults themselves are shown by tests/test_openmp_layers.py.
"""

import ctypes
import importlib
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numba
from numba import config

from parlab.openmp_like import threads as running

LAYERS = ("omp", "tbb", "workqueue")
TBB_INTERFACE = 12060  # of TBB 2021.6, the oldest that Numba takes

WANTS = {
    "lanes": "each thread to run one lane",
    "waiting": "lanes that wait for each other",
    "nested": "a parallel region inside another",
    "concurrent": "parallel regions of two threads at one time",
    "fork": "a child by fork after a parallel region",
    "cores": "a core for each thread",
}

# The layer, what is wanted: what would happen, and what works instead. "waiting" counts only with more threads than cores.
CANNOT = {
    ("tbb", "lanes"): ("it may run two lanes on one thread, one after the other", "choose omp or workqueue"),
    ("tbb", "waiting"): (
        "it starts no lane before a core is free: they wait for ever",
        "choose omp or workqueue, or {cores} threads",
    ),
    ("workqueue", "nested"): ("it aborts the process", "choose omp or tbb, or make the inner loop serial"),
    ("workqueue", "concurrent"): ("it aborts the process", "choose omp or tbb, or put a lock around the regions"),
    ("omp", "fork"): ("GNU OpenMP kills the child in its first region", 'start processes by "spawn" or "forkserver"'),
}


class Refused(ValueError):
    """What is asked for would hang or abort here; the message says what would work."""


def refuse(*wants: str, threads: int = 1, layer: str | None = None) -> None:
    """Raise Refused where so many threads, or one of the wants, are more than the layer can do; else return.

    wants: keys of WANTS. layer: the one that runs, or that would be started, unless named.
    """
    cores, most = config.NUMBA_DEFAULT_NUM_THREADS, config.NUMBA_NUM_THREADS
    if threads > most:
        raise Refused(
            f"{threads} threads asked for, but Numba was started with {most}: ask for at most {most}, or set "
            f"NUMBA_NUM_THREADS={threads} before it starts, for more threads than cores"
        )
    if layer is not None and (reason := missing(layer)):
        raise Refused(reason)
    for want in wants:
        if want not in WANTS:
            raise Refused(f"{want!r} is not in the table: the wants are {', '.join(WANTS)}")
        if (want in ("waiting", "cores") and threads <= cores) or (want == "fork" and not (layer or started())):
            continue
        if want == "cores":
            raise Refused(f"{threads} threads have no core each: this process may use {cores}; ask for at most {cores}")
        name = layer or chosen()
        if (name, want) in CANNOT:
            happens, works = CANNOT[name, want]
            raise Refused(f"the layer {name} cannot do {WANTS[want]}: {happens}; {works.format(cores=cores)}")


def use(layer: str) -> None:
    """Choose the layer of this process before its first parallel function runs; a tbb in this Python's environment is found.

    Refused where the layer is not here, or another one runs already.
    """
    if (name := started()) not in (None, layer):
        raise Refused(f"the layer {name} runs already, and no other can in this process: choose {layer} in a new one")
    if reason := missing(layer):
        raise Refused(reason)
    if layer == "tbb":
        ctypes.CDLL(_tbb()[0], ctypes.RTLD_GLOBAL)  # Numba asks for it by its name, and now gets this one
    config.THREADING_LAYER = layer


def started() -> str | None:
    """Return the layer that runs; None where no parallel function has run yet."""
    try:
        return str(numba.threading_layer())
    except ValueError:
        return None


def chosen() -> str:
    """Return the layer that runs, or that the first parallel function would start. Refused where that one is not here."""
    if name := started():
        return name
    asked = str(config.THREADING_LAYER)
    if asked in LAYERS:
        if reason := missing(asked):
            raise Refused(reason)
        return asked
    return running.layer()  # "default", "safe" ...: Numba picks


def missing(layer: str) -> str | None:
    """Say, in one line, why a layer cannot be used here, without starting it; None where it can."""
    if layer not in LAYERS:
        return f"{layer!r} is no threading layer: choose {', '.join(LAYERS)}"
    if layer == "omp":
        try:
            importlib.import_module("numba.np.ufunc.omppool")  # loads GNU OpenMP, and starts no thread
        except ImportError as error:
            return f"the layer omp is not here ({error}): install GNU OpenMP (Debian: libgomp1), or choose tbb or workqueue"
    if layer == "tbb":
        _, version = _tbb()
        if version < TBB_INTERFACE or find_spec("numba.np.ufunc.tbbpool") is None:
            found = f"found: {version}" if version else "none was found"
            return f"the layer tbb needs libtbb.so.12 of interface {TBB_INTERFACE} or newer ({found}): pip install tbb, or choose omp"
    return None


@cache
def _tbb() -> tuple[str, int]:
    """Return the TBB that there is, the loader's own or the one that pip put into this environment, and its interface; 0: none.

    Another process asks: a TBB that was once loaded stays, and would become Numba's default layer. Looking must not choose.
    """
    ask = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).TBB_runtime_interface_version())"
    found = "", 0
    for path in ("libtbb.so.12", str(Path(sys.prefix) / "lib" / "libtbb.so.12")):
        told = subprocess.run([sys.executable, "-I", "-S", "-c", ask, path], capture_output=True, text=True).stdout
        found = max(found, (path, int(told or 0)), key=lambda one: one[1])
    return found
