"""Matrix multiplication c = a b with a block of c kept in registers over a whole loop: what the plain loops do not do.

a, b, c: C-contiguous float64 (n, n), n a multiple of 16; c is overwritten. Each thread computes some rows of c.

A plain loop loads and stores an element of c for every multiplication, and the first cache cannot bring more than a fraction of what
the arithmetic takes. A block of r x s elements of c needs r elements of a and s of b for r s multiplications, and nothing else:

`dots`     4 x 4 scalars, in plain Numba: four rows of a times four columns of b. `fastmath` lets the compiler add along k with vectors.
`packed`   8 x 16, in 16 vector registers (parlab.openmp_like.vectors). a and b are copied piece by piece into the very order in which
           they are read (packed), so that no line is fetched twice and no row lies a power of two behind the one before.

Around it, as in a BLAS: a piece of b that is DEPTH deep is packed by all threads together and stays in the last cache; a thread's piece of
a, ROWS high, in the second; 16 columns of b in the first.

`blas` is the library on the same threads: each calls it for its rows. The library must be limited to one thread of its own.

Source: K. Goto, R. van de Geijn, Anatomy of high-performance matrix multiplication, ACM TOMS 34(3), 2008.
"""

from typing import Any

import numpy as np
from numba import njit, prange

from parlab.openmp_like.vectors import fma, load, store, zeros

DEPTH = 512  # along k: 8 rows and 16 columns of that depth take 96 KiB, of which the first cache holds the part in use
ROWS = 64  # of a packed at a time: 256 KiB
HIGH, WIDE = 8, 16  # the block of c in registers: 16 vectors, of 32 that AVX-512 has

Array = np.ndarray[Any, np.dtype[np.float64]]


