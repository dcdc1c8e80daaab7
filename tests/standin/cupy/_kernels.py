"""RawKernel and RawModule, and how arguments in Python become those of a kernel."""

import ctypes
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from ._array import ndarray
from ._functions import CompileException, Function, library
from .cuda._events import here
from .cuda.memory import BaseMemory, MemoryPointer


def stored(value: Any) -> Any:
    """Return an argument as ctypes stores it: int: 64 bits, float: double, arrays and pointers: an address, NumPy's scalars: themselves."""
    if value is None:
        return ctypes.c_void_p(0)
    if isinstance(value, ndarray):
        return ctypes.c_void_p(value.data.ptr)
    if isinstance(value, MemoryPointer | BaseMemory):
        return ctypes.c_void_p(value.ptr)
    if isinstance(value, np.generic):
        return (ctypes.c_byte * value.itemsize).from_buffer_copy(value.tobytes())
    if isinstance(value, bool):
        return ctypes.c_bool(value)
    if isinstance(value, int):
        return ctypes.c_int64(value)
    if isinstance(value, float):
        return ctypes.c_double(value)
    raise TypeError(f"Unsupported type {type(value)}")


class RawKernel:
    """A kernel by name. Compiled at the first call."""

    def __init__(
        self, code: str, name: str, options: tuple[str, ...] = (), backend: str = "nvrtc", **flags: object
    ) -> None:
        self.code, self.name, self.options, self.backend = code, name, options, backend
        self.__name__ = name
        self._made: Function | None = None

    def compile(self, log_stream: object = None) -> None:
        """Compile now."""
        self._made = Function(self.code, self.name, self.options)

    @property
    def kernel(self) -> Function:
        """What is compiled."""
        if self._made is None:
            self.compile()
        return cast(Function, self._made)

    def __call__(
        self,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: Sequence[Any],
        *,
        shared_mem: int = 0,
        stream: Any = None,
    ) -> None:
        """Issue it to a stream (else the current one). TypeError for the wrong number of arguments, or one that is too small."""
        values, sizes = [stored(value) for value in args], self.kernel.sizes
        if len(values) != len(sizes) or any(ctypes.sizeof(v) < n for v, n in zip(values, sizes, strict=True)):
            raise TypeError(f"{self.name} takes {len(sizes)} arguments of {sizes} bytes: {args}")
        dimensions = [max(1, int(n)) for n in (*(*grid, 1, 1)[:3], *(*block, 1, 1)[:3])]
        self.kernel.launch(dimensions, here.queue(stream), [ctypes.addressof(value) for value in values])

    @property
    def max_threads_per_block(self) -> int:
        """Threads that a block may have."""
        return 1024

    @property
    def attributes(self) -> dict[str, int]:
        """Attributes of a kernel that uses next to nothing."""
        return {"max_threads_per_block": 1024, "num_regs": 32, "local_size_bytes": 0, "shared_size_bytes": 0}


class RawModule:
    """Several kernels in one source."""

    def __init__(
        self, *, code: str | None = None, options: tuple[str, ...] = (), backend: str = "nvrtc", **flags: object
    ) -> None:
        if code is None or flags.get("path") or flags.get("name_expressions"):
            raise CompileException("the stand-in for CuPy takes only source code, and no templates")
        self.code, self.options, self.backend = code, options, backend

    def compile(self, log_stream: object = None) -> None:
        """Compile now."""
        library(self.code, self.options)

    def get_function(self, name: str) -> RawKernel:
        """Return a kernel by name. CUDADriverError where there is none."""
        kernel = RawKernel(self.code, name, self.options, self.backend)
        kernel.compile()
        return kernel
