"""The mistakes that silently end the overlap of copies and kernels: each a few lines in the body of a loop that is right. Needs CuPy.

    run = program(problem, KILLERS["blocking get"])     # slow, not wrong

The legacy default stream waits for all blocking streams, and they for it. What CuPy does without a stream named goes there, or, with
CUPY_CUDA_PER_THREAD_DEFAULT_STREAM=1, to a default stream of the thread, which leaves other streams alone.
Sources: CUDA Runtime API, Stream synchronization behavior and API synchronization behavior; CuPy, User Guide, Memory Management.
"""

from functools import cache
from typing import Any

import cupy as cp
import numpy as np

from parlab.cuda.buffers import Host, address, pinned
from parlab.cuda.chunk_loop import Chunk, Way, checked, overlapped, program
from parlab.cuda.pipelines import Problem
from parlab.cuda.transfers import by_engine


def blocking_get(chunk: Chunk) -> None:
    """Copy back by `get`, which waits unless it is told blocking=False."""
    chunk.h2d()
    chunk.kernel()
    chunk.do("d2h", lambda stream: chunk.made.get(stream=stream, out=chunk.result))


def device_synchronize(chunk: Chunk) -> None:
    """Wait for the whole GPU after each chunk, to be on the safe side."""
    overlapped(chunk)
    cp.cuda.runtime.deviceSynchronize()


def event_synchronize(chunk: Chunk) -> None:
    """Let the host wait for the end of the chunk, where a stream could."""
    overlapped(chunk)
    chunk.stream.record().synchronize()


def read_value(chunk: Chunk) -> None:
    """Look at one element of the result, to print it: the host waits for it."""
    overlapped(chunk)

    def read(stream: Any) -> None:
        with stream:
            float(chunk.made[0])

    chunk.do("d2h", read)


@cache
def _setting() -> tuple[Any, Host]:
    return cp.empty(1, np.float32), pinned(1)


def copy_on_default(chunk: Chunk) -> None:
    """First copy a number that the chunk needs, 4 bytes, in the current stream: nobody chose one, so it is the default stream."""
    chunk.do("h2d", by_engine(*_setting()), cp.cuda.get_current_stream())
    overlapped(chunk)


def kernel_on_default(chunk: Chunk) -> None:
    """Forget `stream=` at the kernel. Blocking streams wait for it; others do not, and the result is wrong."""
    chunk.h2d()
    chunk.do("kernel", chunk.stages["kernel"], cp.cuda.get_current_stream())
    chunk.d2h()


def memset(chunk: Chunk) -> None:
    """First set the output to 0 by cudaMemset, which knows no stream."""
    where = address(chunk.made), 0, chunk.made.nbytes
    chunk.do("kernel", lambda stream: cp.cuda.runtime.memset(*where), cp.cuda.Stream.null)
    overlapped(chunk)


def memset_async(chunk: Chunk) -> None:
    """Do the same in the chunk's stream."""
    where = address(chunk.made), 0, chunk.made.nbytes
    chunk.do("kernel", lambda stream: cp.cuda.runtime.memsetAsync(*where, stream.ptr))
    overlapped(chunk)


def allocating(chunk: Chunk, allocator: Any) -> None:
    """Take memory for the chunk's input from an allocator, and give it back when all is issued: the stream is not there yet."""
    with chunk.stream, cp.cuda.using_allocator(allocator):
        given = cp.empty(chunk.count, np.float32)
        chunk.through(given)


def malloc(chunk: Chunk) -> None:
    """Allocate by cudaMalloc; cudaFree waits for the GPU."""
    allocating(chunk, None)


def pool(chunk: Chunk) -> None:
    """Allocate from CuPy's pool, which hands out again what it got back, to the same stream."""
    allocating(chunk, cp.get_default_memory_pool().malloc)


def cold_pool(chunk: Chunk) -> None:
    """Do the same with an empty pool, as a program's first pass finds it: each stream's first chunk needs cudaMalloc."""
    if chunk.number == 0:
        cp.get_default_memory_pool().free_all_blocks()
    pool(chunk)


def asynchronous_pool(chunk: Chunk) -> None:
    """Allocate by cudaMallocAsync, in the order of the stream; the device's pool gives its memory back whenever the host has waited."""
    allocating(chunk, cp.cuda.malloc_async)


def _told(number: int) -> None:
    """Take note of a chunk; it may not call CUDA."""


def host_callback(chunk: Chunk) -> None:
    """Have the host told that the chunk is done: the stream goes on when the host's function has returned."""
    overlapped(chunk)
    chunk.do("callback", lambda stream: stream.launch_host_func(_told, chunk.number))


KILLERS = {
    "blocking get": Way((blocking_get,)),
    "deviceSynchronize": Way((device_synchronize,)),
    "event.synchronize": Way((event_synchronize,)),
    "value read": Way((read_value,)),
    "blocking streams": Way((overlapped,), blocking=True),
    "copy on default stream": Way((copy_on_default,), blocking=True),
    "copy on default, non-blocking": Way((copy_on_default,)),
    "kernel on default stream": Way((kernel_on_default,), blocking=True),
    "memset": Way((memset,), blocking=True),
    "memsetAsync": Way((memset_async,)),
    "cudaMalloc": Way((malloc,)),
    "pool": Way((pool,)),
    "pool, cold": Way((cold_pool,)),
    "asynchronous pool": Way((asynchronous_pool,)),
    "host callback": Way((host_callback,)),
    "stage by stage": Way((Chunk.h2d, Chunk.kernel, Chunk.d2h)),
}


def without_the_wait(problem: Problem) -> str | None:
    """Forget `stream=` where the streams do not wait for the default stream; say what is wrong, None where luck had it right."""
    return checked(problem, program(problem, Way((kernel_on_default,))))
