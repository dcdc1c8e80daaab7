"""What the stand-in has of cupy.cuda."""

from .. import _functions as compiler
from .._graphs import Graph
from . import device, driver, memory, pinned_memory, runtime, stream
from .device import Device
from .memory import (
    BaseMemory,
    Memory,
    MemoryAsync,
    MemoryAsyncPool,
    MemoryPointer,
    MemoryPool,
    UnownedMemory,
    alloc,
    get_allocator,
    malloc_async,
    set_allocator,
    using_allocator,
)
from .pinned_memory import (
    PinnedMemory,
    PinnedMemoryPointer,
    PinnedMemoryPool,
    alloc_pinned_memory,
    set_pinned_memory_allocator,
)
from .stream import Event, Stream, get_current_stream, get_elapsed_time


def is_available() -> bool:
    """Tell whether there is a device: the stand-in's."""
    return True


def get_device_id() -> int:
    """Return the number of the current device."""
    return runtime.getDevice()


def get_local_runtime_version() -> int:
    """Return the CUDA version."""
    return runtime.runtimeGetVersion()


__all__ = [
    "BaseMemory",
    "Device",
    "Event",
    "Graph",
    "Memory",
    "MemoryAsync",
    "MemoryAsyncPool",
    "MemoryPointer",
    "MemoryPool",
    "PinnedMemory",
    "PinnedMemoryPointer",
    "PinnedMemoryPool",
    "Stream",
    "UnownedMemory",
    "alloc",
    "alloc_pinned_memory",
    "compiler",
    "device",
    "driver",
    "get_allocator",
    "get_current_stream",
    "get_device_id",
    "get_elapsed_time",
    "get_local_runtime_version",
    "is_available",
    "malloc_async",
    "memory",
    "pinned_memory",
    "runtime",
    "set_allocator",
    "set_pinned_memory_allocator",
    "stream",
    "using_allocator",
]
