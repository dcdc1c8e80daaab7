"""Device memory and its pointers."""

import sys
from functools import partial
from typing import Any

from .._errors import CUDARuntimeError
from .._machine import machine
from .._memory import memory
from . import runtime
from ._events import here
from .device import Device
from .stream import get_current_stream


class BaseMemory:
    """Some memory on a device: address, bytes."""

    ptr = 0
    size = 0
    device_id = 0

    def __int__(self) -> int:
        return self.ptr

    @property
    def device(self) -> Device:
        """Its device."""
        return Device(self.device_id)


class Memory(BaseMemory):
    """Memory of its own, by cudaMalloc. CUDARuntimeError (2) where there is none."""

    def __init__(self, size: int) -> None:
        self.size, self.device_id = size, here.device
        self.ptr = runtime.malloc(size) if size else 0

    def __del__(self) -> None:
        """Free it, after all that was issued."""
        if self.ptr and not sys.is_finalizing():
            machine.finalize(partial(runtime.free, self.ptr))


class MemoryAsync(BaseMemory):
    """Memory in the order of a stream (its pointer)."""

    def __init__(self, size: int, stream: int) -> None:
        self.size, self.device_id, self.stream = size, here.device, stream
        self.ptr = runtime.mallocAsync(size, stream) if size else 0

    def __del__(self) -> None:
        """Free it in the stream's order, or after all that was issued where the stream is gone."""
        if self.ptr and not sys.is_finalizing():
            machine.finalize(partial(_free_async, self.ptr, self.stream))


def _free_async(ptr: int, stream: int) -> None:
    try:
        runtime.freeAsync(ptr, stream)
    except CUDARuntimeError:
        runtime.free(ptr)


class UnownedMemory(BaseMemory):
    """Memory of somebody else, who is kept alive."""

    def __init__(self, ptr: int, size: int, owner: object, device_id: int = -1) -> None:
        entry = memory.find(ptr)
        self.ptr, self.size, self._owner = ptr, size, owner
        self.device_id = device_id if device_id >= 0 else entry.device if entry else here.device


class MemoryPointer:
    """A place in some memory."""

    def __init__(self, mem: BaseMemory, offset: int) -> None:
        self.mem, self.ptr, self.device_id = mem, mem.ptr + offset, mem.device_id

    def __int__(self) -> int:
        return self.ptr

    @property
    def device(self) -> Device:
        """The memory's device."""
        return self.mem.device

    def __add__(self, offset: int) -> "MemoryPointer":
        return MemoryPointer(self.mem, self.ptr - self.mem.ptr + offset)

    def __sub__(self, offset: int) -> "MemoryPointer":
        return self + -offset

    def copy_from_host(self, mem: Any, size: int) -> None:
        """Copy bytes from an address in the null stream, and wait."""
        runtime.memcpy(self.ptr, address_of(mem), size, runtime.memcpyHostToDevice)

    def copy_from_host_async(self, mem: Any, size: int, stream: Any = None) -> None:
        """Copy bytes from an address in a stream."""
        runtime.memcpyAsync(self.ptr, address_of(mem), size, runtime.memcpyHostToDevice, stream_of(stream))

    def copy_to_host(self, mem: Any, size: int) -> None:
        """Copy bytes to an address in the null stream, and wait."""
        runtime.memcpy(address_of(mem), self.ptr, size, runtime.memcpyDeviceToHost)

    def copy_to_host_async(self, mem: Any, size: int, stream: Any = None) -> None:
        """Copy bytes to an address in a stream."""
        runtime.memcpyAsync(address_of(mem), self.ptr, size, runtime.memcpyDeviceToHost, stream_of(stream))

    def copy_from_device(self, src: "MemoryPointer", size: int) -> None:
        """Copy bytes from a device in the null stream."""
        runtime.memcpy(self.ptr, src.ptr, size, runtime.memcpyDefault)

    def copy_from_device_async(self, src: "MemoryPointer", size: int, stream: Any = None) -> None:
        """Copy bytes from a device in a stream."""
        runtime.memcpyAsync(self.ptr, src.ptr, size, runtime.memcpyDefault, stream_of(stream))

    def copy_from(self, mem: Any, size: int) -> None:
        """Copy bytes from anywhere in the null stream."""
        runtime.memcpy(self.ptr, address_of(mem), size, runtime.memcpyDefault)

    def copy_from_async(self, mem: Any, size: int, stream: Any = None) -> None:
        """Copy bytes from anywhere in a stream."""
        runtime.memcpyAsync(self.ptr, address_of(mem), size, runtime.memcpyDefault, stream_of(stream))

    def memset(self, value: int, size: int) -> None:
        """Set bytes in the null stream."""
        runtime.memset(self.ptr, value, size)

    def memset_async(self, value: int, size: int, stream: Any = None) -> None:
        """Set bytes in a stream."""
        runtime.memsetAsync(self.ptr, value, size, stream_of(stream))


def address_of(mem: Any) -> int:
    """Return the address that a number, a c_void_p or a pointer stands for."""
    return mem if isinstance(mem, int) else int(getattr(mem, "value", None) or mem)


def stream_of(stream: Any) -> int:
    """Return the pointer of a stream, else of the current one."""
    return int((stream or get_current_stream()).ptr)
