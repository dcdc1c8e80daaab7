"""Compile the CUDA C of this folder and hand out its kernels. Needs CuPy; compiles on the first call, never on import."""

from functools import cache
from pathlib import Path
from typing import Any

import cupy as cp

THREADS = 256  # in a block


@cache
def _module(file: str) -> Any:
    return cp.RawModule(code=(Path(__file__).parent / file).read_text(), options=("--std=c++17",))


@cache
def kernel(name: str, file: str = "kernels.cu") -> Any:
    """Return a kernel by its name in a file of this folder. Raises CuPy's CompileException, or RuntimeError where there is no NVRTC."""
    return _module(file).get_function(name)


def blocks(count: int) -> tuple[int]:
    """Return the grid that has a thread for each of `count` elements."""
    return (-(-count // THREADS),)
