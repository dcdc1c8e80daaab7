"""The pipeline model: the law and the simulation agree, limits hold, and NVIDIA's published figures come out."""

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parlab.cuda.pipeline_model import (
    Order,
    Pipeline,
    best_chunks,
    closed_form,
    issue_order,
    limit,
    serial,
    simulate,
)

SECONDS = st.floats(1e-4, 1.0)
PIPELINES = st.builds(Pipeline, SECONDS, SECONDS, SECONDS, overhead=st.floats(0, 1e-2))
CHUNKS, STREAMS = st.integers(1, 24), st.integers(1, 6)


@given(PIPELINES, CHUNKS, st.integers(3, 6))
def test_with_three_streams_and_two_engines_the_simulation_is_the_law(pipeline: Pipeline, n: int, s: int) -> None:
    assert simulate(pipeline, n, s).seconds == pytest.approx(closed_form(pipeline, n), rel=1e-9)


@given(PIPELINES, CHUNKS)
def test_one_stream_overlaps_nothing(pipeline: Pipeline, n: int) -> None:
    assert simulate(pipeline, n, 1).seconds == pytest.approx(
        serial(pipeline) + 3 * (n - 1) * pipeline.overhead, rel=1e-9
    )


@given(PIPELINES, CHUNKS, STREAMS, st.sampled_from([1, 2]), st.floats(0.5, 1.0), st.sampled_from(["depth", "breadth"]))
@settings(max_examples=150)
def test_nothing_undercuts_the_limit_and_engines_do_one_thing_at_a_time(
    pipeline: Pipeline, n: int, s: int, engines: int, duplex: float, order: Order
) -> None:
    pipeline = replace(pipeline, copy_engines=engines, duplex=duplex if engines > 1 else 1.0)
    timeline = simulate(pipeline, n, s, order)
    assert timeline.seconds >= limit(pipeline, s) * (1 - 1e-9)
    spans = sorted(timeline.spans, key=lambda span: span.begin)
    for key in ("engine", "stream"):
        last: dict[object, float] = {}
        for span in spans:
            lane = pipeline.engine(span.stage) if key == "engine" else span.stream
            assert span.begin >= last.get(lane, 0.0) - 1e-12
            last[lane] = span.end
    assert {(span.stage, span.chunk) for span in spans} == {
        (stage, c) for stage in ("h2d", "kernel", "d2h") for c in range(n)
    }


@given(PIPELINES, CHUNKS)
def test_the_best_number_of_chunks_is_a_minimum_of_the_law(pipeline: Pipeline, n: int) -> None:
    best = best_chunks(pipeline)
    if best < inf:
        near = [max(1, round(best) + d) for d in (-1, 0, 1)]
        assert min(closed_form(pipeline, k) for k in near) <= closed_form(pipeline, n) * (1 + 1e-9)


def test_the_published_figures_of_nvidias_article() -> None:
    """Milliseconds of 4 chunks in 4 streams; the stages are taken as a third each of the sequential time."""
    third = 12.92381 / 3  # Tesla C1060: one copy engine, one queue
    old = Pipeline(third, third, third, copy_engines=1, one_queue=True)
    assert simulate(old, 4, 4, "depth").seconds == pytest.approx(13.63690, rel=0.15)
    assert simulate(old, 4, 4, "breadth").seconds == pytest.approx(8.84588, rel=0.15)
    third = 9.984512 / 3  # Tesla C2050: two copy engines, completion of neighbouring kernels signalled late
    newer = Pipeline(third, third, third, one_queue=True, late_signal=True)
    assert simulate(newer, 4, 4, "depth").seconds == pytest.approx(5.735584, rel=0.15)
    assert simulate(newer, 4, 4, "breadth").seconds == pytest.approx(7.597984, rel=0.15)


def test_the_order_of_issue() -> None:
    depth = [f"{stage}{chunk}" for stage, chunk, _ in issue_order(2, 2, "depth")]
    breadth = [f"{stage}{chunk}" for stage, chunk, _ in issue_order(3, 2, "breadth")]
    assert depth == ["h2d0", "kernel0", "d2h0", "h2d1", "kernel1", "d2h1"]
    assert breadth == ["h2d0", "h2d1", "kernel0", "kernel1", "d2h0", "d2h1", "h2d2", "kernel2", "d2h2"]


def test_a_slow_host_bounds_the_pipeline() -> None:
    pipeline = Pipeline(1e-3, 1e-3, 1e-3, issue=1e-3)
    assert simulate(pipeline, 8, 4).seconds >= 24e-3  # three operations for each of eight chunks


def test_copies_both_ways_slow_each_other() -> None:
    alone = Pipeline(1.0, 0.001, 1.0)
    shared = replace(alone, duplex=0.5)
    assert simulate(shared, 64, 4).seconds > 1.8 * simulate(alone, 64, 4).seconds


@pytest.mark.parametrize(
    "wrong", [{"h2d": -1.0}, {"copy_engines": 0}, {"duplex": 0.0}, {"duplex": 1.1}, {"overhead": -1e-6}]
)
def test_what_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Pipeline(**{"h2d": 1.0, "kernel": 1.0, "d2h": 1.0, **wrong})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one chunk"):
        simulate(Pipeline(1.0, 1.0, 1.0), 0, 1)
