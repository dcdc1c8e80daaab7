"""The simulation: it is the law where the law applies, keeps to every limit, and NVIDIA's published figures come out of it."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parlab.cuda.pipeline_model import Pipeline, closed_form, each, limit, serial
from parlab.cuda.pipeline_simulation import Timeline, simulate
from parlab.cuda.plan import STAGES, Order, plan

SECONDS, OVERHEADS = st.floats(1e-4, 1.0), st.floats(0, 1e-2)
EACH = st.one_of(OVERHEADS, st.tuples(OVERHEADS, OVERHEADS, OVERHEADS))
PIPELINES = st.builds(Pipeline, SECONDS, SECONDS, SECONDS, overhead=EACH)
HANDED_OVER = st.builds(Pipeline, SECONDS, SECONDS, SECONDS, overhead=EACH, handover=OVERHEADS)
CHUNKS, STREAMS, ORDERS = st.integers(1, 24), st.integers(1, 6), st.sampled_from(["depth", "breadth", "staged"])


def streams_of(order: Order, streams: int) -> int:
    return len(STAGES) if order == "staged" else streams


@given(PIPELINES, CHUNKS, st.integers(3, 6))
def test_with_three_streams_and_two_engines_the_simulation_is_the_law(pipeline: Pipeline, n: int, s: int) -> None:
    assert simulate(pipeline, n, s).seconds == pytest.approx(closed_form(pipeline, n), rel=1e-9)


@given(HANDED_OVER, CHUNKS)
def test_with_a_stream_for_each_stage_it_is_the_law_with_handovers_too(pipeline: Pipeline, n: int) -> None:
    assert simulate(pipeline, n, 3, "staged").seconds == pytest.approx(closed_form(pipeline, n), rel=1e-9)


@given(HANDED_OVER, CHUNKS, st.sampled_from(["depth", "breadth"]))
def test_one_stream_overlaps_nothing(pipeline: Pipeline, n: int, order: Order) -> None:
    more = (n - 1) * (sum(each(pipeline.overhead)) + 3 * pipeline.handover)
    assert simulate(pipeline, n, 1, order).seconds == pytest.approx(serial(pipeline) + more, rel=1e-9)


@given(HANDED_OVER, CHUNKS, STREAMS, st.sampled_from([1, 2]), st.floats(0.5, 1.0), ORDERS)
@settings(max_examples=150)
def test_nothing_undercuts_the_limit_and_engines_do_one_thing_at_a_time(
    pipeline: Pipeline, n: int, s: int, engines: int, duplex: float, order: Order
) -> None:
    s = streams_of(order, s)
    pipeline = replace(pipeline, copy_engines=engines, duplex=duplex if engines > 1 else 1.0)
    timeline = simulate(pipeline, n, s, order)
    assert timeline.seconds >= limit(pipeline, s) * (1 - 1e-9)
    assert [span.what for span in timeline.spans] == plan(n, s, order)
    in_order(timeline)


def in_order(timeline: Timeline) -> None:
    """Engines and streams do one thing at a time; a stream, and an event, in the order of issue."""
    ends = [span.end for span in timeline.spans]
    engines: dict[str, float] = {}
    for span in sorted(timeline.spans, key=lambda span: span.begin):
        assert engines.get(span.engine, 0.0) - 1e-12 <= span.begin <= span.end
        engines[span.engine] = span.end
        assert span.begin >= span.issued
        assert all(span.begin >= ends[at] - 1e-12 for at in span.what.after)
    streams: dict[int, float] = {}
    for span in timeline.spans:
        assert span.begin >= streams.get(span.what.stream, 0.0) - 1e-12
        streams[span.what.stream] = span.end


@given(HANDED_OVER, CHUNKS, ORDERS, st.floats(1e-6, 1e-2), st.floats(0.5, 0.99))
@settings(max_examples=60)
def test_it_is_never_faster_with_a_worse_machine(
    pipeline: Pipeline, n: int, order: Order, more: float, duplex: float
) -> None:
    """Every stream has its own queue and n chunks all their stages, so no order of arrival can turn a loss into a gain."""
    fast = simulate(pipeline, n, 3, order).seconds
    overhead = each(pipeline.overhead)
    worse = [
        replace(pipeline, overhead=(overhead[0] + more, overhead[1] + more, overhead[2] + more)),
        replace(pipeline, handover=pipeline.handover + more),
        replace(pipeline, issue=more),
    ]
    for slower in worse if order == "staged" else worse[:1]:
        assert simulate(slower, n, 3, order).seconds >= fast * (1 - 1e-9)
    assert simulate(replace(pipeline, duplex=duplex), n, 3, "staged").seconds >= closed_form(pipeline, n) * (1 - 1e-9)


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


def test_two_streams_cap_a_balanced_pipeline() -> None:
    balanced = Pipeline(1.0, 1.0, 1.0)
    assert simulate(balanced, 200, 2).seconds == pytest.approx(1.5, rel=0.02)
    assert simulate(balanced, 200, 3).seconds == pytest.approx(1.0, rel=0.02)
    assert simulate(balanced, 200, 8).seconds == pytest.approx(simulate(balanced, 200, 3).seconds, rel=1e-9)


@pytest.mark.parametrize("order", ["depth", "breadth", "staged"])
def test_a_slow_host_bounds_the_pipeline(order: Order) -> None:
    pipeline = Pipeline(1e-3, 1e-3, 1e-3, issue=(1e-3, 2e-3, 3e-3))
    assert simulate(pipeline, 8, 3, order).seconds >= 48e-3  # three operations for each of eight chunks


def test_copies_both_ways_slow_each_other() -> None:
    alone = Pipeline(1.0, 0.001, 1.0)
    shared = replace(alone, duplex=0.5)
    assert simulate(shared, 64, 4).seconds > 1.8 * simulate(alone, 64, 4).seconds


def test_fewer_than_one_chunk_or_stream_is_refused() -> None:
    for chunks, streams in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="at least one chunk"):
            simulate(Pipeline(1.0, 1.0, 1.0), chunks, streams)
