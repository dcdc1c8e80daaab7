"""The Mandelbrot picture against what is known of the set."""

import numpy as np
import pytest

from parlab.mpi.mandelbrot import BOTTOM, LEFT, RIGHT, TOP, escape_counts

HEIGHT, WIDTH, LIMIT = 300, 300, 500


def plane() -> np.ndarray[tuple[int, int], np.dtype[np.complex128]]:
    y, x = (np.arange(HEIGHT) + 0.5) / HEIGHT, (np.arange(WIDTH) + 0.5) / WIDTH
    return (LEFT + (RIGHT - LEFT) * x) + 1j * (TOP + (BOTTOM - TOP) * y)[:, None]


def test_the_cardioid_and_the_disc_at_its_left_never_escape_and_the_outside_does_at_once() -> None:
    c, counts = plane(), escape_counts(0, HEIGHT, HEIGHT, WIDTH, LIMIT)
    cardioid = np.abs(1 - np.sqrt(1 - 4 * c)) < 0.999
    disc = np.abs(c + 1) < 0.2499
    assert (counts[cardioid | disc] == LIMIT).all()
    assert (counts[np.abs(c) > 2] == 1).all()


def test_counts_are_those_of_the_definition_where_the_orbit_is_short() -> None:
    c, counts = plane(), escape_counts(0, HEIGHT, HEIGHT, WIDTH, LIMIT)
    z, expected = np.zeros_like(c), np.zeros(c.shape, int)
    for _ in range(12):
        inside = np.abs(z) <= 2
        expected += inside
        z[inside] = z[inside] ** 2 + c[inside]
    np.testing.assert_array_equal(np.minimum(counts, 12), expected)


def test_the_area_is_the_known_one() -> None:
    """Pixel counting gives 1.5066 (Munafo, Foerstemann); the limit leaves a few points in that would escape later."""
    counts = escape_counts(0, HEIGHT, HEIGHT, WIDTH, LIMIT)
    pixel = (RIGHT - LEFT) / WIDTH * (TOP - BOTTOM) / HEIGHT
    assert (counts == LIMIT).sum() * pixel == pytest.approx(1.5066, rel=0.01)


def test_rows_do_not_depend_on_how_they_are_cut() -> None:
    whole = escape_counts(0, 31, 31, 17, 50)
    assert whole.dtype == np.int32
    assert whole.shape == (31, 17)
    pieces = [escape_counts(first, last, 31, 17, 50) for first, last in ((0, 1), (1, 1), (1, 20), (20, 31))]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
