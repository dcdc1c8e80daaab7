"""The heat equation in tensors, on the CPU or on a GPU: as NumPy would do it, one operation after the other for the whole grid.

    new = old + 0.2 (north + south + west + east - 4 old), zeros around        the problem of parlab.mpi.heat

The operations and their order are those of the loop. torch promises no more than that each is rounded to the nearest: it may fuse two of
them, so results are compared up to a rounding or two for each step. On the CPU they were equal to the bit wherever we looked.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

A = 0.2  # mesh ratio, no unit, as in parlab.mpi.heat

Grid = np.ndarray[Any, np.dtype[np.float64]]


def sweep(old: Tensor, new: Tensor) -> None:
    """One sweep over the inner points, from old into new: float64, of one shape, the outermost rows and columns are boundary."""
    centre, out = old[1:-1, 1:-1], new[1:-1, 1:-1]
    torch.add(old[:-2, 1:-1], old[2:, 1:-1], out=out)
    out += old[1:-1, :-2]
    out += old[1:-1, 2:]
    out -= 4 * centre
    out *= A
    out += centre


class Plate:
    """n x m points inside a boundary of zeros, as two tensors on a device: each step reads one and writes the other.

    u: float64, shape (2, n + 2, m + 2); u[now] is the present.
    """

    def __init__(self, n: int, m: int, device: str = "cpu") -> None:
        self.u, self.now = torch.zeros((2, n + 2, m + 2), dtype=torch.float64, device=device), 0

    def load(self, start: Grid) -> None:
        """Start afresh from the values of all points, shape (n, m), in main memory."""
        self.now = 0
        self.u[0, 1:-1, 1:-1] = torch.from_numpy(start)

    def advance(self, steps: int) -> None:
        """Do so many time steps; on a GPU they are issued, and done later."""
        for _ in range(steps):
            sweep(self.u[self.now], self.u[1 - self.now])
            self.now = 1 - self.now

    def points(self) -> Grid:
        """Return the present values, shape (n, m), in main memory."""
        found: Grid = self.u[self.now, 1:-1, 1:-1].cpu().numpy()
        return found


def start_threads(count: int) -> None:
    """Let torch use so many threads of this process, and start them.

    They may run where the calling thread may at this moment: a program that pins itself to a core later leaves them free.
    """
    torch.set_num_threads(count)
    torch.zeros(1 << 20).add_(1)
