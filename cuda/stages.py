"""The stages of a pipeline by themselves: the runs from whose times parlab.cuda.calibration makes its model. Needs CuPy.

one_stage(problem, "h2d", 16)                    # 16 copies, one after the other
one_stage(problem, "kernel", 16, streams=4)      # 16 kernels, in turns to four streams: they may run beside each other
one_stage(problem, "kernel", 16, marked=True)    # with an event recorded after each, as "staged" needs them
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from parlab.cuda.calibration import ALONE, APART, BARE, BARE_KERNEL, SERIAL, SERIAL_KERNEL, SEVERAL
from parlab.cuda.pipelines import Problem, chunked, different
from parlab.cuda.plan import STAGES, Stage, parts
from parlab.cuda.streams import Run, event, fork, join, several
from parlab.cuda.transfers import at_once
from parlab.cuda.ways import Kind

STREAMS = 4  # of what stands for several


def one_stage(problem: Problem, stage: Stage, chunks: int, streams: int = 1, marked: bool = False) -> Run:
    """Return the run that does one stage of the whole problem, in chunks. ValueError as `parts` says."""
    issues = [problem.stage(stage, part) for part in parts(problem.count, chunks)]
    lanes = several(streams)
    marks = [event() for _ in issues] if marked else []

    def run() -> None:
        fork(lanes)
        for i, issue in enumerate(issues):
            stream = lanes[i % streams]
            issue(stream)
            if marks:
                stream.record(marks[i])
        join(lanes)

    return run


def both_ways(problem: Problem) -> Run:
    """Return the run that copies all in and all out, both at once: what a pipeline could be if only the link counted."""
    everything = slice(0, problem.count)
    return at_once(problem.stage("h2d", everything), problem.stage("d2h", everything))


def output(problem: Problem, stage: Stage) -> Any:
    """Return the array that a stage fills."""
    return {"h2d": problem.given, "kernel": problem.made, "d2h": problem.result}[stage]


def wrong_after(problem: Problem, stage: Stage) -> str | None:
    """Say where a stage's output is not what its input, as it is now, asks for; None where nowhere."""
    if stage == "kernel":
        return different(problem.made, problem.computed(problem.given))
    return different(output(problem, stage), problem.source if stage == "h2d" else problem.made)


@dataclass(frozen=True)
class Piece:
    """A run that the calibration asks for: what of the problem it does, in which kind of way, in how many chunks; what checks it.

    inputs: of the whole problem, to be changed between runs. outputs: what this run must fill.
    """

    what: str
    kind: Kind
    chunks: int
    run: Run
    wrong: Callable[[], str | None]
    inputs: Sequence[Any]
    outputs: Sequence[Any]


def piece(problem: Problem, stage: Stage, chunks: int = 1, what: str = "", kind: Kind = ALONE, **how: Any) -> Piece:
    """Return the piece that does one stage; how: as `one_stage` says."""
    run, wrong = one_stage(problem, stage, chunks, **how), partial(wrong_after, problem, stage)
    return Piece(what or stage, kind, chunks, run, wrong, problem.inputs, [output(problem, stage)])


def pieces(problem: Problem, kernels: Mapping[str, int], alone: Sequence[int], piped: Sequence[int]) -> Iterator[Piece]:
    """Yield all that calibration.machine needs, but for what the host takes. kernels: turns by name, with those of BARE and SERIAL.

    alone, piped: numbers of chunks of single stages (1 first) and of whole pipelines.
    """
    for n in alone:
        yield piece(problem, "h2d", n)
        yield piece(problem, "d2h", n)
        for name, turns in kernels.items():
            own = problem.with_turns(turns)
            yield piece(own, "kernel", n, name)
            if n > 1 and name != BARE_KERNEL:
                yield piece(own, "kernel", n, name, SEVERAL, streams=STREAMS)
                yield piece(own, "kernel", n, name, APART, marked=True)
    bare, serial = (problem.with_turns(kernels[name]) for name in (BARE_KERNEL, SERIAL_KERNEL))
    arrays = problem.inputs, problem.outputs
    for n in piped:
        yield Piece(SERIAL, ALONE, n, chunked(serial, n, 1), serial.wrong, *arrays)
        yield Piece(BARE, SEVERAL, n, chunked(bare, n, STREAMS), bare.wrong, *arrays)
        yield Piece(BARE, APART, n, chunked(bare, n, len(STAGES), "staged"), bare.wrong, *arrays)
