"""The ways to add 1 to 32 numbers a thousand times, on main(): what is left of them is the cost to launch. Needs CuPy.

Each way is a function of the numbers and of the count of additions that prepares everything and returns a run, which only issues.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import cupy as cp
import numpy as np

from parlab.cuda.buffers import address
from parlab.cuda.kernels import kernel
from parlab.cuda.streams import Run, captured, main

ELEMENTS = 32  # float32, one thread each: one warp
CHAIN = 10  # operations that are fused into one kernel
FILE = "launches.cu"
START = np.arange(ELEMENTS, dtype=np.float32)


def numbers() -> Any:
    """Return the numbers to add to: float32[ELEMENTS] on the GPU."""
    return cp.empty(ELEMENTS, cp.float32)


def plain(x: Any, count: int) -> Run:
    """Write it in CuPy: x += 1."""

    def run() -> None:
        y = x
        with main():
            for _ in range(count):
                y += 1

    return run


def elementwise(x: Any, count: int) -> Run:
    """Let CuPy make the kernel of a formula."""
    add_one = cp.ElementwiseKernel("float32 x", "float32 y", "y = x + 1", "add_one")

    def run() -> None:
        with main():
            for _ in range(count):
                add_one(x, x)

    return run


def raw(x: Any, count: int) -> Run:
    """Launch a kernel in CUDA C++, with the arguments as one has them in Python."""
    add, grid, block = kernel("add", FILE), (1,), (ELEMENTS,)

    def run() -> None:
        for _ in range(count):
            add(grid, block, (x, np.float32(1), np.int32(1)), stream=main())

    return run


class Prepared:
    """The driver's own call, cuLaunchKernel, with the arguments laid out in memory once: the least that a launch from Python costs."""

    def __init__(self, x: Any, count: int) -> None:
        self.count, self.function, self.stream = count, kernel("add", FILE).kernel, main().ptr
        self.values = ctypes.c_uint64(address(x)), ctypes.c_float(1), ctypes.c_int32(1)
        self.pointers = (ctypes.c_void_p * 3)(*(ctypes.addressof(value) for value in self.values))

    def __call__(self) -> None:
        """Issue them."""
        launch, function, stream = cp.cuda.driver.launchKernel, self.function.ptr, self.stream
        pointers = ctypes.addressof(self.pointers)
        for _ in range(self.count):
            launch(function, 1, 1, 1, ELEMENTS, 1, 1, 0, stream, pointers, 0)


def fused(x: Any, count: int) -> Run:
    """Let CuPy fuse CHAIN additions into one kernel; a count is a multiple of it, or less."""
    many = min(CHAIN, count)

    @cp.fuse(kernel_name=f"add_{many}")
    def add_many(y: Any) -> None:
        for _ in range(many):
            y += 1

    def run() -> None:
        with main():
            for _ in range(count // many):
                add_many(x)

    return run


def inside(x: Any, count: int) -> Run:
    """Put the loop into the kernel: one launch."""
    add, arguments = kernel("add", FILE), (np.uint64(address(x)), np.float32(1), np.int32(count))
    return lambda: add((1,), (ELEMENTS,), arguments, stream=main())


def graph(x: Any, count: int) -> Run:
    """Record the launches once, replay them with one call."""
    return captured(Prepared(x, count))


def graphs(x: Any, count: int, each: int) -> Run:
    """Record `each` of the launches, replay them as often as it takes."""
    replay = graph(x, each)

    def run() -> None:
        for _ in range(count // each):
            replay()

    return run


WAYS: dict[str, Callable[[Any, int], Run]] = {
    "x += 1": plain,
    "ElementwiseKernel": elementwise,
    "RawKernel": raw,
    "cuLaunchKernel": Prepared,
    f"fused by {CHAIN}": fused,
    "graph": graph,
    "loop in the kernel": inside,
}


def slowly(x: Any, count: int, seconds: float) -> Run:
    """Launch kernels that take so long each, as `raw` does."""
    add, grid, block = kernel("add_slowly", FILE), (1,), (ELEMENTS,)
    length = round(seconds * 1e9)

    def run() -> None:
        for _ in range(count):
            add(grid, block, (x, np.float32(1), np.uint64(length)), stream=main())

    return run


def wrong(x: Any, run: Run, count: int) -> str | None:
    """Do a run of `count` additions from known numbers, and say how many of the sums, exact in float32, are wrong."""
    main().synchronize()
    x.set(START, main())
    run()
    missed = int((x.get(stream=main()) != START + count).sum())
    return f"{missed} of {ELEMENTS} numbers are not {count} more than before" if missed else None
