"""What overlap can give: the law of a pipeline of copy in, kernel, copy out, cut into n chunks. No GPU is needed.

    pipeline = Pipeline(h2d=5e-3, kernel=5e-3, d2h=5e-3, overhead=5e-6)
    best_chunks(pipeline)            # 45: more of them cost more overhead than they overlap
    closed_form(pipeline, 8)         # 6.3e-3, where the serial program takes 15e-3

The law is silent where there is one copy engine, few streams, a link that both directions share, a host that is slow to issue:
parlab.cuda.pipeline_simulation runs the same pipeline operation by operation.

Source: J. Hennessy and D. Patterson, Computer Architecture, appendix C (the law of a pipeline).
"""

from dataclasses import dataclass
from math import inf, sqrt

from parlab.cuda.plan import Stage

Each = float | tuple[float, float, float]  # the same for h2d, kernel and d2h, or one for each


@dataclass(frozen=True)
class Pipeline:
    """Seconds of each stage for the whole problem, and what the machine is like.

    overhead: seconds for which every chunk holds the engine of a stage beyond its share of the work. handover: seconds from the end of
    an operation until the next one of its stream may begin on another engine. copy_engines: 1: both directions share one. duplex: speed
    of a copy while one goes the other way, 1: as fast as alone. issue: seconds that the host needs for an operation. one_queue: an engine
    takes its operations strictly in the order of issue (before Kepler's HyperQ); else the first that is ready. late_signal: kernels that
    were issued one right after the other are reported as done all together (Fermi).
    """

    h2d: float
    kernel: float
    d2h: float
    overhead: Each = 0.0
    handover: float = 0.0
    copy_engines: int = 2
    duplex: float = 1.0
    issue: Each = 0.0
    one_queue: bool = False
    late_signal: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be: ValueError."""
        if min(*self.stages, *each(self.overhead), *each(self.issue), self.handover) < 0 or self.copy_engines < 1:
            raise ValueError(f"times are not negative and there is at least one copy engine: {self}")
        if not 0 < self.duplex <= 1:
            raise ValueError(f"duplex is a share of the speed alone, above 0 and up to 1: {self.duplex}")

    @property
    def stages(self) -> tuple[float, float, float]:
        """Seconds of the three stages."""
        return self.h2d, self.kernel, self.d2h

    def engine(self, stage: Stage) -> str:
        """Return what carries a stage out."""
        return stage if stage == "kernel" or self.copy_engines > 1 else "copy"


def each(value: Each) -> tuple[float, float, float]:
    """Return a value for each stage."""
    return value if isinstance(value, tuple) else (value, value, value)


def serial(pipeline: Pipeline) -> float:
    """Return the seconds of the program that overlaps nothing: one chunk, one stage after the other."""
    return sum(pipeline.stages) + sum(each(pipeline.overhead)) + 2 * pipeline.handover


def limit(pipeline: Pipeline, streams: int = 3) -> float:
    """Return the seconds that no number of chunks can undercut: the busiest engine, the shared link, the streams.

    A link of which each direction keeps a share `duplex` of its speed carries the shorter copy and as much of the longer at that speed, the
    rest alone.
    """
    shorter, longer = sorted((pipeline.h2d, pipeline.d2h))
    copies = pipeline.h2d + pipeline.d2h if pipeline.copy_engines == 1 else shorter / pipeline.duplex + longer - shorter
    return max(copies, pipeline.kernel, sum(pipeline.stages) / streams)


def closed_form(pipeline: Pipeline, chunks: int) -> float:
    """Return T(n) = sum of (w_i / n + l_i) + 2 h + (n - 1) max (w_i / n + l_i).

    w: the stages, l: the overheads, h: the handover. It holds for two copy engines, a full-duplex link, a host that is fast, and a
    stream for each stage (or, where handing over costs nothing, three streams or more).
    """
    steps = [w / chunks + overhead for w, overhead in zip(pipeline.stages, each(pipeline.overhead), strict=True)]
    return sum(steps) + 2 * pipeline.handover + (chunks - 1) * max(steps)


def best_chunks(pipeline: Pipeline) -> float:
    """Return n* = sqrt((S - M) / l), where T(n) is least. inf where chunks cost nothing.

    S: sum of the stages, M: the longest, l: its overhead. While one stage stays the longest, l is all that a further chunk costs.
    """
    longest, overhead = max(zip(pipeline.stages, each(pipeline.overhead), strict=True))
    return sqrt((sum(pipeline.stages) - longest) / overhead) if overhead else inf
