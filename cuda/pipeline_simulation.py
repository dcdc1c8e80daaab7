"""A pipeline of copies and kernels operation by operation: its whole timeline, predicted. No GPU is needed.

    simulate(Pipeline(h2d=5e-3, kernel=5e-3, d2h=5e-3, overhead=5e-6), chunks=8, streams=3).seconds      # 6.3e-3

Time passes from event to event: an operation is issued, may begin (its stream and the events that it waits for allow it, its engine is
free), or ends. Copies that share a link are slower while data go both ways, so their speeds change within an operation.

Source of the figures that the tests hold it to: M. Harris, How to Overlap Data Transfers in CUDA C/C++, NVIDIA developer blog, 2012.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

from parlab.cuda.pipeline_model import Pipeline, each
from parlab.cuda.plan import STAGES, Operation, Order, plan

AGAINST = {"h2d": "d2h", "d2h": "h2d"}


@dataclass(eq=False)
class Span:
    """One operation and when it ran (seconds from the first issue).

    left: seconds of work still to do at full speed. wait: seconds of overhead still to pass before the work begins. after: what must have
    ended, each with the seconds from that end until this one may begin.
    """

    what: Operation
    engine: str
    issued: float
    left: float
    wait: float
    after: list[tuple["Span", float]] = field(default_factory=list, repr=False)
    begin: float = inf
    end: float = inf

    @property
    def ready(self) -> float:
        """Return from when on it may begin; inf while something before it has not ended."""
        return max([self.issued, *(before.end + gap for before, gap in self.after)])


@dataclass(frozen=True)
class Timeline:
    """Everything that happened, in the order of issue."""

    spans: list[Span]

    @property
    def seconds(self) -> float:
        """Return when the last operation ended."""
        return max(span.end for span in self.spans)


def simulate(pipeline: Pipeline, chunks: int, streams: int, order: Order = "depth") -> Timeline:
    """Run the pipeline in equal chunks. ValueError for fewer than one chunk or stream."""
    spans = _spans(pipeline, chunks, plan(chunks, streams, order))
    waiting: dict[object, list[Span]] = {}  # what may be next: the heads of these queues, first issued last
    for span in reversed(spans):
        waiting.setdefault(span.engine if pipeline.one_queue else span.what.stream, []).append(span)
    now, running = 0.0, list[Span]()
    while running or any(waiting.values()):
        _begin(waiting, running, now)
        speeds = [_speed(pipeline, span, running) for span in running]
        steps = [s.wait if s.wait > 0 else s.left / speed for s, speed in zip(running, speeds, strict=True)]
        heads = [queue[-1].ready for queue in waiting.values() if queue]
        step = min([*steps, *(ready - now for ready in heads if now < ready < inf)])
        now += step
        for span, speed, own in zip(list(running), speeds, steps, strict=True):
            if own <= step and (span.wait == 0 or span.left == 0):
                span.end = now
                running.remove(span)
            elif span.wait > 0:
                span.wait = span.wait - step if own > step else 0.0
            else:
                span.left -= step * speed
    return Timeline(spans)


def _spans(pipeline: Pipeline, chunks: int, operations: Sequence[Operation]) -> list[Span]:
    """Give each operation its work, the time at which it is issued, and what it comes after."""
    work = dict(zip(STAGES, pipeline.stages, strict=True))
    overhead = dict(zip(STAGES, each(pipeline.overhead), strict=True))
    issue = dict(zip(STAGES, each(pipeline.issue), strict=True))
    spans: list[Span] = []
    last: dict[int, int] = {}
    issued = 0.0
    for i, what in enumerate(operations):
        issued += issue[what.stage]
        span = Span(what, pipeline.engine(what.stage), issued, work[what.stage] / chunks, overhead[what.stage])
        before = last.get(what.stream)
        for at in (*what.after, *(() if before is None else (before,))):
            span.after.append((spans[at], pipeline.handover if spans[at].engine != span.engine else 0.0))
        if pipeline.late_signal and before is not None and operations[before].stage == "kernel":
            while before + 1 < i and operations[before + 1].stage == "kernel":
                before += 1
                span.after.append((spans[before], 0.0))
        last[what.stream] = i
        spans.append(span)
    return spans


def _begin(waiting: dict[object, list[Span]], running: list[Span], now: float) -> None:
    """Begin what can begin: on each idle engine the first issued of the heads that are ready."""
    begun = True
    while begun:
        taken = {span.engine for span in running}
        heads = [
            queue for queue in waiting.values() if queue and queue[-1].ready <= now and queue[-1].engine not in taken
        ]
        begun = bool(heads)
        if begun:
            queue = min(heads, key=lambda queue: (queue[-1].issued, queue[-1].what.chunk))
            span = queue.pop()
            span.begin = now
            running.append(span)


def _speed(pipeline: Pipeline, span: Span, running: list[Span]) -> float:
    """Return the speed of an operation: a copy is slower while data go the other way."""
    against = AGAINST.get(span.what.stage)
    return pipeline.duplex if any(s.what.stage == against and s.wait <= 0 for s in running) else 1.0
