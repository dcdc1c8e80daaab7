"""The heat equation on a GPU: five-point Jacobi sweeps of a slab of rows, a whole grid or a part of one. Needs CuPy.

    new = old + 0.2 (north + south + west + east - 4 old), zeros around          the problem of parlab.mpi.heat, with the same bits

Step k reads array k % 2 and writes the other; a run takes an even number of steps, from array 0 to array 0.
"""

import cupy as cp
import numpy as np

from parlab.cuda.buffers import Host, address
from parlab.cuda.peers import launched
from parlab.cuda.streams import Do, Run, main

A = 0.2  # mesh ratio, no unit, as in parlab.mpi.heat; heat.cu has the same
BYTES_PER_POINT, FLOPS_PER_POINT = 16, 7  # least to be read and written; 4 additions, a subtraction, 2 multiplications
THREADS, ROWS = (64, 4), 4  # in a block, columns by rows; rows that each thread sweeps (as in heat.cu)
LINE = 16  # points in 128 bytes: every row begins at a whole line
BAND = 1024  # rows that are checked at a time

Steps = tuple[Do, Do]  # what issues the operation of an even step, and of an odd one


def padded(columns: int) -> int:
    """Return the points from row to row: the columns and their boundary, and padding up to a whole line."""
    return -(-(columns + 2) // LINE) * LINE


class Slab:
    """Rows `first` to `first + rows - 1` of the rows 1 to `total` inside the boundary of a grid, on one GPU.

    u: float64, shape (2, rows + 2, pitch): rows 0 and rows + 1 are boundary or halo, columns 0 and columns + 1 boundary, the rest padding.
    """

    def __init__(self, gpu: int, first: int, rows: int, total: int, columns: int) -> None:
        self.gpu, self.first, self.rows, self.total, self.columns = gpu, first, rows, total, columns
        self.pitch = padded(columns)
        with cp.cuda.Device(gpu):
            self.u = cp.empty((2, rows + 2, self.pitch))

    def row(self, array: int, i: int) -> int:
        """Return the address of a row."""
        return address(self.u) + 8 * self.pitch * ((self.rows + 2) * array + i)

    def load(self) -> None:
        """Start afresh: a value of its own for each point in array 0, its halo too, and NaN in array 1, which a step must replace.

        What was issued before is over then, and the start is there.
        """
        device = cp.cuda.Device(self.gpu)
        device.synchronize()
        for array in (0, 1):
            sizes = self.rows, self.columns, self.pitch, self.first, self.total, array
            self._launched("start", self.rows + 2, 1, [self.row(array, 0)], sizes)(cp.cuda.Stream.null)
        device.synchronize()

    def take(self, grid: Host) -> None:
        """Start from a grid in main memory, shape (total, columns): these rows of it and the halo in array 0, zeros around."""
        low, high = max(1, self.first - 1), min(self.total, self.first + self.rows)  # inner rows count from 1
        with cp.cuda.Device(self.gpu):
            cp.cuda.runtime.deviceSynchronize()
            self.u.fill(0)
            rows = slice(low - self.first + 1, high - self.first + 2)
            self.u[0, rows, 1 : self.columns + 1] = cp.asarray(grid[low - 1 : high])
            cp.cuda.runtime.deviceSynchronize()

    def points(self) -> Host:
        """Return the values of array 0, shape (rows, columns), in main memory; what was issued is over by then."""
        with cp.cuda.Device(self.gpu):
            cp.cuda.runtime.deviceSynchronize()
            found: Host = cp.asnumpy(self.u[0, 1 : self.rows + 1, 1 : self.columns + 1])
        return found

    def sweep(self, begin: int, end: int, other: "Slab | None" = None) -> Steps:
        """Return what sweeps rows begin to end - 1. other: on another GPU, whose nearest row is read in place of the halo."""

        def one(old: int) -> Do:
            above, below = self.row(old, 0), self.row(old, self.rows + 1)
            if other and other.first < self.first:
                above = other.row(old, other.rows)
            elif other:
                below = other.row(old, 1)
            arrays = [self.row(1 - old, 0), self.row(old, 0), above, below]
            return self._launched("sweep", end - begin, ROWS, arrays, (begin, end, self.rows, self.columns, self.pitch))

        return one(0), one(1)

    def carry(self) -> Steps:
        """Return what reads and writes all rows once, as a sweep must, and computes nothing."""

        def one(old: int) -> Do:
            arrays = [self.row(1 - old, 0), self.row(old, 0)]
            return self._launched("carry", self.rows, ROWS, arrays, (1, self.rows + 1, self.columns, self.pitch))

        return one(0), one(1)

    def _launched(self, name: str, rows: int, each: int, arrays: list[int], sizes: tuple[int, ...]) -> Do:
        """Return what launches a kernel on so many rows, `each` of them to a thread, and all columns, the boundary's too."""
        grid = -(-(self.columns + 2) // THREADS[0]), -(-rows // (THREADS[1] * each))
        return launched(self.gpu, name, grid, THREADS, *map(np.uint64, arrays), *map(np.int32, sizes))


def alone(slab: Slab, steps: int, each: Steps) -> Run:
    """Return a run of the first GPU by itself: so many times the same on main()."""

    def run() -> None:
        for k in range(steps):
            each[k % 2](main())

    return run


def serial(slab: Slab, steps: int) -> Run:
    """Return the run of one GPU that has the whole grid."""
    return alone(slab, steps, slab.sweep(1, slab.rows + 1))


def wrong(grid: Slab, run: Run) -> str | None:
    """Start afresh, do the run, say where its last step is not what CuPy's own arithmetic makes of the one before it. On the first GPU."""
    grid.load()
    run()
    main().synchronize()
    for top in range(1, grid.rows + 1, BAND):
        end = min(top + BAND, grid.rows + 1)
        new, old = grid.u[0, top:end], grid.u[1, top - 1 : end + 1]
        centre, west, east = (old[1:-1, j : j + grid.columns] for j in (1, 0, 2))
        north, south = (rows[:, 1 : grid.columns + 1] for rows in (old[:-2], old[2:]))
        expected = centre + A * (north + south + west + east - 4 * centre)
        found = int((new[:, 1 : grid.columns + 1] == expected).sum())  # a NaN equals nothing
        if found < expected.size:
            return f"{expected.size - found} points in rows {top} to {end - 1} are not those of CuPy"
    return None
