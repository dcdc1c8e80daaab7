"""Host memory that the GPU may copy from by itself, addresses, and copies that do not wait. Needs CuPy.

CuPy's own pool of pinned memory rounds every size up to a power of two, and `ndarray.get` waits unless told not to: here sizes are exact
and copies are cudaMemcpyAsync itself, which also may be captured into a graph.
"""

from typing import Any

import cupy as cp
import numpy as np
from numpy.typing import DTypeLike, NDArray

Host = NDArray[Any]
MEMORY_ALLOCATION = 2  # CUDA runtime API: cudaErrorMemoryAllocation
MAPPED, WRITE_COMBINED = cp.cuda.runtime.hostAllocMapped, cp.cuda.runtime.hostAllocWriteCombined


def pinned(count: int, dtype: DTypeLike = np.float32, flags: int = 0) -> Host:
    """Return `count` elements of page-locked memory, not initialised. flags: MAPPED, WRITE_COMBINED.

    It is freed with the last array that looks into it. MemoryError where the system locks no more.
    """
    nbytes = count * np.dtype(dtype).itemsize
    try:
        memory = cp.cuda.PinnedMemory(nbytes, flags)
    except cp.cuda.runtime.CUDARuntimeError as error:
        if error.status != MEMORY_ALLOCATION:
            raise
        raise MemoryError(
            f"the system does not lock {nbytes} bytes of the host's memory: a smaller --budget needs less"
        ) from None
    return np.frombuffer(cp.cuda.PinnedMemoryPointer(memory, 0), dtype, count)


def address(array: Any) -> int:
    """Return where an array begins, on the host or on the GPU; a pinned array's address is good on both."""
    return int(array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr)


def seen_by_gpu(host: Host) -> Any:
    """Return pinned memory as an array of the GPU, whose kernels read and write it over the link."""
    memory = cp.cuda.UnownedMemory(address(host), host.nbytes, host)
    return cp.ndarray(host.shape, host.dtype, cp.cuda.MemoryPointer(memory, 0))


def copy_in(device: Any, host: Host, stream: Any) -> None:
    """Issue a copy to the GPU: all of `host`, to the beginning of `device`. It is asynchronous where the host's memory is pinned."""
    cp.cuda.runtime.memcpyAsync(
        address(device), address(host), host.nbytes, cp.cuda.runtime.memcpyHostToDevice, stream.ptr
    )


def copy_out(host: Host, device: Any, stream: Any) -> None:
    """Issue a copy to the host: as much as fills `host`, from the beginning of `device`."""
    cp.cuda.runtime.memcpyAsync(
        address(host), address(device), host.nbytes, cp.cuda.runtime.memcpyDeviceToHost, stream.ptr
    )
