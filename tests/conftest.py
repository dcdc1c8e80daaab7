"""The marker `ranks(n)`: run a test under its own mpirun, bounded in time, and show the failing rank's traceback."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from parlab import launch, process

# Threads for teams of up to four, whatever the machine has; kernels compiled once for each state of their sources.
os.environ.update({name: value for name, value in launch.threads(4, []).env.items() if name.startswith("NUMBA_")})

CHILD = "PARLAB_TEST_RANK"  # set in the ranks: there the test runs as it stands
QUIET = ["-q", "-x", "--no-header", "-rs", "--color=no", "-p", "no:cacheprovider", "-o", "timeout=0"]


@pytest.fixture(params=[1, 2, 3, 4])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """A number of threads, set and pinned: some are more than the cores of a small machine."""
    with several(request.param):
        yield request.param


@pytest.fixture
def two() -> Iterator[int]:
    """Two threads, set and pinned."""
    with several(2):
        yield 2


@contextmanager
def several(threads: int) -> Iterator[None]:
    """Use so many threads; each test that asks sets the session's number anew."""
    import numba  # here: a rank must not pay for it to run a test of MPI

    from parlab.openmp_like.threads import pinned

    numba.set_num_threads(threads)
    with pinned(threads):
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Replace the call of a marked test by an mpirun of that very test."""
    marker = pyfuncitem.get_closest_marker("ranks")
    if marker is None or CHILD in os.environ:
        return None
    n, limit = marker.args[0], marker.kwargs.get("timeout", 60)
    command = launch.ranks(n, ["-m", "pytest", *QUIET, pyfuncitem.nodeid])
    command.env[CHILD] = "1"
    with tempfile.TemporaryDirectory() as folder:
        ended = process.run(command, limit=limit, log=Path(folder) / "ranks.log")
    if ended.timed_out:
        pytest.fail(f"{n} ranks gave no answer in {limit} s (a deadlock?)\n{ended.output}", pytrace=False)
    passed, skipped = (ended.output.count(f"1 {word}") for word in ("passed", "skipped"))
    if skipped == n:
        pytest.skip(re.findall(r"SKIPPED \[1\] \S+ (.*)", ended.output)[0])
    if ended.status or passed != n:
        pytest.fail(f"{passed} of {n} ranks passed, status {ended.status}\n{ended.output}", pytrace=False)
    return True
