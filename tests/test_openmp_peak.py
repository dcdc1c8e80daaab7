"""The peak kernel computes what it says, and its loop is nothing but multiply-adds in registers."""

import platform
from typing import Any

import numba
import numpy as np
import pytest

from parlab.openmp_like import peak
from parlab.openmp_like.assembly import inner_loops


@pytest.fixture(autouse=True)
def _two_threads() -> None:
    numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_element_is_halved_and_raised_in_every_round(dtype: Any, threads: int) -> None:
    x = peak.registers(threads, dtype)
    assert x.nbytes == threads * peak.CHAINS * 64
    peak.multiply_add(x, 5)
    assert (x == 2 - 2.0**-5).all()
    assert peak.flops(x, 5) == 10 * x.size


def test_sums_that_wait_add_one_row_at_a_time() -> None:
    x = peak.registers(3, np.float64)
    x[:, 1, 0] = [1, 2, 3]
    peak.wait_for_sums(x, 10)
    assert x[:, 0, 0].tolist() == [11, 21, 31]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the assembly is read on x86-64 only")
def test_the_loop_is_nothing_but_multiply_adds() -> None:
    x = peak.registers(1, np.float64)
    peak.multiply_add(x, 1)
    loops = [loop for loop in inner_loops(peak.multiply_add) if loop.vector_bits]
    assert loops
    for loop in loops:
        fused = sum(line.startswith("vfmadd") for line in loop.lines)
        assert fused % peak.CHAINS == 0
        assert loop.stores == 0
        if loop.vector_bits == 512:  # with fewer or shorter registers some chains live on the stack
            assert len(loop.lines) <= fused + 3, loop.lines


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the assembly is read on x86-64 only")
def test_the_waiting_sums_are_neither_folded_nor_put_into_vectors() -> None:
    peak.wait_for_sums(peak.registers(1, np.float64), 1)
    sums = [line for loop in inner_loops(peak.wait_for_sums) for line in loop.lines if line.startswith("vadd")]
    assert sums
    assert all(line.startswith("vaddsd") for line in sums)
