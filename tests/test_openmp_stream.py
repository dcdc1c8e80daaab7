"""Arrays that begin where they should, parts that cover them once, triads and copies that write every element."""

import platform
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest

from parlab.openmp_like import scaling_in_c, stream
from parlab.openmp_like.assembly import inner_loops
from parlab.openmp_like.vectors import BYTES

SIZES = pytest.mark.parametrize("n", [8, 64, 1000, 4096 + 8])
THREADS = pytest.mark.parametrize("threads", [1, 2, 3, 5])


@pytest.fixture(autouse=True)
def _two_threads() -> None:
    numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))


@SIZES
@THREADS
def test_the_parts_cover_the_array_once_in_whole_lines_and_differ_by_one_line_at_most(n: int, threads: int) -> None:
    parts = [stream.part(n, lane, threads) for lane in range(threads)]
    assert [first for first, _ in parts] + [n] == [0] + [last for _, last in parts]
    lengths = [last - first for first, last in parts]
    assert all(length % stream.LINE == 0 for length in lengths)
    assert max(lengths) - min(lengths) <= stream.LINE


@SIZES
@THREADS
def test_arrays_are_ones_that_begin_on_different_lines_of_a_page(n: int, threads: int) -> None:
    found = stream.arrays(3, n, threads)
    assert all(a.size == n and (a == 1).all() for a in found)
    begins = [a.ctypes.data % stream.PAGE for a in found]
    assert begins == [0, stream.APART, 2 * stream.APART]
    assert stream.APART % BYTES == 0


def test_an_array_that_ends_within_a_line_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        stream.arrays(1, 12, 1)


def in_c(a: Any, b: Any, c: Any, sweeps: int, threads: int) -> None:
    try:
        scaling_in_c.triad(a, b, c, sweeps, threads)()
    except RuntimeError as error:
        pytest.skip(str(error))


def serial(a: Any, b: Any, c: Any, sweeps: int, threads: int) -> None:
    stream.triad_serial(a, b, c, sweeps)


@SIZES
@THREADS
@pytest.mark.parametrize("triad", [serial, stream.triad, stream.triad_narrow, stream.triad_streaming, in_c])
def test_every_triad_writes_every_element_in_its_last_sweep(triad: Callable[..., None], n: int, threads: int) -> None:
    a, b, c = stream.arrays(3, n, threads)
    b[:], c[:], a[:] = np.arange(n), np.arange(n)[::-1], np.nan
    for sweeps in (1, 3):
        triad(a, b, c, sweeps, threads)
        assert np.array_equal(a, b + sweeps * c)  # whole numbers: no rounding, whatever the instructions


@SIZES
@THREADS
@pytest.mark.parametrize("copy", [stream.copy, stream.copy_streaming])
def test_every_copy_writes_every_element(copy: Callable[..., None], n: int, threads: int) -> None:
    a, b = stream.arrays(2, n, threads)
    b[:], a[:] = np.arange(n), np.nan
    copy(a, b, 2, threads)
    assert np.array_equal(a, 2 * b)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the assembly is read on x86-64 only")
def test_the_timed_loops_hold_their_stores_and_vectors_in_every_sweep() -> None:
    a, b, c = stream.arrays(3, 64, 1)
    stream.triad(a, b, c, 1, 1)
    stream.copy(a, b, 1, 1)
    for kernel in (stream.triad, stream.copy):
        loops = [loop for loop in inner_loops(kernel) if loop.vector_bits]
        assert loops
        assert all(loop.stores and loop.depth == 2 for loop in loops), kernel  # lanes, sweeps, then the elements


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the instruction is x86-64's")
def test_only_the_streaming_kernels_go_past_the_caches() -> None:
    a, b, c = stream.arrays(3, 64, 1)
    stream.triad(a, b, c, 1, 1)
    stream.triad_streaming(a, b, c, 1, 1)
    past = {
        kernel: any("movnt" in line for loop in inner_loops(kernel) for line in loop.lines)
        for kernel in (stream.triad, stream.triad_streaming)
    }
    assert past == {stream.triad: False, stream.triad_streaming: True}
