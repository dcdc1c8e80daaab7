"""What the stand-in has of the driver: the launch by address."""

import ctypes

from .._errors import CUDADriverError as CUDADriverError
from .._functions import functions
from ._events import queue_of


def launchKernel(
    f: int,
    grid_dim_x: int,
    grid_dim_y: int,
    grid_dim_z: int,
    block_dim_x: int,
    block_dim_y: int,
    block_dim_z: int,
    shared_mem_bytes: int,
    stream: int,
    kernel_params: int,
    extra: int,
) -> None:
    """Launch a function (`RawKernel.kernel.ptr`); kernel_params: the address of the addresses of its arguments."""
    function = functions[f]
    addresses = (ctypes.c_void_p * len(function.sizes)).from_address(kernel_params)
    dimensions = grid_dim_x, grid_dim_y, grid_dim_z, block_dim_x, block_dim_y, block_dim_z
    function.launch(dimensions, queue_of(stream), [address or 0 for address in addresses])
