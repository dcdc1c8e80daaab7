"""The arguments of a collective, and how a vector is cut into one block per rank."""

from itertools import pairwise
from typing import Any, TypeAlias

import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]  # C-contiguous; axis 0 counts the elements, the other axes are inside one element
Buffer: TypeAlias = Any  # an Array; MPI.IN_PLACE where MPI allows it; None on the ranks where MPI ignores the argument


def edges(count: int, p: int) -> list[int]:
    """Return the p + 1 boundaries of p blocks of `count` elements, cut as np.array_split: the first longer by 1."""
    size, longer = divmod(count, p)
    return [block * size + min(block, longer) for block in range(p + 1)]


def cut(x: Array, boundaries: list[int]) -> list[Array]:
    """Return x cut along axis 0 at the boundaries, as views."""
    return [x[start:stop] for start, stop in pairwise(boundaries)]
