"""What the stand-in has of cupyx: arrays in pinned memory."""

from typing import Any

import numpy as np
from cupy import cuda

Host = np.ndarray[Any, Any]


def empty_pinned(shape: int | tuple[int, ...], dtype: Any = float, order: Any = "C") -> Host:
    """Return a NumPy array in pinned memory."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.ndarray(shape, dtype, cuda.alloc_pinned_memory(size), order=order)


def zeros_pinned(shape: int | tuple[int, ...], dtype: Any = float, order: Any = "C") -> Host:
    """Return zeros in pinned memory."""
    made = empty_pinned(shape, dtype, order)
    made[...] = 0
    return made


def empty_like_pinned(a: Any, dtype: Any = None) -> Host:
    """Return an array of another's shape and type in pinned memory."""
    return empty_pinned(a.shape, dtype or a.dtype)


def zeros_like_pinned(a: Any, dtype: Any = None) -> Host:
    """Return zeros of another's shape and type in pinned memory."""
    return zeros_pinned(a.shape, dtype or a.dtype)
