"""Functions: CUDA C++ compiled by the system's C++ compiler, run thread after thread when their stream comes to them.

A kernel with a parameter that points to volatile data watches host memory (a gate): it runs only when it is wanted.
There are no shared memory and no barriers, no templates, and of PTX only the clocks and the number of the multiprocessor.
"""

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache, partial
from math import prod
from pathlib import Path
from typing import Any

from ._errors import CUDADriverError
from ._machine import machine
from ._operations import Operation, Queue
from .cuda._events import here

PRELUDE = Path(__file__).with_name("_prelude.h")
KERNEL = re.compile(
    r"__global__\s+(?:(?!__launch_bounds__)\w+\s+|__launch_bounds__\s*\([^)]*\)\s*)*(?!__launch_bounds__)(\w+)\s*\("
)
ASM = r'\basm\s*(?:volatile)?\s*\(\s*"mov\.[us]\d+\s+%0\s*,\s*%{1,2}(\w+)\s*;"\s*:\s*"=\w"\s*\(\s*([\w.\[\]]+)\s*\)[^;]*?\)\s*;'
REGISTERS = {"globaltimer": "globaltimer()", "clock64": "clock64()", "clock": "clock64()", "smid": "0", "nsmid": "1"}
REFUSED = ("__shared__", "__syncthreads", "__syncwarp", "__shfl", "cooperative_groups")


class CompileException(RuntimeError):
    """The compiler refused a kernel, or the stand-in did."""


@cache
def library(code: str, options: tuple[str, ...]) -> tuple[ctypes.CDLL, tuple[str, ...]]:
    """Return the compiled code and its kernels' names. RuntimeError without a compiler, CompileException where it refuses."""
    plain = re.sub(r"//[^\n]*|/\*.*?\*/", " ", code, flags=re.DOTALL)
    for word in REFUSED:
        if word in plain:
            raise CompileException(f"the stand-in for CuPy runs thread after thread: it has no {word}")
    names = tuple(dict.fromkeys(KERNEL.findall(plain)))
    code = re.sub(ASM, _read_register, code)
    source = "".join([PRELUDE.read_text(), code, "\n", *(f"STANDIN_KERNEL({name})\n" for name in names)])
    defines = [option for option in options if option.startswith(("-D", "-I"))]
    return ctypes.CDLL(str(_compiled(source, defines))), names


def _read_register(found: re.Match[str]) -> str:
    if found[1] not in REGISTERS:
        raise CompileException(f"the stand-in for CuPy does not know the register {found[1]}")
    return f"{found[2]} = {REGISTERS[found[1]]};"


def _compiled(source: str, defines: Sequence[str]) -> Path:
    compiler = shutil.which("g++") or shutil.which("clang++") or shutil.which("c++")
    if compiler is None:
        raise RuntimeError("the stand-in for CuPy needs a C++ compiler (g++) for kernels in CUDA C++, and finds none")
    command = [compiler, "-std=c++17", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-Wl,-Bsymbolic", "-w", *defines]
    digest = hashlib.sha256("\n".join([*command, source]).encode()).hexdigest()[:32]
    folder = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "parlab-standin"
    made = folder / f"{digest}.so"
    if not made.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as here:
            new = Path(here) / "kernel.so"
            ended = subprocess.run(
                [*command, "-x", "c++", "-", "-o", str(new)], input=source, text=True, capture_output=True, check=False
            )
            if ended.returncode:
                raise CompileException(ended.stderr)
            new.replace(made)
    return made


class Function:
    """A kernel that is compiled. ptr: its number for the driver; sizes: bytes of each parameter."""

    def __init__(self, code: str, name: str, options: tuple[str, ...]) -> None:
        made, names = library(code, options)
        if name not in names:
            raise CUDADriverError(f"CUDA_ERROR_NOT_FOUND: named symbol not found: {name} is not one of {names}")
        room = (ctypes.c_int * 4096)()
        count = getattr(made, f"standin_sizes_{name}")(room)
        self.name, self.sizes = name, room[:count]
        self._patient = bool(getattr(made, f"standin_patient_{name}")())
        self._launcher = getattr(made, f"standin_launch_{name}")
        self.ptr = ctypes.cast(self._launcher, ctypes.c_void_p).value or 0
        functions[self.ptr] = self

    def launch(self, dimensions: Sequence[int], queue: Queue, addresses: Sequence[int]) -> None:
        """Issue it with what the arguments are now. dimensions: of the grid and of a block, x, y, z each. CUDADriverError as CUDA."""
        if prod(dimensions[3:]) > 1024 or max(dimensions[1:3]) > 65535 or min(dimensions) < 1:
            raise CUDADriverError(f"CUDA_ERROR_INVALID_VALUE: invalid argument: grid and block {dimensions}")
        if queue.device != here.device:
            raise CUDADriverError("CUDA_ERROR_INVALID_HANDLE: invalid resource handle: a stream of another device")
        values = [
            ctypes.create_string_buffer(ctypes.string_at(at, n), n) for at, n in zip(addresses, self.sizes, strict=True)
        ]
        action = partial(_call, self._launcher, (ctypes.c_uint * 6)(*dimensions), values)
        seconds = machine.profile.kernel(self.name, prod(dimensions))
        engine = None if self._patient else (queue.device, "kernel")
        machine.issue(Operation("kernel", queue, action, seconds, engine, self._patient))


functions: dict[int, Function] = {}


def _call(launcher: Any, dimensions: Any, values: Sequence[Any]) -> None:
    launcher(dimensions, (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values)))
