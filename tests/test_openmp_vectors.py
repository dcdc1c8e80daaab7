"""Vectors hold what NumPy computes, lie where they should, go past the caches where asked to, and are refused for other arrays."""

import platform
from typing import Any

import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError

from parlab.openmp_like.stream import arrays
from parlab.openmp_like.vectors import BYTES, fma, load, store, stream, zeros

KINDS = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@njit
def polynomial(x: Any, coefficients: Any, y: Any) -> None:
    """Evaluate a polynomial of the vector x[1] by Horner's rule, and write it to y[2]."""
    vector, total = load(x, (1, 0)), zeros(x)
    for k in range(coefficients.size):
        total = fma(vector, total, fma(coefficients[k], ones(x), zeros(x)))
    store(y, (2, 0), total)


@njit
def ones(x: Any) -> Any:
    return load(np.ones(x.shape[1], x.dtype), 0)


@njit
def put(array: Any, values: Any) -> None:
    store(array, 0, load(values, 0))


@njit
def put_past_caches(array: Any, values: Any) -> None:
    stream(array, 0, load(values, 0))


@KINDS
def test_a_polynomial_is_what_numpy_says_in_every_element_and_nothing_else_is_written(dtype: Any) -> None:
    width = BYTES // np.dtype(dtype).itemsize
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-1, 1, (3, width)).astype(dtype), np.full((4, width), 7, dtype)
    coefficients = np.array([0.5, -1.25, 2.0], dtype)
    polynomial(x, coefficients, y)
    np.testing.assert_allclose(y[2], np.polyval(coefficients.astype(float), x[1]), rtol=8 * np.finfo(dtype).eps)
    assert (np.delete(y, 2, axis=0) == 7).all()


def test_fma_rounds_once() -> None:
    x = np.full((2, 8), 1 + 2.0**-30)
    y = np.zeros((3, 8))
    polynomial(x, np.array([1.0, 0.0, -1 - 2.0**-29]), y)  # x^2 - (1 + 2^-29) is 2^-60, which a rounded x^2 has lost
    assert (y[2] == 2.0**-60).all()


@KINDS
@pytest.mark.parametrize("way", [put, put_past_caches])
def test_a_vector_is_written_as_it_was_read(way: Any, dtype: Any) -> None:
    (array,) = arrays(1, 16, 1)
    target, values = array.view(dtype), np.arange(BYTES // np.dtype(dtype).itemsize).astype(dtype)
    way(target, values)
    assert np.array_equal(target[: values.size], values)
    assert (array[8:] == 1).all()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the instruction is x86-64's")
def test_only_a_streamed_vector_goes_past_the_caches() -> None:
    (array,) = arrays(1, 8, 1)
    for way in (put, put_past_caches):
        way(array, np.arange(8.0))
    assert "movnt" in next(iter(put_past_caches.inspect_asm().values()))
    assert "movnt" not in next(iter(put.inspect_asm().values()))


@pytest.mark.parametrize("wrong", [np.zeros(8, np.int64), np.zeros((8, 2))[:, 0]])
def test_vectors_of_integers_or_of_scattered_elements_are_refused(wrong: Any) -> None:
    with pytest.raises(TypingError, match="C-contiguous arrays of float32 or float64"):
        put(wrong, wrong)


@pytest.mark.parametrize("size", [16, 32, 64])
def test_a_shorter_vector_touches_its_own_elements_only(size: int) -> None:
    @njit
    def copy(target: Any, values: Any) -> None:
        store(target, 1, fma(1.0, load(values, 2, size), zeros(values, size)))

    values, target = np.arange(12.0), np.full(12, -1.0)
    copy(target, values)
    last = 1 + size // 8
    assert np.array_equal(target[1:last], values[2 : last + 1])
    assert (np.delete(target, range(1, last)) == -1).all()


@pytest.mark.parametrize("size", [8, 128])
def test_a_size_that_no_register_has_is_refused(size: int) -> None:
    with pytest.raises(TypingError, match="16, 32 or 64 bytes"):
        njit(lambda x: store(x, 0, load(x, 0, size)))(np.zeros(32))


def test_what_is_no_vector_of_the_array_is_not_written_to_it() -> None:
    with pytest.raises(TypingError, match="can be written to it"):
        put(np.zeros(8), np.zeros(16, np.float32))
    with pytest.raises(TypingError, match="can be written to it"):
        njit(lambda x: store(x, 0, x[0]))(np.zeros(8))


def test_vectors_of_two_precisions_are_not_mixed() -> None:
    @njit
    def mixed(a: Any, b: Any) -> None:
        store(a, 0, fma(load(b, 0), load(a, 0), load(a, 0)))

    with pytest.raises(TypingError, match="all of one type"):
        mixed(np.zeros(8), np.zeros(16, np.float32))
