"""The serial heat equation: the sweep against numpy, bit for bit, and the decay of the first mode in closed form."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parlab.mpi.heat import A, Grid, Plate, decay, decay_of_heat, first_mode, sweep

SIZES = st.integers(1, 40)


def mode_after(n: int, m: int, steps: int) -> Grid:
    plate = Plate(n, m)
    plate.points[:] = first_mode(n, m)
    for _ in range(steps):
        plate.step()
    return plate.points


@settings(deadline=None)
@given(SIZES, SIZES, st.data())
def test_sweep_is_the_formula_inside_the_rectangle_and_touches_nothing_outside(
    n: int, m: int, data: st.DataObject
) -> None:
    i0, i1, j0, j1 = (data.draw(st.integers(1, k + 1)) for k in (n, n, m, m))
    old, new = np.random.default_rng(n * m).random((2, n + 2, m + 2))
    expected = new.copy()
    formula = old[1:-1, 1:-1] + A * (
        old[:-2, 1:-1] + old[2:, 1:-1] + old[1:-1, :-2] + old[1:-1, 2:] - 4 * old[1:-1, 1:-1]
    )
    expected[i0:i1, j0:j1] = formula[i0 - 1 : i1 - 1, j0 - 1 : j1 - 1]
    sweep(old, new, i0, i1, j0, j1)
    np.testing.assert_array_equal(new, expected)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 9), (16, 16), (31, 64), (200, 150)])
def test_the_first_mode_decays_by_the_eigenvalue_of_the_sweep(n: int, m: int) -> None:
    steps = 100
    np.testing.assert_allclose(mode_after(n, m, steps), decay(n, m, steps) * first_mode(n, m), rtol=1e-12, atol=1e-16)


def test_the_decay_meets_the_differential_equation_with_second_order() -> None:
    """At the same time, on meshes h = 1/8, 1/16, 1/32: half the h, a quarter of the error.

    The exponent is too large by the factor 1 + (A - 1/12) (pi h)^2: log(1 - 8 A sin^2(pi h / 2)) to second order.
    """
    errors = []
    for n in (7, 15, 31):
        steps = (n + 1) ** 2 // 4
        left, exact = mode_after(n, n, steps).max() / first_mode(n, n).max(), decay_of_heat(n, n, steps)
        errors.append(abs(left / exact - 1))
        assert errors[-1] == pytest.approx(-np.log(exact) * (A - 1 / 12) * (np.pi / (n + 1)) ** 2, rel=0.1)
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.05)


def test_the_boundary_stays_zero() -> None:
    plate = Plate(5, 6)
    plate.points[:] = 1
    for _ in range(4):
        plate.step()
    inside = np.zeros_like(plate.u, dtype=bool)
    inside[:, 1:-1, 1:-1] = True
    assert not plate.u[~inside].any()
    assert plate.points.all()
