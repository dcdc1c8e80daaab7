"""Arrays on a device: a shape over memory, and NumPy's own functions as kernels that run when their stream comes to them."""

import ctypes
from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from ._machine import machine
from ._operations import Operation
from .cuda._events import here
from .cuda.device import Device
from .cuda.memory import MemoryPointer, alloc
from .cuda.stream import get_current_stream

Host = np.ndarray[Any, Any]
Shape = int | tuple[int, ...]
REDUCTIONS = ("sum", "mean", "max", "min", "argmax", "argmin", "all", "any")


def kernel(name: str, threads: int, action: Callable[[], object]) -> None:
    """Issue an action as a kernel to the current stream."""
    queue = here.queue()
    seconds = machine.profile.kernel(name, threads)
    machine.issue(Operation("kernel", queue, partial(_quietly, action), seconds, (queue.device, "kernel")))


def _quietly(action: Callable[[], object]) -> None:
    with np.errstate(all="ignore"):
        action()


def _reduction(name: str) -> Callable[..., "ndarray"]:
    """Return a method: of all elements, or along an axis; the result is an array, of no dimension where it is one number."""

    def reduced(self: "ndarray", axis: int | None = None, dtype: Any = None, out: "ndarray | None" = None) -> "ndarray":
        function = partial(getattr(np, name), axis=axis, **({} if dtype is None else {"dtype": dtype}))
        if out is None:
            shape = () if axis is None else tuple(int(n) for n in np.delete(self.shape, axis))
            out = ndarray(shape, function(np.ones((1,) * self.ndim, self.dtype)).dtype)
        source, target = self.on_host, out.on_host
        kernel(name, self.size, lambda: np.copyto(target, function(source), casting="unsafe"))
        return out

    return reduced


