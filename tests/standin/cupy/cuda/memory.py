"""The pools that hand device memory out, as cupy.cuda.memory has them.

A pool keeps what it gets back and hands it out again to the stream that had it: as in CuPy, who uses memory in other streams than the one
it was allocated in must see to it that they are done before he lets go of it.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .._errors import CUDARuntimeError
from .._errors import OutOfMemoryError as OutOfMemoryError
from .._memory import UNIT, memory
from . import runtime
from ._blocks import BaseMemory as BaseMemory
from ._blocks import Memory as Memory
from ._blocks import MemoryAsync as MemoryAsync
from ._blocks import MemoryPointer as MemoryPointer
from ._blocks import UnownedMemory as UnownedMemory
from ._blocks import stream_of
from ._events import here


class PooledMemory(BaseMemory):
    """Memory that goes back to its pool."""

    def __init__(self, pool: "MemoryPool", key: tuple[int, int, int], mem: BaseMemory) -> None:
        self._pool, self._key, self._mem = pool, key, mem
        self.ptr, self.size, self.device_id = mem.ptr, mem.size, mem.device_id

    def free(self) -> None:
        """Give it back."""
        if self.ptr and not sys.is_finalizing():
            self._pool.take_back(self._key, self._mem)
        self.ptr = 0

    __del__ = free


class MemoryPool:
    """A pool over an allocator (bytes to pointer; else cudaMalloc): what came back is handed out again, by device, stream and size."""

    def __init__(self, allocator: Callable[[int], MemoryPointer] | None = None) -> None:
        self._allocator = allocator or malloc
        self._free: dict[tuple[int, int, int], list[BaseMemory]] = {}
        self._used = self._limit = 0

    def malloc(self, size: int) -> MemoryPointer:
        """Return `size` bytes of the current device, for the current stream. OutOfMemoryError where there are none."""
        if not size:
            return MemoryPointer(Memory(0), 0)
        size = -(-size // UNIT) * UNIT
        key = (here.device, stream_of(None), size)
        free = self._free.get(key)
        mem = free.pop() if free else self._more(size)
        self._used += size
        return MemoryPointer(PooledMemory(self, key, mem), 0)

    def _more(self, size: int) -> BaseMemory:
        if self._limit and self.total_bytes() + size > self._limit:
            self.free_all_blocks()
        if self._limit and self.total_bytes() + size > self._limit:
            raise OutOfMemoryError(size, self.total_bytes(), self._limit)
        for _ in range(2):
            try:
                return self._allocator(size).mem
            except CUDARuntimeError as error:
                if error.status != runtime.errorMemoryAllocation:
                    raise
                self.free_all_blocks()
        raise OutOfMemoryError(size, self.total_bytes(), self._limit)

    def take_back(self, key: tuple[int, int, int], mem: BaseMemory) -> None:
        """Have memory again."""
        self._used -= key[2]
        self._free.setdefault(key, []).append(mem)

    def free_all_blocks(self, stream: Any = None) -> None:
        """Free what nobody uses."""
        self._free.clear()

    def n_free_blocks(self) -> int:
        """Return how many blocks nobody uses."""
        return sum(map(len, self._free.values()))

    def used_bytes(self) -> int:
        """Return the bytes handed out."""
        return self._used

    def free_bytes(self) -> int:
        """Return the bytes that nobody uses."""
        return sum(size * len(blocks) for (_, _, size), blocks in self._free.items())

    def total_bytes(self) -> int:
        """Return both."""
        return self._used + self.free_bytes()

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        """Set how many bytes the pool may have; 0: as many as there are."""
        self._limit = size if size is not None else int((fraction or 0) * memory.total)

    def get_limit(self) -> int:
        """Return the limit in bytes."""
        return self._limit


class MemoryAsyncPool:
    """CUDA's own pool: memory in the order of the stream that is current. OutOfMemoryError where there is none."""

    def __init__(self, pool_handles: Any = "current") -> None:
        self.pool_handles = pool_handles

    def malloc(self, size: int) -> MemoryPointer:
        """Return `size` bytes."""
        try:
            return malloc_async(size)
        except CUDARuntimeError as error:
            if error.status != runtime.errorMemoryAllocation:
                raise
            raise OutOfMemoryError(size, -1) from error


def malloc(size: int) -> MemoryPointer:
    """Return memory by cudaMalloc."""
    return MemoryPointer(Memory(size), 0)


def malloc_async(size: int) -> MemoryPointer:
    """Return memory by cudaMallocAsync, in the current stream."""
    return MemoryPointer(MemoryAsync(size, stream_of(None)), 0)


def alloc(size: int) -> MemoryPointer:
    """Return memory from the current allocator."""
    return get_allocator()(size)


def get_allocator() -> Callable[[int], MemoryPointer]:
    """Return the current allocator."""
    return _inner[-1] if _inner else _current[0]


def set_allocator(allocator: Callable[[int], MemoryPointer] | None = None) -> None:
    """Set the allocator (bytes to pointer); None: cudaMalloc for each."""
    if _inner:
        raise ValueError("Can't change the global allocator inside `using_allocator` context manager")
    _current[0] = allocator or malloc


@contextmanager
def using_allocator(allocator: Callable[[int], MemoryPointer] | None = None) -> Iterator[None]:
    """Ask another allocator for a while."""
    _inner.append(allocator or malloc)
    try:
        yield
    finally:
        _inner.pop()


default_pool = MemoryPool()
_current: list[Callable[[int], MemoryPointer]] = [default_pool.malloc]
_inner: list[Callable[[int], MemoryPointer]] = []
