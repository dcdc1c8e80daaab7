"""What ran when: the intervals of operations, and how much of their time is hidden behind each other. No GPU is needed.

    spans = Recorder().spans(run)        # parlab.cuda.recorder; or predicted(simulate(...))
    bench.lanes(team, {"way": "depth"}, engine_lanes(spans))
    overlap(spans)                       # 0: one after the other; 2/3: three stages of the same length, all at once

A pair of events tells from when on the stream was ready for an operation until when the operation was done; what waits for a busy engine
begins later than that. So an engine is taken to do one thing at a time, in the order in which things end, each from when it was ready or
the one before it was done. That holds for the copies of one direction, whose link is full with one of them, for the host's callbacks and
for kernels that fill the device. Small kernels, which run beside each other, would look as if they took turns.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from parlab.cuda.pipeline_simulation import Timeline

DEFAULT = -1

Lane = tuple[str, list[tuple[float, float, str]]]  # its name, and its spans: begin, end, label


@dataclass(frozen=True)
class Span:
    """One operation. stage: what it does, and the engine that does it; begin, end: seconds from a common zero.

    stream: its index in the program; DEFAULT: it strayed to the default stream.
    """

    stage: str
    chunk: int
    stream: int
    begin: float
    end: float


def predicted(timeline: Timeline) -> list[Span]:
    """Return the spans of a simulation."""
    return [Span(s.what.stage, s.what.chunk, s.what.stream, s.begin, s.end) for s in timeline.spans]


def on_engines(spans: Iterable[Span]) -> list[Span]:
    """Return the spans, in the order of their ends, without the time in which an operation waited for its engine."""
    found = []
    free: dict[str, float] = {}
    for span in sorted(spans, key=lambda span: (span.end, span.begin)):
        found.append(replace(span, begin=max(span.begin, free.get(span.stage, span.begin))))
        free[span.stage] = span.end
    return found


def engine_lanes(spans: Sequence[Span]) -> list[Lane]:
    """Return a lane for each engine, in the order in which they were first asked for."""
    working = on_engines(spans)
    return [(name, _boxes(s for s in working if s.stage == name)) for name in dict.fromkeys(s.stage for s in spans)]


def stream_lanes(spans: Sequence[Span]) -> list[Lane]:
    """Return a lane for each stream, with what its operations did on the engines."""
    working = on_engines(spans)
    names = {i: "default stream" if i == DEFAULT else f"stream {i}" for i in sorted({s.stream for s in spans})}
    return [(name, _boxes(s for s in working if s.stream == i)) for i, name in names.items()]


def _boxes(spans: Iterable[Span]) -> list[tuple[float, float, str]]:
    return [(span.begin, span.end, f"{span.stage} {span.chunk}") for span in spans]


def union(intervals: Iterable[tuple[float, float]]) -> float:
    """Return the time in which at least one of the intervals (begin, end) lasts."""
    total, last = 0.0, float("-inf")
    for begin, end in sorted(intervals):
        total += max(0.0, end - max(begin, last))
        last = max(last, end)
    return total


def busy(spans: Iterable[Span]) -> dict[str, float]:
    """Return for how many seconds each engine works."""
    found: dict[str, float] = {}
    for span in on_engines(spans):
        found[span.stage] = found.get(span.stage, 0.0) + span.end - span.begin
    return found


def overlap(spans: Sequence[Span]) -> float:
    """Return the share of the engines' time that is hidden: 1 - union / sum of their intervals; 0 where nothing runs at once."""
    return _hidden([(span.begin, span.end) for span in on_engines(spans)])


def hidden(lanes: Iterable[Lane], engines: Sequence[str]) -> float:
    """Return the same of a recorded timeline, which has the lanes of these engines among others."""
    return _hidden([(begin, end) for name, boxes in lanes if name in engines for begin, end, _ in boxes])


def _hidden(intervals: Sequence[tuple[float, float]]) -> float:
    total = sum(end - begin for begin, end in intervals)
    return max(0.0, 1 - union(intervals) / total) if total else 0.0  # rounding must not hide less than nothing
