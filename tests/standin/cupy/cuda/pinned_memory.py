"""Pinned host memory, as cupy.cuda.pinned_memory has it; its pointers are buffers, so np.frombuffer(pointer, dtype, count) works."""

import ctypes
import sys
from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from .._machine import machine
from .._memory import UNIT
from . import runtime


class PinnedMemory:
    """Pinned memory of its own: bytes, cudaHostAlloc's flags."""

    def __init__(self, size: int, flags: int = 0) -> None:
        self.size = size
        self.ptr = runtime.hostAlloc(size, flags) if size else 0

    def __int__(self) -> int:
        return self.ptr

    def __del__(self) -> None:
        """Give it back, after all that was issued."""
        if self.ptr and not sys.is_finalizing():
            machine.finalize(partial(runtime.freeHost, self.ptr))


class PinnedMemoryPointer:
    """A place in pinned memory, and a buffer of all bytes from there on."""

    mem: Any
    ptr: int

    if TYPE_CHECKING:  # what its being a ctypes array brings

        def __buffer__(self, flags: int, /) -> memoryview: ...

    def __new__(cls, mem: Any, offset: int) -> "PinnedMemoryPointer":
        """Make a ctypes array where the memory is: before Python 3.12 nothing else is a buffer."""
        made: PinnedMemoryPointer = _array_of(mem.size - offset).from_address(mem.ptr + offset)
        made.mem, made.ptr = mem, mem.ptr + offset
        return made

    def __init__(self, mem: Any, offset: int) -> None:
        """All is done: an array's own __init__ would take the arguments for its elements."""

    def __int__(self) -> int:
        return self.ptr

    def __add__(self, offset: int) -> "PinnedMemoryPointer":
        return PinnedMemoryPointer(self.mem, self.ptr - self.mem.ptr + offset)

    def __sub__(self, offset: int) -> "PinnedMemoryPointer":
        return self + -offset

    def size(self) -> int:
        """Return the bytes from here to the end."""
        return int(self.mem.size - (self.ptr - self.mem.ptr))


@cache
def _array_of(size: int) -> Any:
    return type("PinnedMemoryPointer", (PinnedMemoryPointer, ctypes.c_byte * size), {})


class PooledPinnedMemory:
    """Pinned memory that goes back to its pool."""

    def __init__(self, mem: Any, pool: "PinnedMemoryPool") -> None:
        self.ptr, self.size, self._mem, self._pool = mem.ptr, mem.size, mem, pool

    def __del__(self) -> None:
        """Give it back, at once: copies that still run are the program's affair."""
        self._pool.blocks.setdefault(self.size, []).append(self._mem)


class PinnedMemoryPool:
    """A pool over an allocator (bytes to pointer; else cudaHostAlloc). blocks: what nobody uses, by size."""

    def __init__(self, allocator: Callable[[int], PinnedMemoryPointer] | None = None) -> None:
        self.blocks: dict[int, list[Any]] = {}
        self._allocator = allocator or _malloc

    def malloc(self, size: int) -> PinnedMemoryPointer:
        """Return at least `size` bytes."""
        if not size:
            return _malloc(0)
        size = -(-size // UNIT) * UNIT
        free = self.blocks.get(size)
        mem = free.pop() if free else self._allocator(size).mem
        return PinnedMemoryPointer(PooledPinnedMemory(mem, self), 0)

    def free_all_blocks(self) -> None:
        """Free what nobody uses."""
        self.blocks.clear()

    def n_free_blocks(self) -> int:
        """Return how many blocks nobody uses."""
        return sum(map(len, self.blocks.values()))


def _malloc(size: int) -> PinnedMemoryPointer:
    return PinnedMemoryPointer(PinnedMemory(size, runtime.hostAllocPortable), 0)


def alloc_pinned_memory(size: int) -> PinnedMemoryPointer:
    """Return pinned memory from the current allocator."""
    return _current[0](size)


def set_pinned_memory_allocator(allocator: Callable[[int], PinnedMemoryPointer] | None = None) -> None:
    """Set the allocator (bytes to pointer); None: cudaHostAlloc for each."""
    _current[0] = allocator or _malloc


default_pool = PinnedMemoryPool()
_current: list[Callable[[int], PinnedMemoryPointer]] = [default_pool.malloc]
