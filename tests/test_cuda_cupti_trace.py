"""What CUPTI tells is read as the operations of a plan, and laid on what the events saw."""

from dataclasses import replace
from typing import Any

import pytest

from parlab.cuda.cupti_trace import differences, spans
from parlab.cuda.pipeline_model import Pipeline
from parlab.cuda.pipeline_simulation import simulate
from parlab.cuda.plan import STAGES, Order, plan
from parlab.cuda.timeline import Span, predicted

NAMES = {"h2d": "Memcpy HtoD (Pinned -> Device)", "d2h": "Memcpy DtoH (Device -> Pinned)", "kernel": "work"}
PIPELINE = Pipeline(5e-3, 4e-3, 5e-3, overhead=4e-6, handover=4e-6, duplex=0.9)


def trace_of(found: list[Span], first: int = 14) -> list[dict[str, Any]]:
    """A trace as torch.profiler writes it, in us, with other events in between, streams numbered from `first`."""
    events: list[dict[str, Any]] = [
        {"cat": "cuda_runtime", "ts": 1.0, "dur": 2.0, "name": "cudaMemcpyAsync"},
        {"ph": "M"},
    ]
    for s in sorted(found, key=lambda s: s.end, reverse=True):
        cat = "kernel" if s.stage == "kernel" else "gpu_memcpy"
        times = {"ts": 4.5e12 + 1e6 * s.begin, "dur": 1e6 * (s.end - s.begin)}
        events.append({"ph": "X", "cat": cat, "name": NAMES[s.stage], "args": {"stream": first + s.stream}, **times})
    return events


@pytest.mark.parametrize(("streams", "order"), [(4, "depth"), (4, "breadth"), (3, "staged"), (1, "depth")])
def test_a_trace_is_read_as_what_was_run(streams: int, order: Order) -> None:
    ran = predicted(simulate(PIPELINE, 8, streams, order))
    read = spans(trace_of(ran), plan(8, streams, order))
    key = lambda s: (s.stage, s.chunk)  # noqa: E731
    for a, b in zip(sorted(ran, key=key), sorted(read, key=key), strict=True):
        assert (a.stage, a.chunk, a.stream) == (b.stage, b.chunk, b.stream)
        assert (b.begin, b.end) == pytest.approx((a.begin, a.end), abs=1e-8)


def test_more_or_less_than_the_plan_is_refused() -> None:
    ran = predicted(simulate(PIPELINE, 4, 2))
    with pytest.raises(ValueError, match="3 operations of the plan are not in the trace"):
        spans(trace_of(ran), plan(5, 2, "depth"))
    with pytest.raises(ValueError, match="the trace has more than the plan: "):
        spans(trace_of(ran), plan(3, 2, "depth"))
    with pytest.raises(ValueError, match="more than the plan: Memset"):
        spans([*trace_of(ran), trace_of(ran)[-1] | {"name": "Memset", "ts": 9e12}], plan(4, 2, "depth"))


def test_differences_do_not_depend_on_the_zeros_of_the_clocks() -> None:
    ran = predicted(simulate(PIPELINE, 8, 4))
    later = [replace(s, begin=s.begin + 7.0, end=s.end + 7.0) for s in ran]
    assert max(d for found in differences(later, ran).values() for d in found) < 1e-9
    late = [replace(s, end=s.end + 1e-5 * (s.chunk == 3)) for s in ran]
    apart = differences(late, ran)
    assert sorted(apart) == ["begin", "duration", "end"]
    assert sum(d > 5e-6 for d in apart["end"]) == 3
    assert max(apart["end"]) == pytest.approx(1e-5, rel=1e-3)


@pytest.mark.gpu
def test_cupti_sees_the_same_operations(gpu: None) -> None:
    """Each engine carried out the same operations in the same order."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("PyTorch sees no GPU")
    from parlab.cuda.pipelines import Problem
    from parlab.cuda.way_runs import beside_cupti
    from parlab.cuda.ways import DEPTH

    mine = Problem(1 << 26, 2000)
    mine.source[:] = 1.0
    ours, theirs = beside_cupti(mine, DEPTH, 4)
    for stage in STAGES:
        seen = [[s.chunk for s in sorted(found, key=lambda s: s.end) if s.stage == stage] for found in (ours, theirs)]
        assert seen[0] == seen[1]
    assert set(differences(ours, theirs)) == {"begin", "end", "duration"}
