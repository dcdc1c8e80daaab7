"""The marker `ranks(n)`: run a test under its own mpirun, bounded in time, and show the failing rank's traceback."""

import os
import subprocess
import sys

import pytest

CHILD = "PARLAB_TEST_RANK"


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Replace the call of a marked test by an mpirun of that very test; in the ranks the test runs as it stands."""
    marker = pyfuncitem.get_closest_marker("ranks")
    if marker is None or CHILD in os.environ:
        return None
    n, limit = marker.args[0], marker.kwargs.get("timeout", 60)
    command = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(n), sys.executable, "-m", "mpi4py", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header", pyfuncitem.nodeid]
    env = {**os.environ, CHILD: "1", "OMPI_MCA_mpi_yield_when_idle": "1", "OMPI_MCA_btl": "self,sm", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "PATH": os.path.dirname(sys.executable) + ":" + os.environ["PATH"]}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=limit, cwd=pyfuncitem.config.rootpath)
    if done.returncode:
        pytest.fail(done.stdout + done.stderr, pytrace=False)
    return True
