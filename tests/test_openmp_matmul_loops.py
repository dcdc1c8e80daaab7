"""The plain loops multiply; which of them the compiler can do in vectors is what the lab's ladder rests on."""

import platform
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest

from parlab.openmp_like import matmul_loops
from parlab.openmp_like.assembly import inner_loops

LOOPS: dict[str, Callable[[Any, Any, Any, int], Any]] = {
    "ijk": lambda a, b, c, threads: matmul_loops.ijk(a, b, c),
    "ikj": lambda a, b, c, threads: matmul_loops.ikj(a, b, c),
    "tiled_by_index": lambda a, b, c, threads: matmul_loops.tiled_by_index(a, b, c, 16, threads),
    "tiled_by_slices": lambda a, b, c, threads: matmul_loops.tiled_by_slices(a, b, c, 16, threads),
}


@pytest.fixture(autouse=True)
def _two_threads() -> None:
    numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize(("n", "threads"), [(16, 1), (48, 2), (48, 5), (80, 3)])
def test_every_order_gives_the_product_and_overwrites_what_was_there(name: str, n: int, threads: int) -> None:
    a, b = np.random.default_rng(n).integers(-9, 9, (2, n, n)).astype(np.float64)  # whole numbers: every order is exact
    c = np.full((n, n), np.nan)
    LOOPS[name](a, b, c, threads)
    assert np.array_equal(c, a @ b)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the assembly is read on x86-64 only")
@pytest.mark.parametrize(("name", "wide"), [("ikj", True), ("tiled_by_index", False), ("tiled_by_slices", True)])
def test_only_rows_that_begin_at_zero_are_done_in_vectors(name: str, wide: bool) -> None:
    x = np.ones((16, 16))
    LOOPS[name](x, x, x.copy(), 1)
    deep = [loop for loop in inner_loops(getattr(matmul_loops, name)) if loop.depth >= 2 and loop.stores]
    assert deep
    assert (max(loop.vector_bits for loop in deep) > 0) == wide
