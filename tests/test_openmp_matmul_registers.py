"""The blocks in registers give the product for every split of rows, depth and threads, and stay in registers."""

import platform
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest

from parlab.openmp_like import matmul_registers
from parlab.openmp_like.assembly import inner_loops

Way = Callable[[Any, Any, Any, int], Any]


def packed(a: Any, b: Any, c: Any, threads: int) -> None:
    matmul_registers.packed(a, b, c, *matmul_registers.workspace(a.shape[0], threads))


def dots(a: Any, b: Any, c: Any, threads: int) -> None:
    room = matmul_registers.workspace(a.shape[0], threads)[1]
    matmul_registers.dots(a, b, c, room.reshape(a.shape[0], -1), threads)


@pytest.fixture(autouse=True)
def _two_threads() -> None:
    numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))


@pytest.mark.parametrize("way", [packed, dots, matmul_registers.blas])
@pytest.mark.parametrize(
    ("n", "threads"),
    [
        (16, 1),
        (16, 3),  # fewer rows of blocks than threads
        (80, 1),  # more rows than are packed at a time, and not a multiple
        (144, 2),
        (144, 5),
        (528, 2),  # deeper than one packed piece
    ],
)
def test_the_product_is_exact_and_overwrites_what_was_there(way: Way, n: int, threads: int) -> None:
    a, b = np.random.default_rng(n).integers(-9, 9, (2, n, n)).astype(np.float64)  # whole numbers: every order is exact
    c = np.full((n, n), np.nan)
    for _ in range(2):  # the workspace and c hold old numbers the second time
        way(a, b, c, threads)
        assert np.array_equal(c, a @ b)


def test_a_size_that_the_block_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        matmul_registers.workspace(24, 1)


def test_packing_puts_side_by_side_what_is_read_together() -> None:
    n = 32
    a = np.arange(n * n, dtype=np.float64).reshape(n, n)
    packed_a, packed_b = matmul_registers.workspace(n, 2)
    matmul_registers.pack_rows(a, 8, 16, 4, 10, packed_a, 1)
    assert np.array_equal(packed_a[1, 1, :10, :], a[16:24, 4:14].T)
    matmul_registers.pack_columns(a, 1, 4, 10, packed_b)
    assert np.array_equal(packed_b[1, :10], a[4:14, 16:32])


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the assembly is read on x86-64 only")
def test_the_innermost_loops_compute_in_vectors_and_write_nothing() -> None:
    x = np.ones((16, 16))
    for way, kernel, sums in ((packed, matmul_registers.packed, 16), (dots, matmul_registers.dots, 16)):
        way(x, x, x.copy(), 1)
        loops = [loop for loop in inner_loops(kernel) if sum("vfmadd" in line for line in loop.lines) >= sums]
        wide = [loop for loop in loops if loop.vector_bits >= 256]
        assert wide, kernel
        for loop in wide:
            assert loop.stores == 0
            if loop.vector_bits == 512:  # with 16 shorter registers a part of the block lives on the stack
                assert not any("(%rsp)" in line for line in loop.lines), loop.lines