def workspace(n: int, threads: int) -> tuple[Array, Array]:
    """Return room for the packed pieces of a, one for each thread, and of b. ValueError unless n is a multiple of 16."""
    if n % WIDE:
        raise ValueError(f"n must be a multiple of {WIDE}, the width of the block in registers, not {n}")
    depth = min(n, DEPTH)
    return np.zeros((threads, ROWS // HIGH, depth, HIGH)), np.zeros((n // WIDE, depth, WIDE))


@njit(parallel=True, cache=True)
def dots(a: Any, b: Any, c: Any, columns: Any, threads: int) -> None:
    """Multiply with 4 x 4 scalars; columns: float64[n, min(n, DEPTH)], room for the columns of b, each to be read along k."""
    n = a.shape[0]
    c[:] = 0.0
    for k0 in range(0, n, DEPTH):
        depth = min(DEPTH, n - k0)
        for j in prange(n):
            for k in range(depth):
                columns[j, k] = b[k0 + k, j]
        for lane in prange(threads):
            first, last = lane * (n // 4) // threads * 4, (lane + 1) * (n // 4) // threads * 4
            for i0 in range(first, last, ROWS):
                for j in range(0, n, 4):
                    for i in range(i0, min(i0 + ROWS, last), 4):
                        dot4x4(a, i, k0, columns, j, depth, c)


@njit(fastmath=True, cache=True)
def dot4x4(a: Any, i: int, k0: int, columns: Any, j: int, depth: int, c: Any) -> None:
    """Multiply four rows of a, from row i, with four columns of b, and add the 16 products to c."""
    a0, a1 = a[i, k0 : k0 + depth], a[i + 1, k0 : k0 + depth]
    a2, a3 = a[i + 2, k0 : k0 + depth], a[i + 3, k0 : k0 + depth]
    b0, b1, b2, b3 = columns[j], columns[j + 1], columns[j + 2], columns[j + 3]
    c00 = c01 = c02 = c03 = c10 = c11 = c12 = c13 = c20 = c21 = c22 = c23 = c30 = c31 = c32 = c33 = 0.0
    for k in range(depth):
        c00, c01, c02, c03 = c00 + a0[k] * b0[k], c01 + a0[k] * b1[k], c02 + a0[k] * b2[k], c03 + a0[k] * b3[k]
        c10, c11, c12, c13 = c10 + a1[k] * b0[k], c11 + a1[k] * b1[k], c12 + a1[k] * b2[k], c13 + a1[k] * b3[k]
        c20, c21, c22, c23 = c20 + a2[k] * b0[k], c21 + a2[k] * b1[k], c22 + a2[k] * b2[k], c23 + a2[k] * b3[k]
        c30, c31, c32, c33 = c30 + a3[k] * b0[k], c31 + a3[k] * b1[k], c32 + a3[k] * b2[k], c33 + a3[k] * b3[k]
    products = ((c00, c01, c02, c03), (c10, c11, c12, c13), (c20, c21, c22, c23), (c30, c31, c32, c33))
    for r in range(4):
        for s in range(4):
            c[i + r, j + s] += products[r][s]


@njit(parallel=True, cache=True)
def packed(a: Any, b: Any, c: Any, packed_a: Any, packed_b: Any) -> None:
    """Multiply with 8 x 16 blocks in vector registers; packed_a, packed_b: from `workspace`."""
    n, threads = a.shape[0], packed_a.shape[0]
    for k0 in range(0, n, DEPTH):
        depth = min(DEPTH, n - k0)
        for j in prange(n // WIDE):
            pack_columns(b, j, k0, depth, packed_b)
        for lane in prange(threads):
            first, last = lane * (n // HIGH) // threads * HIGH, (lane + 1) * (n // HIGH) // threads * HIGH
            for i0 in range(first, last, ROWS):
                rows = min(ROWS, last - i0)
                pack_rows(a, i0, rows, k0, depth, packed_a, lane)
                for j in range(n // WIDE):
                    for i in range(rows // HIGH):
                        block(packed_a, lane, i, packed_b, j, depth, c, i0 + i * HIGH, k0 == 0)


@njit(cache=True)
def pack_columns(b: Any, j: int, k0: int, depth: int, packed_b: Any) -> None:
    """Copy the j-th 16 columns of b, rows k0 to k0 + depth, to packed_b[j]."""
    for k in range(depth):
        store(packed_b, (j, k, 0), load(b, (k0 + k, j * WIDE)))
        store(packed_b, (j, k, 8), load(b, (k0 + k, j * WIDE + 8)))


@njit(cache=True)
def pack_rows(a: Any, i0: int, rows: int, k0: int, depth: int, packed_a: Any, lane: int) -> None:
    """Copy `rows` rows of a from i0, columns k0 to k0 + depth, to packed_a[lane], 8 rows side by side."""
    for i in range(rows // HIGH):
        for k in range(depth):
            for r in range(HIGH):
                packed_a[lane, i, k, r] = a[i0 + i * HIGH + r, k0 + k]


@njit(cache=True)
def block(packed_a: Any, lane: int, i: int, packed_b: Any, j: int, depth: int, c: Any, row: int, first: bool) -> None:
    """Multiply 8 rows of a by 16 columns of b and write the product to c from `row` on, or add it to what is there."""
    c0 = c1 = c2 = c3 = c4 = c5 = c6 = c7 = d0 = d1 = d2 = d3 = d4 = d5 = d6 = d7 = zeros(packed_b)
    for k in range(depth):
        left, right = load(packed_b, (j, k, 0)), load(packed_b, (j, k, 8))
        x = packed_a[lane, i, k]
        c0, d0 = fma(x[0], left, c0), fma(x[0], right, d0)
        c1, d1 = fma(x[1], left, c1), fma(x[1], right, d1)
        c2, d2 = fma(x[2], left, c2), fma(x[2], right, d2)
        c3, d3 = fma(x[3], left, c3), fma(x[3], right, d3)
        c4, d4 = fma(x[4], left, c4), fma(x[4], right, d4)
        c5, d5 = fma(x[5], left, c5), fma(x[5], right, d5)
        c6, d6 = fma(x[6], left, c6), fma(x[6], right, d6)
        c7, d7 = fma(x[7], left, c7), fma(x[7], right, d7)
    rows = ((c0, d0), (c1, d1), (c2, d2), (c3, d3), (c4, d4), (c5, d5), (c6, d6), (c7, d7))
    for r in range(HIGH):
        put(c, row + r, j * WIDE, rows[r][0], first)
        put(c, row + r, j * WIDE + 8, rows[r][1], first)


@njit(cache=True)
def put(c: Any, i: int, j: int, vector: Any, first: bool) -> None:
    """Write a vector to c, or add it to what is there."""
    if first:
        store(c, (i, j), vector)
    else:
        store(c, (i, j), fma(1.0, load(c, (i, j)), vector))


@njit(parallel=True, cache=True)
def blas(a: Any, b: Any, c: Any, threads: int) -> None:
    """Let each thread call the library's dgemm for its rows."""
    n = a.shape[0]
    for lane in prange(threads):
        rows = slice(lane * n // threads, (lane + 1) * n // threads)
        np.dot(a[rows], b, c[rows])
