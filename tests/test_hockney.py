"""Synthetic message times with known lines and breaks: the fits find them, and what R2 praises is shown to be wrong."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from parlab.hockney import Hockney, Segment, fit_hockney, fit_line, fit_segments, held_out_error

Array = NDArray[np.float64]

SEEDS = range(40)
SIZES: Array = np.array([2.0**i for i in range(23)])  # 1 B to 4 MiB
LINE = Hockney((Segment(1e-6, 1e-10),))
EAGER = Hockney((Segment(6e-7, 1e-10), Segment(5e-6, 5e-11)), (65536,))
THREE = Hockney((Segment(6e-7, 5e-10), Segment(1.2e-6, 5e-11), Segment(2e-5, 9e-11)), (1024, 524288))


def noisy(truth: Hockney, noise: float, seed: int, sizes: Array = SIZES) -> Array:
    return truth.seconds(sizes) * np.exp(noise * np.random.default_rng(seed).standard_normal(sizes.size))


def relative_errors(model: Hockney, truth: Hockney) -> Array:
    return np.abs(model.seconds(SIZES) / truth.seconds(SIZES) - 1)


def ordinary_line(nbytes: Array, seconds: Array) -> Hockney:
    """Ordinary least squares, what a spreadsheet does."""
    beta, alpha = np.polyfit(nbytes, seconds, 1)
    return Hockney((Segment(float(alpha), float(beta)),))


@pytest.mark.parametrize("noise", [0.01, 0.03])
def test_one_line_is_recovered(noise: float) -> None:
    fits = [fit_line(SIZES, noisy(LINE, noise, seed)).segments[0] for seed in SEEDS]
    assert max(abs(f.alpha / 1e-6 - 1) for f in fits) < 1.5 * noise
    assert max(abs(f.beta / 1e-10 - 1) for f in fits) < 3 * noise


@pytest.mark.parametrize("truth", [EAGER, THREE])
def test_breaks_are_found_in_the_data(truth: Hockney) -> None:
    k = len(truth.segments)
    fits = [fit_segments(SIZES, noisy(truth, 0.02, seed), k) for seed in SEEDS]
    assert np.mean([f.breaks == truth.breaks for f in fits]) >= 0.9
    assert np.median([relative_errors(f, truth).max() for f in fits]) < 0.06
    right = [f for f in fits if f.breaks == truth.breaks]
    assert max(abs(f.segments[0].alpha / truth.segments[0].alpha - 1) for f in right) < 0.06
    assert max(abs(f.segments[-1].beta / truth.segments[-1].beta - 1) for f in right) < 0.15


@pytest.mark.parametrize(
    ("truth", "noise"), [(LINE, 0.01), (LINE, 0.05), (EAGER, 0.01), (EAGER, 0.03), (THREE, 0.01), (THREE, 0.03)]
)
def test_as_many_lines_are_chosen_as_there_are(truth: Hockney, noise: float) -> None:
    fits = [fit_hockney(SIZES, noisy(truth, noise, seed)) for seed in SEEDS]
    assert np.mean([len(f.segments) == len(truth.segments) for f in fits]) >= 0.85
    assert np.mean([f.breaks == truth.breaks for f in fits]) >= 0.85


@pytest.mark.parametrize("truth", [EAGER, THREE])
def test_the_chosen_fit_predicts_sizes_it_has_not_seen(truth: Hockney) -> None:
    """As the lab judges it: the number of lines is chosen on all sizes, the lines are fitted without those judged."""
    errors = []
    for seed in SEEDS:
        t = noisy(truth, 0.02, seed)
        errors.append(held_out_error(partial(fit_segments, segments=len(fit_hockney(SIZES, t).segments)), SIZES, t))
    assert np.median([e.median for e in errors]) < 0.05
    assert all(e.median <= e.max for e in errors)
    lines = [held_out_error(fit_line, SIZES, noisy(truth, 0.02, seed)) for seed in SEEDS]
    assert np.median([e.median for e in lines]) > 0.06


def test_r2_praises_a_line_that_misses_most_sizes() -> None:
    t = noisy(THREE, 0.02, 0)
    line = ordinary_line(SIZES, t)
    r2 = 1 - np.sum((line.seconds(SIZES) - t) ** 2) / np.sum((t - t.mean()) ** 2)
    assert r2 > 0.98
    assert held_out_error(ordinary_line, SIZES, t).median > 0.4
    assert held_out_error(partial(fit_segments, segments=3), SIZES, t).median < 0.05


def test_no_judged_size_is_in_the_fit_and_every_interior_size_is_judged_once() -> None:
    judged: list[float] = []

    def watched(nbytes: Array, seconds: Array) -> Hockney:
        judged.extend(set(SIZES) - set(nbytes))
        assert seconds.tolist() == nbytes.tolist()
        assert {SIZES[0], SIZES[-1]} <= set(nbytes)
        return Hockney((Segment(0.0, 1.25),))

    error = held_out_error(watched, SIZES, SIZES)
    assert sorted(judged) == SIZES[1:-1].tolist()
    assert (error.median, error.max) == (0.25, 0.25)


def test_a_fitter_that_memorises_is_found_out() -> None:
    """Lines through every three sizes follow the noise: seen sizes look better, sizes held out do not."""
    t = noisy(LINE, 0.05, 3)
    many = fit_segments(SIZES, t, 4)
    assert np.median(np.abs(many.seconds(SIZES) / t - 1)) < np.median(np.abs(fit_line(SIZES, t).seconds(SIZES) / t - 1))
    assert len(fit_hockney(SIZES, t).segments) == 1


@pytest.mark.parametrize("count", [4, 5, 6, 8, 12, 25])
def test_few_and_many_sizes(count: int) -> None:
    sizes = np.unique(np.floor(np.geomspace(1, 2**22, count)))
    t = noisy(EAGER, 0.01, 0, sizes)
    for model in (fit_line(sizes, t), fit_segments(sizes, t), fit_hockney(sizes, t)):
        assert len(model.segments) <= max(1, count // 3)
        assert len(model.breaks) == len(model.segments) - 1
        assert all(s.alpha >= 0 and s.beta >= 0 for s in model.segments)
        assert (model.seconds(sizes) > 0).all()


def test_every_segment_holds_three_sizes() -> None:
    for seed in SEEDS:
        breaks = fit_segments(SIZES, noisy(LINE, 0.05, seed), 4).breaks
        edges = [0, *(np.searchsorted(SIZES, breaks) + 1), SIZES.size]
        assert len(breaks) == 3
        assert min(np.diff(edges)) >= 3


def test_empty_messages_and_beyond_the_largest() -> None:
    sizes = np.concatenate([[0.0], SIZES])
    model = fit_segments(sizes, EAGER.seconds(sizes), 2)
    assert model.seconds(0.0) == pytest.approx(6e-7)
    assert model.seconds(2.0**30) == pytest.approx(EAGER.seconds(2.0**30))
    assert model.seconds(65536.0) == pytest.approx(EAGER.seconds(65536.0))  # a break belongs to the line before it
    assert model.seconds(65537.0) == pytest.approx(EAGER.seconds(65537.0))


def test_one_size_or_an_array() -> None:
    one = EAGER.seconds(100)
    assert isinstance(one, float)
    assert EAGER.seconds(np.array([[100, 10**6]])).tolist() == [[one, EAGER.seconds(10**6)]]


def test_a_time_that_falls_with_the_size_is_all_latency() -> None:
    assert fit_line(SIZES, np.geomspace(2e-6, 1e-6, SIZES.size)).segments[0].beta == 0


@pytest.mark.parametrize(
    ("nbytes", "seconds"),
    [
        ([1, 2], [1, 1]),
        ([1, 2, 2], [1, 1, 1]),
        ([1, 2, 3], [1, 1]),
        ([1, 2, 3], [1, 0, 1]),
        ([1, 2, 3], [1, np.nan, 1]),
    ],
)
def test_bad_data_are_refused(nbytes: list[float], seconds: list[float]) -> None:
    for fitter in (fit_line, fit_segments, fit_hockney):
        with pytest.raises(ValueError, match="3 or more sizes"):
            fitter(nbytes, seconds)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.sampled_from([1e-3, 0.5, 1e6]), st.sampled_from([fit_line, fit_segments, fit_hockney]))
def test_the_unit_of_time_and_the_order_do_not_matter(
    seed: int, unit: float, fitter: Callable[[Array, Array], Hockney]
) -> None:
    t = noisy(THREE, 0.03, seed)
    order = np.random.default_rng(seed).permutation(SIZES.size)
    a, b = fitter(SIZES, t), fitter(SIZES[order], unit * t[order])
    assert a.breaks == b.breaks
    assert b.seconds(SIZES) == pytest.approx(unit * a.seconds(SIZES))
