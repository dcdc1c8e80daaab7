"""Pi to the precision that the order of the sums promises, by every kernel; and one instruction for one element, or for many."""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest
from numba import jit, njit

from parlab.openmp_like import pi, scaling_in_c
from parlab.openmp_like.assembly import inner_loops

STEPS = 96 * pi.BLOCK
KERNELS: dict[str, Callable[[Any], Any]] = {
    "serial": lambda out: pi.serial(out, STEPS),
    "prange": lambda out: pi.parallel(out, STEPS, 0),
    "one by one": lambda out: pi.parallel_strict(out, STEPS),
    "partly alone": lambda out: pi.parallel(out, STEPS, 32 * pi.BLOCK),
    "all alone": lambda out: pi.parallel(out, STEPS, STEPS),
    "gcc": lambda out: scaling_in_c.pi(out, STEPS, 0, 2)(),
    "gcc, partly alone": lambda out: scaling_in_c.pi(out, STEPS, 32 * pi.BLOCK, 2)(),
}


@pytest.fixture(autouse=True)
def _two_threads() -> None:
    numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_gives_pi_within_the_roundings_that_its_docstring_allows(name: str, dtype: Any) -> None:
    out = np.full(1, np.nan, dtype)
    try:
        KERNELS[name](out)
    except RuntimeError as error:
        pytest.skip(str(error))
    allowed = (pi.BLOCK + STEPS // pi.BLOCK) * np.finfo(dtype).eps + 1 / STEPS**2
    assert abs(float(out[0]) / np.pi - 1) < allowed


def test_blocks_keep_the_digits_that_one_long_sum_in_float32_loses() -> None:
    steps = 1024 * pi.BLOCK
    out = np.empty(1, np.float32)
    pi.serial(out, steps)
    x = (np.arange(steps, dtype=np.float32) + np.float32(0.5)) / np.float32(steps)
    long = np.cumsum(4 / (1 + x * x), dtype=np.float32)[-1] / np.float32(steps)
    assert abs(out[0] - np.pi) < 1e-5 < abs(long - np.pi)


def test_the_strip_sums_the_steps_it_is_asked_for() -> None:
    width = 1 / (4 * pi.BLOCK)
    x = (np.arange(pi.BLOCK, 2 * pi.BLOCK) + 0.5) * width
    for strip in (pi.strict_strip, pi.fast_strip):
        assert strip(pi.BLOCK, width) == pytest.approx(np.sum(4 / (1 + x * x)), rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_fastmath_computes_vectors_and_strict_order_one_by_one(dtype: Any) -> None:
    for strip, wide in ((pi.strict_strip, False), (pi.fast_strip, True)):
        one = jit(**strip.targetoptions)(strip.py_func)
        one(0, dtype(1e-6))
        try:
            bits = [loop.vector_bits for loop in inner_loops(one)]
        except NotImplementedError as error:
            pytest.skip(str(error))
        assert (max(bits) >= 128) == wide


def test_a_test_for_division_by_zero_in_every_step_would_prevent_vectors() -> None:
    """Numba's default error model: the trap that error_model="numpy" avoids."""
    checked = njit(fastmath=True)(pi.strip)
    checked(0, 1e-6)
    try:
        assert max(loop.vector_bits for loop in inner_loops(checked)) == 0
    except NotImplementedError as error:
        pytest.skip(str(error))
