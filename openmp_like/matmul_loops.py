"""Matrix multiplication c = a b by plain loops: the same n^3 multiplications and additions in other orders.

a, b, c: C-contiguous float64 (n, n); c is overwritten. Each thread computes some rows of c. tile: divides n.

What differs is how often an element is used while it is near. `ijk` walks down the columns of b: each element brings a whole cache
line, of which 8 bytes are used, and every addition waits for the one before. `ikj` walks along rows, so the compiler computes 8 elements
in one instruction; it reads all of b again for every row of c, and loads and stores c for every k. A tile of b stays in the second
cache while all rows of a thread use it. `tiled_by_index` does that and is slower nevertheless: Numba, like Python, lets a negative index
count from the end, cannot know that k0 and j0 never are, and so tests each index; with the test no vector instruction can be used.
`tiled_by_slices` cuts the rows out before the innermost loop, in which j then begins at 0.

Source: M. Lam, E. Rothberg, M. Wolf, The cache performance and optimizations of blocked algorithms, ASPLOS 1991.
"""

from typing import Any

from numba import njit, prange


@njit(parallel=True, cache=True)
def ijk(a: Any, b: Any, c: Any) -> None:
    """Compute the elements of c one after the other, each as a row of a times a column of b."""
    n = a.shape[0]
    for i in prange(n):
        for j in range(n):
            total = 0.0
            for k in range(n):
                total += a[i, k] * b[k, j]
            c[i, j] = total


@njit(parallel=True, cache=True)
def ikj(a: Any, b: Any, c: Any) -> None:
    """Add multiples of the rows of b to a row of c."""
    n = a.shape[0]
    for i in prange(n):
        c[i, :] = 0.0
        for k in range(n):
            factor = a[i, k]
            for j in range(n):
                c[i, j] += factor * b[k, j]


@njit(parallel=True, cache=True)
def tiled_by_index(a: Any, b: Any, c: Any, tile: int, threads: int) -> None:
    """Do so for one tile of b after the other, as it is written in C."""
    n = a.shape[0]
    for lane in prange(threads):
        first, last = lane * n // threads, (lane + 1) * n // threads
        c[first:last] = 0.0
        for k0 in range(0, n, tile):
            for j0 in range(0, n, tile):
                for i in range(first, last):
                    for k in range(k0, k0 + tile):
                        factor = a[i, k]
                        for j in range(j0, j0 + tile):
                            c[i, j] += factor * b[k, j]


@njit(parallel=True, cache=True)
def tiled_by_slices(a: Any, b: Any, c: Any, tile: int, threads: int) -> None:
    """Do so for one tile of b after the other, on rows cut out of c and of the tile."""
    n = a.shape[0]
    for lane in prange(threads):
        first, last = lane * n // threads, (lane + 1) * n // threads
        c[first:last] = 0.0
        for k0 in range(0, n, tile):
            for j0 in range(0, n, tile):
                for i in range(first, last):
                    into = c[i, j0 : j0 + tile]
                    for k in range(k0, k0 + tile):
                        factor, row = a[i, k], b[k, j0 : j0 + tile]
                        for j in range(tile):
                            into[j] += factor * row[j]