class ndarray(NDArrayOperatorsMixin):
    """An array on a device, of any shape and type. data: where it begins; on_host: the same memory as NumPy sees it, for kernels only."""

    __array_priority__ = 100

    def __init__(
        self,
        shape: Shape,
        dtype: Any = float,
        memptr: MemoryPointer | None = None,
        strides: tuple[int, ...] | None = None,
        order: Any = "C",
    ) -> None:
        shape = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
        size = prod(shape) * np.dtype(dtype).itemsize
        self.data = alloc(size) if memptr is None else memptr
        buffer = (ctypes.c_byte * size).from_address(self.data.ptr) if size else bytearray(1)
        if strides is None:
            self.on_host: Host = np.ndarray(shape, dtype, buffer if size else None, order=order)
        else:
            extent = sum((n - 1) * abs(s) for n, s in zip(shape, strides, strict=True)) + np.dtype(dtype).itemsize
            buffer = (ctypes.c_byte * extent).from_address(self.data.ptr)
            self.on_host = np.ndarray(shape, dtype, buffer, strides=strides)

    def _like(self, on_host: Host) -> "ndarray":
        """Return another view of the same memory."""
        made = ndarray.__new__(ndarray)
        made.on_host = on_host
        made.data = self.data + (_address(on_host) - self.data.ptr if on_host.size else 0)
        return made

    shape = property(lambda self: self.on_host.shape)
    dtype = property(lambda self: self.on_host.dtype)
    size = property(lambda self: self.on_host.size)
    nbytes = property(lambda self: self.on_host.nbytes)
    itemsize = property(lambda self: self.on_host.itemsize)
    ndim = property(lambda self: self.on_host.ndim)
    strides = property(lambda self: self.on_host.strides)
    flags = property(lambda self: self.on_host.flags)
    T = property(lambda self: self._like(self.on_host.T))

    @property
    def device(self) -> Device:
        """The device that holds the array."""
        return self.data.device

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Where the array is, for other libraries."""
        there = {"shape": self.shape, "typestr": self.dtype.str, "data": (self.data.ptr, False), "version": 3}
        return {**there, "strides": None if self.flags.c_contiguous else self.strides, "descr": self.dtype.descr}

    def __array__(self, *_: object, **__: object) -> Host:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array explicitly."
        )

    def __len__(self) -> int:
        return len(self.on_host)

    def __repr__(self) -> str:
        return repr(self.get())

    def __str__(self) -> str:
        return str(self.get())

    def __bool__(self) -> bool:
        return bool(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def item(self) -> Any:
        """Return the only element, after waiting for it."""
        return self.get().item()

    def __hash__(self) -> int:
        raise TypeError("unhashable type: 'ndarray'")

    # between host and device

    def get(self, stream: Any = None, order: Any = "C", out: Host | None = None, blocking: bool = True) -> Host:
        """Copy to the host, in a stream (else the current one), and wait unless told not to (and `out` is pinned)."""
        stream = stream or get_current_stream()
        if out is not None and (out.dtype != self.dtype or out.shape != self.shape or not out.flags.c_contiguous):
            raise ValueError(f"`out` must be a C-contiguous array of {self.dtype} and shape {self.shape}")
        made, source = np.empty(self.shape, self.dtype) if out is None else out, self
        with self.device:
            if not self.flags.c_contiguous:
                with stream:
                    source = self.copy()
            source.data.copy_to_host_async(made.ctypes.data, self.nbytes, stream)
            if blocking:
                stream.synchronize()
        return made

    def set(self, arr: Host, stream: Any = None) -> None:
        """Copy from the host, in a stream (else the current one); the host waits unless the array is pinned."""
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if self.dtype != arr.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if self.shape != arr.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not self.flags.c_contiguous:
            raise RuntimeError("Cannot set to non-contiguous array")
        arr = np.ascontiguousarray(arr)
        stream = stream or get_current_stream()
        with self.device:
            self.data.copy_from_host_async(arr.ctypes.data, self.nbytes, stream)

    # views and elements

    def __getitem__(self, key: Any) -> "ndarray":
        return self._like(self._part(key))

    def _part(self, key: Any) -> Host:
        """Return a view. NotImplementedError where an array chooses the elements."""
        for k in key if isinstance(key, tuple) else (key,):
            if not (k is None or k is Ellipsis or isinstance(k, int | np.integer | slice)):
                raise NotImplementedError("the stand-in for CuPy is indexed by numbers and slices only")
        keys = key if isinstance(key, tuple) else (key,)
        part: Host = self.on_host[keys if Ellipsis in keys else (*keys, ...)]
        return part

    def __setitem__(self, key: Any, value: Any) -> None:
        self._assign(self._part(key), value)

    def _assign(self, part: Host, value: Any) -> None:
        if isinstance(value, np.ndarray) and value.ndim:
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        source = value.on_host if isinstance(value, ndarray) else value
        kernel("copy", part.size, partial(np.copyto, part, source, casting="unsafe"))

    def fill(self, value: Any) -> None:
        """Set all elements to one value."""
        self._assign(self.on_host, value)

    def reshape(self, *shape: Any, order: Any = "C") -> "ndarray":
        """Return the elements in another shape: a view where the array is contiguous, else a copy."""
        new = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
        source = self if self.flags.c_contiguous else self.copy()
        return source._like(source.on_host.reshape(new))

    def ravel(self) -> "ndarray":
        """Return the elements in one dimension."""
        return self.reshape(-1)

    def view(self, dtype: Any = None) -> "ndarray":
        """Return the same bytes as another type."""
        return self._like(self.on_host.view(dtype) if dtype is not None else self.on_host.view())

    def copy(self, order: Any = "C") -> "ndarray":
        """Return a contiguous copy."""
        return self.astype(self.dtype)

    def astype(self, dtype: Any, copy: bool = True) -> "ndarray":
        """Return a copy of another type."""
        if not copy and np.dtype(dtype) == self.dtype:
            return self
        made = ndarray(self.shape, dtype)
        made[...] = self
        return made

    # arithmetic

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **kwargs: Any) -> Any:
        if method != "__call__" or ufunc.nout != 1:
            return NotImplemented
        if any(isinstance(value, np.ndarray) for value in inputs):
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        return computed(ufunc.__name__, partial(ufunc, **kwargs), inputs, out[0] if out else None)

    sum, mean, max, min, argmax, argmin, all, any = map(_reduction, REDUCTIONS)


def computed(name: str, function: Callable[..., Any], inputs: tuple[Any, ...], out: ndarray | None = None) -> ndarray:
    """Issue an elementwise function as one kernel and return its result (out, or new)."""
    small = [np.ones((1,) * value.ndim, value.dtype) if isinstance(value, ndarray) else value for value in inputs]
    hosts = [value.on_host if isinstance(value, ndarray) else value for value in inputs]
    shape = np.broadcast_shapes(*(value.shape for value in inputs if isinstance(value, ndarray)))
    with np.errstate(all="ignore"):
        dtype = np.asarray(function(*small)).dtype
    made = ndarray(shape, dtype) if out is None else out
    there = made.on_host
    kernel(name, there.size, lambda: np.copyto(there, function(*hosts), casting="same_kind"))
    return made


def _address(array: Host) -> int:
    return int(array.__array_interface__["data"][0])
