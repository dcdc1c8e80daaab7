"""Timelines: interval arithmetic is exact, engines do one thing at a time, and overlap is what it says. No GPU is needed."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlab.cuda.pipeline_model import Pipeline
from parlab.cuda.pipeline_simulation import simulate
from parlab.cuda.timeline import Span, busy, engine_lanes, hidden, on_engines, overlap, predicted, stream_lanes, union

# Whole numbers and their halves: floating point adds them exactly.
TIMES = st.integers(0, 200).map(lambda t: t / 2)
INTERVALS = st.lists(st.tuples(TIMES, TIMES).map(lambda pair: (min(pair), max(pair))))
SPANS = st.lists(
    st.builds(
        lambda stage, chunk, stream, pair: Span(stage, chunk, stream, min(pair), max(pair)),
        st.sampled_from(["h2d", "kernel", "d2h"]),
        st.integers(0, 9),
        st.integers(0, 3),
        st.tuples(TIMES, TIMES),
    )
)
PIPELINES = st.builds(Pipeline, *[st.floats(1e-3, 1e-1)] * 3, overhead=st.floats(0, 1e-4), duplex=st.floats(0.5, 1.0))


@given(INTERVALS, st.permutations(range(8)), st.integers(-50, 50))
def test_a_union_counts_each_moment_once(intervals: list[tuple[float, float]], order: list[int], shift: int) -> None:
    found = union(intervals)
    moments = {m for begin, end in intervals for m in range(int(2 * begin), int(2 * end))}  # halves, one by one
    assert found == len(moments) / 2
    assert found <= sum(end - begin for begin, end in intervals)
    assert union([intervals[i] for i in order if i < len(intervals)] + intervals[8:]) == found
    assert union([(begin + shift, end + shift) for begin, end in intervals]) == found


@given(SPANS)
def test_an_engine_does_one_thing_at_a_time_and_nothing_is_lost(spans: list[Span]) -> None:
    working = on_engines(spans)
    last: dict[str, float] = {}
    for span in working:
        assert last.get(span.stage, span.begin) <= span.begin <= span.end
        last[span.stage] = span.end
    assert sorted((s.stage, s.chunk, s.stream, s.end) for s in working) == sorted(
        (s.stage, s.chunk, s.stream, s.end) for s in spans
    )
    for stage, seconds in busy(spans).items():
        assert seconds == union((s.begin, s.end) for s in working if s.stage == stage)
        assert seconds <= union((s.begin, s.end) for s in spans if s.stage == stage)  # only waiting is taken away
    assert sorted(on_engines(working), key=str) == sorted(working, key=str)


@given(SPANS, st.integers(0, 50))
def test_overlap_is_a_share_that_stays_under_translation(spans: list[Span], shift: int) -> None:
    found = overlap(spans)
    assert 0 <= found <= 2 / 3 + 1e-12  # there are three engines
    moved = [replace(span, begin=span.begin + shift, end=span.end + shift) for span in spans]
    assert overlap(moved) == found
    assert overlap(spans[::-1]) == found


def test_what_waits_for_its_engine_is_not_at_work() -> None:
    first, second = Span("h2d", 0, 0, 0.0, 2.0), Span("h2d", 1, 1, 0.0, 3.0)
    assert on_engines([second, first]) == [first, replace(second, begin=2.0)]
    assert busy([first, second]) == {"h2d": 3.0}
    assert overlap([first, second]) == 0.0


def test_overlap_of_known_timelines() -> None:
    three = [Span(stage, 0, i, 0.0, 1.0) for i, stage in enumerate(("h2d", "kernel", "d2h"))]
    assert overlap(three) == pytest.approx(2 / 3)
    assert overlap([Span("h2d", 0, 0, 0.0, 1.0), Span("kernel", 0, 0, 1.0, 2.0)]) == 0.0
    assert overlap([Span("h2d", 0, 0, 0.0, 2.0), Span("kernel", 0, 0, 1.0, 3.0)]) == 0.25
    assert overlap([]) == 0.0


@given(PIPELINES, st.integers(1, 12), st.integers(1, 4))
def test_a_simulation_has_engines_that_never_wait_for_themselves(pipeline: Pipeline, chunks: int, streams: int) -> None:
    spans = predicted(simulate(pipeline, chunks, streams))
    assert sorted(on_engines(spans), key=str) == sorted(spans, key=str)
    if streams == 1 or chunks == 1:
        assert overlap(spans) == pytest.approx(0, abs=1e-9)
    total = sum(busy(spans).values())
    assert union((s.begin, s.end) for s in spans) == pytest.approx((1 - overlap(spans)) * total)


def test_lanes_hold_every_span_once_by_engine_and_by_stream() -> None:
    spans = predicted(simulate(Pipeline(3.0, 2.0, 1.0), 5, 2))
    engines, streams = engine_lanes(spans), stream_lanes(spans)
    assert [name for name, _ in engines] == ["h2d", "kernel", "d2h"]
    assert [name for name, _ in streams] == ["stream 0", "stream 1"]
    assert sorted(box for _, boxes in engines for box in boxes) == sorted(box for _, boxes in streams for box in boxes)
    assert [label for *_, label in engines[1][1]] == [f"kernel {chunk}" for chunk in range(5)]
    assert hidden([*engines, *streams], ["h2d", "kernel", "d2h"]) == pytest.approx(overlap(spans))
    for _, boxes in engines + streams:
        assert all(before[1] <= after[0] for before, after in pairwise(boxes))
