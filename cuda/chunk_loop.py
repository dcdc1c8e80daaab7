"""The loop over the chunks of a problem as people write it, with a body that is free to do it wrong. Needs CuPy.

    run = program(problem, Way((overlapped,)))      # 16 chunks in 4 streams, depth first: copies and kernels overlap
    overlap(recorded(problem, Way((overlapped,))))  # 0.6: the share of the engines' time that is hidden

parlab.cuda.pipelines has the ways that are right; parlab.cuda.killers has bodies that are not.
"""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import Any

import cupy as cp
import numpy as np

from parlab.cuda.buffers import address
from parlab.cuda.pipelines import Problem, compute
from parlab.cuda.plan import STAGES, parts
from parlab.cuda.recorder import Recorder
from parlab.cuda.streams import Do, Run, fork, join, several
from parlab.cuda.timeline import DEFAULT, Span, busy
from parlab.cuda.transfers import by_engine

CHUNKS, STREAMS = 16, 4
TIMES = 5  # runs of which the median is taken


class Chunk:
    """A part of the problem and its stream. source, result: on the host; given, made: on the GPU: `count` float32 each, views."""

    def __init__(
        self, problem: Problem, number: int, part: slice, lane: int, stream: Any, recorder: Recorder | None
    ) -> None:
        self.number, self.lane, self.stream, self.recorder = number, lane, stream, recorder
        self.count, self.turns = part.stop - part.start, problem.turns
        self.source, self.result = problem.source[part], problem.result[part]
        self.given, self.made = problem.given[part], problem.made[part]
        self.stages = {stage: problem.stage(stage, part) for stage in STAGES}

    def do(self, stage: str, issue: Do, default: Any = None) -> None:
        """Issue an operation, done by the engine of this stage, to the chunk's stream, or to the default stream that is given."""
        if self.recorder:
            issue = self.recorder.around(issue, stage, self.number, self.lane if default is None else DEFAULT)
        issue(self.stream if default is None else default)

    def h2d(self) -> None:
        """Copy the input to the GPU."""
        self.do("h2d", self.stages["h2d"])

    def kernel(self) -> None:
        """Compute."""
        self.do("kernel", self.stages["kernel"])

    def d2h(self) -> None:
        """Copy the output to the host."""
        self.do("d2h", self.stages["d2h"])

    def through(self, given: Any) -> None:
        """Do all three with another array of the GPU for the input."""
        self.do("h2d", by_engine(given, self.source))
        self.do("kernel", compute(address(self.made), address(given), self.count, self.turns))
        self.d2h()


Body = Callable[[Chunk], None]


@dataclass(frozen=True)
class Way:
    """How to run the problem. bodies: what is done for each chunk, each body in a loop of its own.

    blocking: streams that wait for the legacy default stream, and it for them: CuPy's, unless told otherwise.
    """

    bodies: tuple[Body, ...]
    chunks: int = CHUNKS
    streams: int = STREAMS
    blocking: bool = False


def overlapped(chunk: Chunk) -> None:
    """Do it right: three asynchronous calls with pinned memory, in the chunk's own stream."""
    chunk.h2d()
    chunk.kernel()
    chunk.d2h()


def program(problem: Problem, way: Way, recorder: Recorder | None = None) -> Run:
    """Cut the problem into chunks, a stream after the other; return what runs the way's loops over them."""
    lanes = blocking_streams(way.streams) if way.blocking else several(way.streams)
    chunks = [
        Chunk(problem, i, part, i % way.streams, lanes[i % way.streams], recorder)
        for i, part in enumerate(parts(problem.count, way.chunks))
    ]

    def run() -> None:
        fork(lanes)
        for body in way.bodies:
            for chunk in chunks:
                body(chunk)
        join(lanes)

    return run


@cache
def blocking_streams(count: int) -> list[Any]:
    """Return streams of the other kind, the same at every call."""
    return [cp.cuda.Stream() for _ in range(count)]


def checked(problem: Problem, run: Run) -> str | None:
    """Run once with nothing but NaN in the output and on the GPU; say what is wrong with the result, or None."""
    for array in (problem.given, problem.made, problem.result):
        array.fill(np.nan)  # else an earlier run's data would be there, and right
    cp.cuda.runtime.deviceSynchronize()
    run()
    cp.cuda.runtime.deviceSynchronize()
    return problem.wrong()


def recorded(problem: Problem, way: Way) -> list[Span]:
    """Run the problem and return what ran when; once before that, so that kernels are loaded and pools are filled."""
    program(problem, way)()
    recorder = Recorder()
    return recorder.spans(program(problem, way, recorder))


def stages(problem: Problem) -> dict[str, float]:
    """Return the seconds of each stage alone: of the whole problem, one after the other."""
    found = [busy(recorded(problem, Way((overlapped,), 1, 1))) for _ in range(TIMES)]
    return {stage: median(times[stage] for times in found) for stage in STAGES}


def balanced(problem: Problem) -> Problem:
    """Return the problem with so many turns that the kernel takes as long as the copy in; its time is taken to grow with them from 0 on."""
    alone = stages(problem)
    return problem.with_turns(max(1, round(problem.turns * alone["h2d"] / alone["kernel"])))


def pageable(problem: Problem, *sides: str) -> Problem:
    """Return the same problem with ordinary memory for its "source", its "result" or both, and the same memory of the GPU."""
    other = copy(problem)
    if "source" in sides:
        other.source = problem.source.copy()
        other.inputs = [other.source]
    if "result" in sides:
        other.result = problem.result.copy()
        other.outputs = [other.result, *problem.outputs[1:]]
    return other
