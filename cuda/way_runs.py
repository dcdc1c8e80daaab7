"""Run the ways of parlab.cuda.ways on a GPU, and see what ran when. Needs CuPy.

run = run_of(problem, STAGED_GRAPH, 64)
spans = recorded(problem, DEPTH, 8)          # with events around each operation: not to be timed
"""

from collections.abc import Callable

from parlab.cuda.pipelines import Do, Problem, by_slices, chunked
from parlab.cuda.plan import Operation
from parlab.cuda.recorder import Recorder
from parlab.cuda.streams import Run, captured
from parlab.cuda.timeline import Span
from parlab.cuda.ways import SLICED, Way


def run_of(problem: Problem, way: Way, chunks: int) -> Run:
    """Return the run of a way."""
    if way == SLICED:
        return by_slices(problem, chunks, way.streams)
    run = chunked(problem, chunks, way.streams, way.order)
    return captured(run) if way.issued == "graph" else run


def recorded(problem: Problem, way: Way, chunks: int, do: Callable[[Run], object] = lambda run: run()) -> list[Span]:
    """Have a way run once, by `do`; return its operations as events around each saw them."""
    recorder, spans = Recorder(), list[Span]()

    def around(issue: Do, step: Operation) -> Do:
        return recorder.around(issue, step.stage, step.chunk, step.stream)

    run = chunked(problem, chunks, way.streams, way.order, around)
    do(lambda: spans.extend(recorder.spans(run)))
    return spans
