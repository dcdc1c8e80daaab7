"""The same loops in C under gcc's OpenMP: what Numba is held against. Compiled here, for this processor, when they are first asked for."""

import os
import shutil
import subprocess
import tempfile
from ctypes import CDLL
from functools import cache
from pathlib import Path

FLAGS = ["-O3", "-march=native", "-fopenmp", "-shared", "-fPIC"]


@cache
def load(name: str, *flags: str) -> CDLL:
    """Compile openmp_like/NAME with -O3 -march=native -fopenmp and these flags, and load it.

    RuntimeError, in one line, where there is no C compiler or it cannot do that. The C functions run on the same GNU OpenMP threads
    as Numba's omp layer when the same thread calls both.
    """
    compiler = shutil.which(os.environ.get("CC", "gcc")) or shutil.which("cc")
    if compiler is None:
        raise RuntimeError("no C compiler (gcc, or what CC names) on PATH: the comparison with C is left out")
    source = Path(__file__).with_name(name)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / f"{source.stem}.so"
        command = [compiler, *FLAGS, *flags, str(source), "-o", str(target), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            told = next((line for line in done.stderr.splitlines() if "error" in line), f"status {done.returncode}")
            raise RuntimeError(f"{Path(compiler).name} cannot compile {name} with {' '.join(FLAGS)}: {told}")
        return CDLL(str(target))  # it stays loaded when its file is gone
