"""The ladder's rung in C: the loop of pingpong.c, over the library and the communicator that Python uses.

So both languages are measured in one process, one after the other, and their difference is Python alone.
"""

import subprocess
import tempfile
from ctypes import CDLL, c_int, c_void_p
from functools import cache
from pathlib import Path

from mpi4py import MPI

from parlab.mpi.rung import Loop

SOURCE = Path(__file__).with_name("pingpong.c")


def loaded_library() -> Path:
    """Return the file of the MPI library that mpi4py has loaded; RuntimeError if it has an unusual name (Linux)."""
    with open("/proc/self/maps") as maps:
        files = {Path(line.split(maxsplit=5)[5].strip()) for line in maps if "/" in line}
    for file in sorted(files):
        if file.name.startswith(("libmpi.so", "libmpich.so")):
            return file
    raise RuntimeError("no loaded file is named libmpi.so or libmpich.so")


def compiler(library: Path) -> Path:
    """Return the mpicc that came with the library: the first bin/mpicc above it; RuntimeError if there is none."""
    flavour = "mpich" if "MPICH" in MPI.Get_library_version() else "openmpi"
    for prefix in library.parents:
        for name in (f"mpicc.{flavour}", "mpicc"):  # Debian can hold both libraries, each with its own
            if (prefix / "bin" / name).exists():
                return prefix / "bin" / name
    raise RuntimeError(f"no mpicc lies above {library}")


@cache
def build() -> CDLL:
    """Compile pingpong.c against the loaded library, and load it.

    RuntimeError, with the compiler's words, if that cannot be done: no mpicc, no C compiler, no header mpi.h.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "pingpong.so"
        command: list[str | Path] = [compiler(loaded_library()), "-O2", "-shared", "-fPIC", SOURCE, "-o", target]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{done.stderr.strip()}")
        return CDLL(str(target))  # it stays loaded when its file is gone


class CLoop(Loop):
    """All rounds of a call happen in C: Python's own time is paid once."""

    def _setup(self) -> None:
        self.loop = build().pingpong
        self.loop.argtypes = [c_void_p, c_int, c_void_p, c_void_p, c_int, c_int]

    def repeat(self, rounds: int) -> None:
        """Make `rounds` round trips, all with the same bytes."""
        arrays = self.outgoing.ctypes.data, self.incoming.ctypes.data
        error = self.loop(MPI._addressof(self.pair), self.first, *arrays, self.nbytes, rounds)
        if error != MPI.SUCCESS:
            raise MPI.Exception(error)
