"""The ways of four_models: the same values by every way, a way that is wrong is found, clocks leave out what they should."""

import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parlab.experiments import heat_starts
from parlab.experiments.heat_names import (
    HYBRID,
    MPI,
    NUMPY,
    PRANGE,
    SERIAL,
)
from parlab.experiments.heat_ranks import HeatRanks
from parlab.experiments.heat_ways import Racer, There, by_ranks, rested
from parlab.openmp_like.heat import Shared, by_loop, carry
from parlab.openmp_like.plate import Grid, Plate


def random(n: int, m: int) -> Grid:
    return np.random.default_rng((n, m)).random((n, m))


def serially(start: Grid, steps: int) -> Grid:
    plate = Plate(*start.shape)
    plate.load(start)
    plate.advance(steps)
    return plate.points()


def test_threads_give_the_bits_of_numpy_for_any_shape_and_number_of_them(threads: int) -> None:
    for n, m in ((1, 1), (1, 7), (2, 3), (3, 1), (17, 30), (40, 5)):  # fewer rows than threads, too
        start = random(n, m)
        for plate in (Plate(n, m, by_loop), Shared(n, m)):
            plate.load(start)
            plate.advance(7)
            assert np.array_equal(plate.points(), serially(start, 7)), (n, m)


def test_the_bound_carries_every_point_and_no_boundary(threads: int) -> None:
    old, new = random(7, 9), np.zeros((7, 9))
    carry(old, new)
    assert np.array_equal(new[1:-1, 1:-1], old[1:-1, 1:-1])
    assert new.sum() == pytest.approx(old[1:-1, 1:-1].sum())


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 9))
def test_the_loop_of_mpi_and_that_of_threads_are_one_problem(n: int, m: int, steps: int) -> None:
    from parlab.mpi.heat import Plate as Block

    start, block = random(n, m), Block(n, m)
    block.points[:] = start
    for _ in range(steps):
        block.step()
    assert np.array_equal(block.points, serially(start, steps))


def test_tensors_give_the_values_to_a_rounding_a_step() -> None:
    pytest.importorskip("torch")
    from parlab.ddp import heat

    for n, m in ((1, 1), (5, 3), (40, 33)):
        plate, start = heat.Plate(n, m), random(n, m)
        plate.load(start)
        plate.advance(9)
        assert np.max(np.abs(plate.points() - serially(start, 9))) <= 9 * np.finfo(float).eps


def test_ranks_and_ranks_of_threads_give_the_bits_and_sleep_in_between() -> None:
    for ranks, threads in ((3, 1), (2, 2)):
        with closing(HeatRanks(ranks, threads)) as pool:
            for side in (5, 16, 37):
                start = random(side, side)
                pool.load(start)
                assert pool.there_and_back() > 0
                assert np.array_equal(pool.points(), start)
                assert pool.advance(6) > 0
                assert np.array_equal(pool.points(), serially(start, 6))


def test_more_ranks_than_rows_are_refused_in_one_line() -> None:
    with (
        closing(HeatRanks(3)) as pool,
        pytest.raises(RuntimeError, match=r"^the MPI ranks gave no answer: ValueError: 2 x 2 points cannot be cut"),
    ):
        pool.load(random(2, 2))


class Wrong(Plate):
    """Does a step less than it is asked for."""

    def advance(self, steps: int) -> None:
        super().advance(steps - 1)


def test_a_way_that_is_wrong_is_found() -> None:
    start, truth = random(9, 9), Shared(9, 9)

    def wrong(held: Any, run: Callable[[], object], roundings: int = 0) -> str | None:
        return Racer(held, run, 4, rested(), roundings=roundings).wrong(start, truth)

    right, short = Plate(9, 9), Wrong(9, 9)
    assert wrong(right, partial(right.advance, 4)) is None
    assert "elements differ" in str(wrong(right, lambda: None))
    assert "elements differ" in str(wrong(short, partial(short.advance, 4)))
    assert "elements differ" in str(wrong(short, partial(short.advance, 4), roundings=1))


def test_a_grid_that_does_not_come_back_is_found() -> None:
    start = random(5, 5)
    trip = There(lambda: Plate(5, 5), start)
    trip()
    assert trip.wrong() is None
    trip.back = trip.back + 1
    assert "elements differ" in str(trip.wrong())


def test_the_clocks_leave_the_rest_and_the_first_step_out(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    monkeypatch.setattr(time, "sleep", lambda _: events.append("rest"))
    assert rested(lambda: events.append("one")).time(lambda: events.append("run"), 2) < 1
    assert events == ["rest", "one", "run", "run"]
    assert rested(timed=by_ranks).time(lambda: 1.5, 2) == 3.0  # ranks time themselves


def test_the_program_of_each_way_runs_as_it_is_started() -> None:
    ways = [NUMPY, SERIAL, PRANGE, MPI, HYBRID]
    commands = {way: heat_starts.command_of(way, 4) for way in ways}
    assert [command.argv[-1] for command in commands.values()] == ["4", "4", "4", "1", "2"]
    assert [command.argv[command.argv.index("-n") + 1] for command in (commands[MPI], commands[HYBRID])] == ["4", "2"]
    for way in (NUMPY, PRANGE, MPI):
        assert 0 < heat_starts.seconds(heat_starts.command_of(way, 2)) < 60
