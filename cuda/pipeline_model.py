"""What overlap can give: a pipeline of copy in, kernel, copy out, cut into n chunks and issued to s streams. No GPU is needed.

`closed_form` is the law; `simulate` runs the same pipeline operation by operation and gives its whole timeline, also where the law is
silent: one copy engine, few streams, a link that both directions share, a host that is slow to issue.

    pipeline = Pipeline(h2d=5e-3, kernel=5e-3, d2h=5e-3, overhead=5e-6)
    best_chunks(pipeline)                            # 45: more of them cost more overhead than they overlap
    simulate(pipeline, chunks=8, streams=3).seconds  # 6.3e-3, where the serial program takes 15e-3

Sources: M. Harris, How to Overlap Data Transfers in CUDA C/C++, NVIDIA developer blog, 2012 (the four figures that the tests hold the
simulation to); J. Hennessy and D. Patterson, Computer Architecture, appendix C (the law of a pipeline).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf, sqrt
from typing import Literal

Order = Literal["depth", "breadth"]
STAGES = ("h2d", "kernel", "d2h")


@dataclass(frozen=True)
class Pipeline:
    """Seconds of each stage for the whole problem, and what the machine is like.

    overhead: seconds that every chunk adds to every stage. copy_engines: 1: both directions share one. duplex: speed of a copy while one
    goes the other way, 1: as fast as alone. issue: seconds that the host needs for each operation. one_queue: an engine takes its
    operations strictly in the order of issue (before Kepler's HyperQ); else the first that is ready. late_signal: kernels that were issued
    one right after the other are reported as done all together (Fermi).
    """

    h2d: float
    kernel: float
    d2h: float
    overhead: float = 0.0
    copy_engines: int = 2
    duplex: float = 1.0
    issue: float = 0.0
    one_queue: bool = False
    late_signal: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be: ValueError."""
        if min(self.h2d, self.kernel, self.d2h, self.overhead, self.issue) < 0 or self.copy_engines < 1:
            raise ValueError(f"times are not negative and there is at least one copy engine: {self}")
        if not 0 < self.duplex <= 1:
            raise ValueError(f"duplex is a share of the speed alone, above 0 and up to 1: {self.duplex}")

    @property
    def stages(self) -> tuple[float, float, float]:
        """Seconds of the three stages."""
        return self.h2d, self.kernel, self.d2h

    def engine(self, stage: str) -> str:
        """Return what carries a stage out."""
        return stage if stage == "kernel" or self.copy_engines > 1 else "copy"


@dataclass
class Span:
    """One operation: what it does, for which chunk, in which stream, and when (seconds from the first issue)."""

    stage: str
    chunk: int
    stream: int
    issued: float
    left: float  # seconds of work still to do at full speed
    wait: float  # seconds of overhead still to pass before the work begins
    begin: float = inf
    end: float = inf
    after: list["Span"] = field(default_factory=list, repr=False)


@dataclass(frozen=True)
class Timeline:
    """Everything that happened, in the order of issue."""

    spans: list[Span]

    @property
    def seconds(self) -> float:
        """Return when the last operation ended."""
        return max(span.end for span in self.spans)


def serial(pipeline: Pipeline) -> float:
    """Return the seconds of the program that overlaps nothing: one chunk, one stage after the other."""
    return sum(pipeline.stages) + 3 * pipeline.overhead


def limit(pipeline: Pipeline, streams: int = 3) -> float:
    """Return the seconds that no number of chunks can undercut: the busiest engine, the shared link, the streams.

    A link of which each direction keeps a share `duplex` of its speed carries the shorter copy and as much of the longer at that speed, the
    rest alone.
    """
    shorter, longer = sorted((pipeline.h2d, pipeline.d2h))
    copies = pipeline.h2d + pipeline.d2h if pipeline.copy_engines == 1 else shorter / pipeline.duplex + longer - shorter
    return max(copies, pipeline.kernel, sum(pipeline.stages) / streams)


def closed_form(pipeline: Pipeline, chunks: int) -> float:
    """Return T(n) = sum of (w_i / n + l) + (n - 1) max (w_i / n + l): two copy engines, three or more streams, a full-duplex link."""
    steps = [stage / chunks + pipeline.overhead for stage in pipeline.stages]
    return sum(steps) + (chunks - 1) * max(steps)


def best_chunks(pipeline: Pipeline) -> float:
    """Return n* = sqrt((S - M) / l), where T(n) is least; S: sum of the stages, M: the longest. inf where chunks cost nothing."""
    rest = sum(pipeline.stages) - max(pipeline.stages)
    return sqrt(rest / pipeline.overhead) if pipeline.overhead else inf


def issue_order(chunks: int, streams: int, order: Order) -> Iterator[tuple[str, int, int]]:
    """Yield (stage, chunk, stream) as the host issues them: depth-first chunk by chunk, or breadth-first stage by stage of a round."""
    for first in range(0, chunks, streams if order == "breadth" else 1):
        round_of = range(first, min(chunks, first + (streams if order == "breadth" else 1)))
        for stage in STAGES:
            for chunk in round_of:
                yield stage, chunk, chunk % streams


def simulate(pipeline: Pipeline, chunks: int, streams: int, order: Order = "depth") -> Timeline:
    """Run the pipeline operation by operation. ValueError for fewer than one chunk or stream."""
    if chunks < 1 or streams < 1:
        raise ValueError(f"at least one chunk and one stream: {chunks}, {streams}")
    spans = [
        Span(stage, chunk, stream, (i + 1) * pipeline.issue, getattr(pipeline, stage) / chunks, pipeline.overhead)
        for i, (stage, chunk, stream) in enumerate(issue_order(chunks, streams, order))
    ]
    _order_streams(spans, pipeline.late_signal)
    now, running = 0.0, list[Span]()
    waiting = list(spans)
    while waiting or running:
        for span in _startable(pipeline, waiting, running, now):
            span.begin = now
            waiting.remove(span)
            running.append(span)
        speeds = [_speed(pipeline, span, running) for span in running]
        steps = [s.wait if s.wait > 0 else s.left / speed for s, speed in zip(running, speeds, strict=True)]
        step = min([*steps, *(s.issued - now for s in waiting if s.issued > now)])
        now += step
        for span, speed, own in zip(list(running), speeds, steps, strict=True):
            if own > step:
                span.wait, span.left = (
                    (span.wait - step, span.left) if span.wait > 0 else (0.0, span.left - step * speed)
                )
            elif span.wait > 0 and span.left > 0:
                span.wait = 0.0
            else:
                span.end = now
                running.remove(span)
    return Timeline(spans)


def _order_streams(spans: list[Span], late_signal: bool) -> None:
    """Let each operation follow the one before it in its stream, and, where signals come late, what was issued with that one."""
    last: dict[int, Span] = {}
    for i, span in enumerate(spans):
        before = last.get(span.stream)
        if before is not None:
            span.after.append(before)
            if late_signal and before.stage == "kernel":
                at = spans.index(before)
                while at + 1 < i and spans[at + 1].stage == "kernel":
                    at += 1
                    span.after.append(spans[at])
        last[span.stream] = span


def _startable(pipeline: Pipeline, waiting: list[Span], running: list[Span], now: float) -> list[Span]:
    """Return the operations that begin now: at most one for each idle engine."""
    taken = {pipeline.engine(span.stage) for span in running}
    found = []
    for span in waiting:
        engine = pipeline.engine(span.stage)
        if engine in taken:
            continue
        if span.issued <= now and all(before.end <= now for before in span.after):
            found.append(span)
            taken.add(engine)
        elif pipeline.one_queue:
            taken.add(engine)  # the head of the queue is not ready, and all behind it wait
    return found


def _speed(pipeline: Pipeline, span: Span, running: list[Span]) -> float:
    """Return the speed of an operation: a copy is slower while data go the other way."""
    against = {"h2d": "d2h", "d2h": "h2d"}.get(span.stage)
    return pipeline.duplex if any(s.stage == against and s.wait <= 0 for s in running) else 1.0
