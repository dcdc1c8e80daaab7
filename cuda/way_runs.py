"""Run the ways of parlab.cuda.ways on a GPU, and see what ran when. Needs CuPy.

run = run_of(problem, STAGED_GRAPH, 64)
spans = recorded(problem, DEPTH, 8)          # with events around each operation: not to be timed
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from parlab.cuda import cupti_trace
from parlab.cuda.pipeline_model import best_chunks
from parlab.cuda.pipelines import Problem, by_slices, chunked, writes_home
from parlab.cuda.plan import Operation, plan
from parlab.cuda.recorder import Recorder
from parlab.cuda.streams import Do, Run, captured
from parlab.cuda.timeline import Span
from parlab.cuda.ways import BREADTH, CHUNKS, DEPTH, DEPTH_GRAPH, SLICED, STAGED, STAGED_GRAPH, Machine, Way, best


def run_of(problem: Problem, way: Way, chunks: int) -> Run:
    """Return the run of a way."""
    if way == SLICED:
        return by_slices(problem, chunks, way.streams)
    run = chunked(problem, chunks, way.streams, way.order)
    return captured(run) if way.issued == "graph" else run


def advised(problem: Problem, machine: Machine) -> dict[str, tuple[Run, int]]:
    """Return the chunked ways by name: the run of each, and in how many chunks, which is what the model of the problem advises."""
    few, many = best(machine, DEPTH), best(machine, STAGED)
    chosen = {SLICED: few, DEPTH: few, BREADTH: few, DEPTH_GRAPH: few, STAGED: many, STAGED_GRAPH: many}
    runs = {str(way): (run_of(problem, way, n), n) for way, n in chosen.items()}
    shorter = replace(machine[STAGED.kind], kernel=0.0)  # where the kernel writes to the host, there is one stage less
    n = round(min(CHUNKS[-1], best_chunks(shorter)))
    home = writes_home(problem, n)
    return runs | {"kernel writes home": (home, n), "kernel writes home, graph": (captured(home), n)}


def recorded(problem: Problem, way: Way, chunks: int, do: Callable[[Run], object] = lambda run: run()) -> list[Span]:
    """Have a way run once, by `do`; return its operations as events around each saw them."""
    recorder, spans = Recorder(), list[Span]()

    def around(issue: Do, step: Operation) -> Do:
        return recorder.around(issue, step.stage, step.chunk, step.stream)

    run = chunked(problem, chunks, way.streams, way.order, around)
    do(lambda: spans.extend(recorder.spans(run)))
    return spans


def beside_cupti(problem: Problem, way: Way, chunks: int) -> tuple[list[Span], list[Span]]:
    """Have a way run once; return its operations as the events saw them, and as CUPTI saw them in the same run.

    Raises what PyTorch does where it cannot look: ImportError, RuntimeError, AssertionError (it was built without CUDA); ValueError as
    cupti_trace.spans says.
    """
    trace = list[Any]()
    ours = recorded(problem, way, chunks, lambda run: trace.extend(cupti_trace.activities(run)))
    return ours, cupti_trace.spans(trace, plan(chunks, way.streams, way.order))
