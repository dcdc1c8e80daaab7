"""The model of reuse, on a machine made up here: each limit limits where it should."""

from math import inf

import pytest

from parlab.openmp_like.matmul_model import REUSE, TILE, Machine, Reuse

MACHINE = Machine(vector=1.0, sum=40.0, bandwidth={1e3: 8.0, 1e6: 4.0, inf: 2.0})  # seconds, bytes/s


def held(size: float) -> Reuse:
    return Reuse("vectors", 0.0, 12.0, lambda n: size)


def test_what_is_held_is_brought_from_the_smallest_level_that_holds_it() -> None:
    assert [MACHINE.move(8, size) for size in (0, 1e3, 1001, 1e6, 1e9)] == [1, 1, 2, 2, 4]
    assert [held(size).seconds(1, MACHINE) for size in (10, 1e4, 1e9)] == [1.5, 3, 6]


def test_the_slowest_of_three_limits_counts() -> None:
    assert Reuse("vectors", 4.0, 4.0, lambda n: 10).seconds(2, MACHINE) == 8 * 1.0
    assert Reuse("vectors", 24.0, 4.0, lambda n: 10).seconds(2, MACHINE) == 8 * 3.0
    assert Reuse("vectors", 4.0, 24.0, lambda n: 1e9).seconds(2, MACHINE) == 8 * 12.0
    assert Reuse("one by one", 0.0, 0.0, lambda n: 0).seconds(1, MACHINE) == 8.0
    assert Reuse("waiting", 0.0, 0.0, lambda n: 0).seconds(1, MACHINE) == 40.0


def test_packing_reads_and_writes_both_matrices_once() -> None:
    packing, none = (Reuse("vectors", 0.0, 0.0, lambda n: 0, copied).seconds(100, MACHINE) for copied in (True, False))
    assert packing - none == pytest.approx(4 * 8 * 100**2 / 4.0)


def test_a_block_of_8_by_16_loads_24_words_for_128_products_and_one_of_4_by_4_loads_8_for_16() -> None:
    assert REUSE["packed 8 x 16"].near == pytest.approx(24 * 8 / 128)
    assert REUSE["packed 8 x 16"].far == pytest.approx(8 * 8 / 128)
    assert REUSE["dots 4 x 4"].near == pytest.approx(8 * 8 / 16)
    assert REUSE["dots 4 x 4"].far == pytest.approx(4 * 8 / 16)
    assert REUSE["tiled by slices"].held(4096) == 8 * TILE**2
