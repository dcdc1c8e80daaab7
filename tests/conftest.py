"""The marker `ranks(n)`: run a test under its own mpirun, bounded in time, and show the failing rank's traceback."""

import os
import re
import tempfile
from pathlib import Path

import pytest

from parlab import launch, process

# Threads for teams of up to four, whatever the machine has; kernels compiled once for each state of their sources.
os.environ.update({name: value for name, value in launch.threads(4, []).env.items() if name.startswith("NUMBA_")})

CHILD = "PARLAB_TEST_RANK"  # set in the ranks: there the test runs as it stands
QUIET = ["-q", "-x", "--no-header", "-rs", "--color=no", "-p", "no:cacheprovider", "-o", "timeout=0"]


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
