"""The counting loops: exact counts in every layout, a proof that they write, and a lab that notices when they do not."""

import os
from functools import partial
from typing import Any

import numba
import numpy as np
import pytest
from numba import njit, prange

import false_sharing
from parlab.openmp_like import one_core, sharing, sharing_in_c
from parlab.openmp_like.assembly import inner_loops
from parlab.openmp_like.lines import WORD, Layout
from parlab.records import PROOF, Comparison, Measurement, Record
from parlab.stats import Interval, verdict

THREADS = min(2, numba.config.NUMBA_NUM_THREADS)
N, BINS = 1000, 8
SAMPLES = np.random.default_rng(7).integers(0, BINS, (THREADS, N), dtype=np.uint8)
EXPECTED = sharing.tally(SAMPLES, BINS)


@pytest.fixture(autouse=True)
def _team() -> Any:
    before = numba.get_num_threads()
    numba.set_num_threads(THREADS)
    yield
    numba.set_num_threads(before)


def in_c() -> bool:
    try:
        return bool(sharing_in_c.library())
    except RuntimeError:
        return False


needs_compiler = pytest.mark.skipif(not in_c(), reason="no C compiler")
NUMBA_AND_C = [sharing, pytest.param(sharing_in_c, marks=needs_compiler)]


def test_the_expected_histogram() -> None:
    assert sharing.tally(np.array([[0, 1, 1], [3, 3, 3]], np.uint8), 4).tolist() == [[1, 2, 0, 0], [0, 0, 0, 3]]


@pytest.mark.parametrize("module", NUMBA_AND_C)
@pytest.mark.parametrize("layout", [Layout(8, 8 * THREADS), Layout(64), Layout(64, offset=32), Layout(320)])
def test_histograms_are_exact_in_every_layout(module: Any, layout: Layout) -> None:
    words, tallies = layout.place(THREADS, BINS)
    for run in range(1, 4):
        module.histogram(words, SAMPLES, layout.per_thread // WORD, layout.per_bin // WORD)
        assert np.array_equal(tallies, run * EXPECTED)
    assert words.sum() == tallies.sum()  # nothing was counted between them


@pytest.mark.parametrize("kernel", [sharing.count_plain, sharing.count_stored, sharing.count_atomic])
@pytest.mark.parametrize("stride", [8, 32, 256])
def test_counters_are_exact(kernel: Any, stride: int) -> None:
    words, tallies = Layout(stride).place(THREADS, 1)
    kernel(words, stride // WORD, N, THREADS)
    kernel(words, stride // WORD, N, THREADS)
    assert tallies.tolist() == [[2 * N]] * THREADS
    assert words.sum() == 2 * N * THREADS


@needs_compiler
def test_counters_in_c_are_exact() -> None:
    words, tallies = Layout(16).place(THREADS, 1)
    sharing_in_c.count_stored(words, 2, N, THREADS)
    assert tallies.tolist() == [[N]] * THREADS


def test_private_partials_are_merged_once() -> None:
    words, tallies = Layout(64).place(1, BINS)
    for run in range(1, 20):
        sharing.histogram_private(words, SAMPLES, BINS)
        assert np.array_equal(tallies[0], run * EXPECTED.sum(axis=0))


@njit(parallel=True)
def histogram_unused(counters: Any, samples: Any, per_thread: int, per_bin: int) -> None:
    """Add up first and write once: no line moves while it counts, whatever the layout."""
    for lane in prange(samples.shape[0]):
        ones = 0
        for k in range(samples.shape[1]):
            ones += samples[lane, k]
        counters[lane * per_thread] += ones


def test_the_assembly_proves_which_loops_write() -> None:
    words, _ = Layout(64).place(THREADS, BINS)
    for kernel in (sharing.count_plain, sharing.count_stored, sharing.count_atomic):
        kernel(words, 8, N, THREADS)
    sharing.histogram(words, SAMPLES, 8, 1)
    sharing.histogram_private(words, SAMPLES, BINS)
    histogram_unused(words, SAMPLES, 8, 1)
    try:
        inner_loops(sharing.count_plain)
    except NotImplementedError as error:
        pytest.skip(str(error))
    assert sharing.counting_loops(sharing.count_plain) == []
    assert any(loop.locked for loop in sharing.counting_loops(sharing.histogram_private))  # its merge is atomic
    told = {kernel.__name__: sharing.unproven(kernel) for kernel in (*sharing.KERNELS, histogram_unused)}
    removed = [name for name, wrong in told.items() if wrong]
    assert removed == ["count_plain", "histogram_unused"]
    assert "no store is left in count_plain" in str(told["count_plain"])


def test_the_lab_fails_on_a_loop_that_was_removed_and_on_a_lost_count() -> None:
    words, tallies = Layout(64).place(THREADS, 1)
    once = np.full_like(tallies, N)
    tally = false_sharing.Tally(
        sharing.count_stored, partial(sharing.count_stored, words, 8, N, THREADS), tallies, once
    )
    tally.run()
    tally.run()
    assert tally.check() is None
    words[0] -= 1
    assert "differ" in str(tally.check())
    words[0] += 1
    tally.kernel = sharing.count_plain
    sharing.count_plain(words, 8, 0, THREADS)
    if sharing.unproven(sharing.count_plain):  # assembly can be read here
        assert "no store" in str(tally.check())


def records(factor: Interval, quiet: bool, **case: Any) -> list[Record]:
    """Return a comparison of 2 threads that takes `factor` times as long as its reference; the threads ran at once, or took turns."""
    ratio = factor.map(lambda x: 1 / x)
    one = Interval(1.0, 1.0, 1.0, 24)
    how = {"disturbed": 20, "dropped": 20 if quiet else 0}
    return [
        Measurement(
            "false_sharing", {PROOF: "omp", "work": "together"}, 2, "threads", one, [1.0] * 24, {}, False, how=how
        ),
        Comparison(
            "false_sharing", {"part": "padded rows", "pad_bytes": 0, "layout": "this far apart"}, {}, 2, ratio, "same"
        ),
        Comparison("false_sharing", case, {}, 2, ratio, verdict(ratio)),
    ]


@pytest.mark.parametrize(
    ("low", "high", "quiet", "holds"),
    [
        (6.0, 9.0, True, True),
        (2.0, 4.0, True, False),
        (4.0, 9.0, True, None),
        (6.0, 9.0, False, None),
        (2.0, 4.0, False, None),
    ],
)
def test_the_goal_is_judged_by_the_whole_interval_of_threads_that_ran_at_once(
    low: float, high: float, quiet: bool, holds: Any
) -> None:
    found = records(
        Interval((low + high) / 2, low, high, 24), quiet, part="histograms", bins=8, layout="(bins, threads)"
    )
    said = [(told, held) for told, held in false_sharing.judge(found) if "goal: above 5" in told]
    assert [held for _, held in said] == [holds]
    assert f"[{low:.2f}, {high:.2f}]" in said[0][0]


def test_threads_share_one_core_and_are_free_again() -> None:
    if not one_core.TASKS.exists():
        pytest.skip("Linux only")

    def cores() -> dict[str, set[int]]:
        return {task.name: os.sched_getaffinity(int(task.name)) for task in one_core.TASKS.iterdir()}

    words, _ = Layout(64).place(THREADS, 1)
    sharing.count_stored(words, 8, N, THREADS)  # the threads are there
    before = cores()
    with one_core.on_one_core():
        assert len(set.union(*cores().values())) == 1
        sharing.count_stored(words, 8, N, THREADS)
    assert cores() == before
