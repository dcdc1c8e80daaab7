"""What is issued to which stream in which order, and how a problem is cut."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlab.cuda.plan import STAGES, Operation, Order, parts, plan

MANY = st.integers(1, 40)
ORDERS = st.sampled_from(["depth", "breadth", "staged"])


def told(operations: list[Operation]) -> list[str]:
    return [f"{o.stage}{o.chunk}" for o in operations]


def test_the_orders() -> None:
    assert told(plan(2, 2, "depth")) == ["h2d0", "kernel0", "d2h0", "h2d1", "kernel1", "d2h1"]
    breadth = ["h2d0", "h2d1", "kernel0", "kernel1", "d2h0", "d2h1", "h2d2", "kernel2", "d2h2"]
    assert told(plan(3, 2, "breadth")) == breadth
    assert told(plan(2, 3, "staged")) == told(plan(2, 2, "depth"))
    assert [o.stream for o in plan(2, 3, "staged")] == [0, 1, 2, 0, 1, 2]
    assert [o.after for o in plan(2, 3, "staged")] == [(), (0,), (1,), (), (3,), (4,)]


@given(MANY, st.integers(1, 9), ORDERS)
def test_every_operation_is_issued_once_and_after_the_stage_before_it(chunks: int, streams: int, order: Order) -> None:
    streams = len(STAGES) if order == "staged" else streams
    operations = plan(chunks, streams, order)
    assert Counter(told(operations)) == Counter(f"{stage}{c}" for stage in STAGES for c in range(chunks))
    at = {(o.stage, o.chunk): i for i, o in enumerate(operations)}
    for o in operations:
        assert 0 <= o.stream < streams
        before = STAGES.index(o.stage) - 1
        if before >= 0:  # the stage before is earlier in the same stream, or awaited
            i = at[STAGES[before], o.chunk]
            assert i < at[o.stage, o.chunk]
            assert operations[i].stream == o.stream or i in o.after
        assert all(operations[i].stream != o.stream for i in o.after)  # an event within a stream would say nothing


@given(st.integers(1, 10**9), MANY)
def test_parts_cover_everything_once_and_differ_by_one_at_most(size: int, chunks: int) -> None:
    found = parts(size, chunks)
    assert len(found) == min(size, chunks)
    assert (found[0].start, found[-1].stop) == (0, size)
    assert all(a.stop == b.start for a, b in pairwise(found))
    sizes = {part.stop - part.start for part in found}
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("chunks", "streams"), [(0, 1), (1, 0), (-3, 2)])
def test_what_cannot_be_is_refused(chunks: int, streams: int) -> None:
    with pytest.raises(ValueError, match="at least one chunk"):
        plan(chunks, streams, "depth")


def test_staged_has_a_stream_for_each_stage() -> None:
    with pytest.raises(ValueError, match="a stream for each of the 3 stages, not 4"):
        plan(4, 4, "staged")


@pytest.mark.parametrize(("size", "chunks"), [(0, 1), (1, 0), (-1, 1)])
def test_nothing_cannot_be_cut(size: int, chunks: int) -> None:
    with pytest.raises(ValueError, match="at least one element"):
        parts(size, chunks)
