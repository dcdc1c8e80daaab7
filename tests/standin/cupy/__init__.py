"""A stand-in for CuPy: lab scripts on the CPU, with streams as CUDA has them, a hostile scheduler, and virtual time. No GPU is needed.

    PYTHONPATH=tests/standin:labs STANDIN_SEED=7 python SCRIPT.py       (a lab: tests/standin/run.py labs/ID.py)

STANDIN_SEED (0), STANDIN_ADVERSARY (random, last, lazy), STANDIN_DEVICES (1), STANDIN_MEMORY (bytes of each device, 4 GiB).
`cupy.standin` is the machine behind it: .now, .timeline, .profile, .reset(profile, style, seed).

Times come from a profile (`_machine.Profile`), never from a clock. It finds waits that are missing, not speed.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from . import cuda
from ._array import REDUCTIONS, Host, Shape, kernel, ndarray
from ._elementwise import ElementwiseKernel as ElementwiseKernel
from ._elementwise import fuse as fuse
from ._kernels import RawKernel as RawKernel
from ._kernels import RawModule as RawModule
from ._machine import machine as machine
from .cuda import is_available as is_available
from .cuda._events import here

__version__ = "14.0.0+standin"

TYPES = "bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 complex128"
FUNCTIONS = (
    "absolute add cos divide equal exp greater greater_equal isfinite isnan less less_equal log logical_and logical_not"
    " logical_or maximum minimum multiply negative not_equal power reciprocal sin sqrt square subtract tanh true_divide"
)  # NumPy's own: they find the array's __array_ufunc__
globals().update({name: getattr(np, name) for name in f"{TYPES} {FUNCTIONS} pi inf nan newaxis".split()})
abs = np.absolute
standin = machine


def empty(shape: Shape, dtype: Any = float, order: Any = "C") -> ndarray:
    """Return an array of anything (all bits are 1 where the memory is new)."""
    return ndarray(shape, dtype, order=order)


def zeros(shape: Shape, dtype: Any = float, order: Any = "C") -> ndarray:
    """Return an array of zeros."""
    made = ndarray(shape, dtype, order=order)
    if made.size:
        made.data.memset_async(0, made.nbytes)
    return made


def full(shape: Shape, fill_value: Any, dtype: Any = None, order: Any = "C") -> ndarray:
    """Return an array of one value."""
    made = ndarray(shape, np.asarray(fill_value).dtype if dtype is None else dtype, order=order)
    made.fill(fill_value)
    return made


def ones(shape: Shape, dtype: Any = float, order: Any = "C") -> ndarray:
    """Return an array of ones."""
    return full(shape, 1, dtype, order)


def empty_like(a: Any, dtype: Any = None) -> ndarray:
    """Return an array of another's shape and type."""
    return ndarray(a.shape, dtype or a.dtype)


def zeros_like(a: Any, dtype: Any = None) -> ndarray:
    """Return zeros of another's shape and type."""
    return zeros(a.shape, dtype or a.dtype)


def ones_like(a: Any, dtype: Any = None) -> ndarray:
    """Return ones of another's shape and type."""
    return ones(a.shape, dtype or a.dtype)


def full_like(a: Any, fill_value: Any, dtype: Any = None) -> ndarray:
    """Return one value in another's shape and type."""
    return full(a.shape, fill_value, dtype or a.dtype)


def arange(*args: Any, dtype: Any = None) -> ndarray:
    """Return evenly spaced values, made on the device."""
    values = np.arange(*args, dtype=dtype)
    made = ndarray(values.shape, values.dtype)
    kernel("arange", made.size, lambda: np.copyto(made.on_host, values))
    return made


def array(obj: Any, dtype: Any = None, copy: bool = True, order: Any = "C", *, blocking: bool = False) -> ndarray:
    """Return a copy on the device. What is on the host is read now and copied in the current stream, from pinned memory."""
    if isinstance(obj, ndarray):
        return obj.astype(dtype or obj.dtype, copy=copy)
    host = np.ascontiguousarray(np.asarray(obj, dtype)).reshape(np.shape(obj))
    made = ndarray(host.shape, host.dtype)
    if made.size:
        staged = cuda.alloc_pinned_memory(host.nbytes)
        np.frombuffer(staged, host.dtype, host.size)[...] = host.ravel()
        made.data.copy_from_host_async(staged.ptr, host.nbytes)
        here.queue().tail[-1].held = staged
    if blocking:
        cuda.get_current_stream().synchronize()
    return made


def asarray(a: Any, dtype: Any = None, order: Any = None, *, blocking: bool = False) -> ndarray:
    """Return an array on the device; no copy where it is one."""
    return array(a, dtype, copy=False, blocking=blocking)


def ascontiguousarray(a: Any, dtype: Any = None) -> ndarray:
    """Return a contiguous array on the device."""
    made = asarray(a, dtype)
    return made if made.flags.c_contiguous else made.copy()


def asnumpy(a: Any, stream: Any = None, order: Any = "C", out: Host | None = None, *, blocking: bool = True) -> Host:
    """Return a copy on the host."""
    return a.get(stream, order, out, blocking) if isinstance(a, ndarray) else np.asarray(a)


def copyto(dst: ndarray, src: Any) -> None:
    """Copy elements."""
    dst[...] = src


def array_equal(a1: ndarray, a2: ndarray) -> ndarray:
    """Tell whether shapes and elements are the same, as an array of one truth on the device."""
    return (a1 == a2).all() if a1.shape == a2.shape else full((), False)


def allclose(a: ndarray, b: ndarray, rtol: float = 1e-05, atol: float = 1e-08) -> ndarray:
    """Tell whether all elements are nearly the same, as an array of one truth on the device."""
    near: ndarray = np.absolute(a - b)
    near = near <= atol + rtol * np.absolute(b)
    return near.all()


def _reduction(name: str) -> Callable[..., ndarray]:
    def reduced(a: ndarray, *args: Any, **kwargs: Any) -> ndarray:
        made: ndarray = getattr(a, name)(*args, **kwargs)
        return made

    return reduced


sum, mean, max, min, argmax, argmin, all, any = map(_reduction, REDUCTIONS)


def get_default_memory_pool() -> cuda.MemoryPool:
    """Return the pool of device memory."""
    return cuda.memory.default_pool


def get_default_pinned_memory_pool() -> cuda.PinnedMemoryPool:
    """Return the pool of pinned memory."""
    return cuda.pinned_memory.default_pool
