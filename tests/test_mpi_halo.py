"""Every halo variant gives the serial result bit for bit, on every grid of ranks, and gives back what MPI lent it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpi4py import MPI

from parlab.mpi.block import part
from parlab.mpi.halo import VARIANTS
from parlab.mpi.heat import Grid, Plate

COMM = MPI.COMM_WORLD
SHAPES = [(6, 6), (7, 13), (16, 6), (40, 33)]  # at p = 6 each of them is cut unevenly somewhere, or into single rows
STEPS = 25


def on(*ranks: int) -> pytest.MarkDecorator:
    """Run the test in one launch for each number of ranks; the first one in a fresh clone compiles."""
    return pytest.mark.parametrize("p", [pytest.param(p, marks=pytest.mark.ranks(p, timeout=120)) for p in ranks])


def carts() -> list[MPI.Cartcomm]:
    """The ranks as a near-square, as one column and as one row."""
    return [COMM.Create_cart(dims) for dims in (MPI.Compute_dims(COMM.size, 2), (COMM.size, 1), (1, COMM.size))]


def noise(n: int, m: int) -> Grid:
    """No symmetry: a halo taken from the wrong side, or turned round, shows."""
    return np.random.default_rng(n).random((n, m))


@on(1, 2, 3, 4, 6)
def test_every_variant_is_the_serial_program_bit_for_bit(p: int) -> None:
    assert p == COMM.size
    for cart in carts():
        for n, m in SHAPES:
            serial = Plate(n, m)
            serial.points[:] = noise(n, m)
            for _ in range(STEPS):
                serial.step()
            for name, variant in VARIANTS.items():
                with variant(cart, n, m) as block:
                    block.scatter(noise(n, m))
                    for _ in range(STEPS):
                        block.step()
                    whole = block.gather()
                if cart.rank == 0:
                    np.testing.assert_array_equal(whole, serial.points, err_msg=f"{name}, {n} x {m} on {cart.dims}")
                else:
                    assert whole is None
        cart.Free()


@on(4)
def test_leaving_frees_every_handle(p: int) -> None:
    cart = carts()[0]
    lent = {"packed": 0, "shared": 1, "persistent": 8 + 16, "onesided": 8 + 1 + 2}  # 2 x 2 ranks: two neighbours each
    for name, variant in VARIANTS.items():
        with variant(cart, 5, 5) as block:
            block.step()
            assert len(block.lent) == lent.get(name, 8)
            assert all(block.lent), name
        assert not any(block.lent), name


@on(3)
def test_a_block_without_points_is_refused_on_every_rank(p: int) -> None:
    _, column, row = carts()
    for name, variant in VARIANTS.items():
        for cart, n, m in ((column, 2, 9), (row, 9, 2)):
            with pytest.raises(ValueError, match=r"^\d x \d points cannot be cut into \d x \d blocks"):
                variant(cart, n, m)
        with variant(column, 3, 1) as block:
            assert block.points.shape == (1, 1), name


class TwoNodes(MPI.Cartcomm):
    """A Cartesian grid that believes its ranks are on nodes of their own."""

    def Split_type(self, *args: Any, **kwargs: Any) -> MPI.Intracomm:
        return MPI.Intracomm(self.Split(self.rank))


@on(2)
def test_shared_is_refused_when_the_ranks_do_not_share_a_node(p: int) -> None:
    with pytest.raises(ValueError, match="2 ranks on one node"):
        VARIANTS["shared"](TwoNodes(carts()[0]), 8, 8)


@settings(deadline=None)
@given(st.integers(1, 500), st.integers(1, 40))
def test_parts_follow_each_other_and_differ_by_one_at_most(n: int, p: int) -> None:
    parts = [part(n, p, k) for k in range(p)]
    assert [i for one in parts for i in range(n)[one]] == list(range(n))
    sizes = {one.stop - one.start for one in parts}
    assert max(sizes) - min(sizes) <= 1
