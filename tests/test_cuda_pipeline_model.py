"""The law of the pipeline: what it says of the least time and the best number of chunks, and what it refuses."""

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlab.cuda.pipeline_model import Pipeline, best_chunks, closed_form, each, limit, serial

SECONDS, OVERHEADS = st.floats(1e-4, 1.0), st.floats(0, 1e-2)
PIPELINES = st.builds(Pipeline, SECONDS, SECONDS, SECONDS, overhead=OVERHEADS, handover=OVERHEADS)
EACH = st.tuples(OVERHEADS, OVERHEADS, OVERHEADS)
CHUNKS = st.integers(1, 200)


@given(PIPELINES, CHUNKS)
def test_the_best_number_of_chunks_is_a_minimum_of_the_law(pipeline: Pipeline, n: int) -> None:
    best = best_chunks(pipeline)
    if best < inf:
        near = [max(1, round(best) + d) for d in (-1, 0, 1)]
        assert min(closed_form(pipeline, k) for k in near) <= closed_form(pipeline, n) * (1 + 1e-9)


def test_the_best_number_of_chunks_by_hand() -> None:
    assert best_chunks(Pipeline(5e-3, 5e-3, 5e-3, overhead=5e-6)) == pytest.approx(2000**0.5)
    longest_kernel = Pipeline(1e-3, 4e-3, 1e-3, overhead=(9e-6, 5e-6, 9e-6))  # its own overhead counts, not the others'
    assert best_chunks(longest_kernel) == pytest.approx(400**0.5)
    assert best_chunks(Pipeline(1.0, 1.0, 1.0)) == inf


@given(PIPELINES, EACH, CHUNKS)
def test_one_chunk_is_the_serial_program_and_nothing_undercuts_the_limit(
    pipeline: Pipeline, overhead: tuple[float, float, float], n: int
) -> None:
    pipeline = replace(pipeline, overhead=overhead)
    assert closed_form(pipeline, 1) == pytest.approx(serial(pipeline))
    assert closed_form(pipeline, n) >= limit(pipeline) * (1 - 1e-9)


@given(PIPELINES, CHUNKS, st.integers(1, 8))
def test_more_streams_never_raise_the_limit_and_more_overhead_never_lowers_the_law(
    pipeline: Pipeline, n: int, streams: int
) -> None:
    assert limit(pipeline, streams + 1) <= limit(pipeline, streams)
    up, kernel, down = each(pipeline.overhead)
    dearer = replace(pipeline, overhead=(up + 1e-6, kernel + 1e-6, down + 1e-6))
    assert closed_form(dearer, n) > closed_form(pipeline, n)


def test_limits_by_hand() -> None:
    balanced = Pipeline(2.0, 2.0, 2.0)
    assert limit(balanced) == 2.0
    assert limit(balanced, 2) == 3.0  # two streams cap a balanced pipeline at one and a half times its longest stage
    assert limit(replace(balanced, copy_engines=1)) == 4.0
    assert limit(replace(balanced, duplex=0.8)) == pytest.approx(2.5)
    assert limit(Pipeline(2.0, 0.1, 1.0, duplex=0.8)) == pytest.approx(1.0 / 0.8 + 1.0)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"h2d": -1.0}, {"copy_engines": 0}, {"duplex": 0.0}, {"duplex": 1.1}, {"handover": -1e-6}),
        *({"overhead": -1e-6}, {"overhead": (0.0, -1e-6, 0.0)}, {"issue": -1e-6}, {"issue": (0.0, 0.0, -1e-6)}),
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Pipeline(**{"h2d": 1.0, "kernel": 1.0, "d2h": 1.0, **wrong})  # type: ignore[arg-type]
