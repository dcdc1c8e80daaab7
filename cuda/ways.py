"""The ways to run a pipeline, by name, and what the model says of each. No GPU is needed.

machine = of_profile(H200, nbytes=2**28, kernel=4.8e-3)      # or from parlab.cuda.calibration: a Pipeline for each kind of way
predict_seconds(machine, STAGED, chunks=64)
best(machine, STAGED, CHUNKS)                                # the number of chunks that takes least
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

from parlab.cuda.pipeline_model import Pipeline
from parlab.cuda.pipeline_simulation import Timeline, simulate
from parlab.cuda.plan import Order
from parlab.cuda.profiles import Profile

Kind = Literal["one stream", "several streams", "a stream for each stage", "CuPy slices"]
Issued = Literal["", "CuPy slices", "graph", "gated"]
Extent = Literal["smoke", "few", "usual", "full", "large", "small"]
Machine = Mapping[Kind, Pipeline]
CHUNKS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class Way:
    """An order of issue over so many streams.

    issued: "": by calls that are worked out beforehand; "graph": all at once; "gated": before the device may begin: for these two the
    host's time does not count.
    """

    order: Order
    streams: int
    issued: Issued = ""

    def __str__(self) -> str:
        streams = f", {self.streams} stream{'s' * (self.streams > 1)}" if self.order != "staged" else ""
        return self.order + streams + (f", {self.issued}" if self.issued else "")

    @property
    def kind(self) -> Kind:
        """Return how the engines are fed, and by whom."""
        if self.order == "staged":
            return "a stream for each stage"
        if self.issued == "CuPy slices":
            return self.issued
        return "several streams" if self.streams > 1 else "one stream"


ONE, TWO, THREE, DEPTH = (Way("depth", s) for s in (1, 2, 3, 4))
BREADTH, STAGED, SLICED = Way("breadth", 4), Way("staged", 3), Way("depth", 4, "CuPy slices")
DEPTH_GRAPH, STAGED_GRAPH = (replace(way, issued="graph") for way in (DEPTH, STAGED))
DEPTH_GATED, STAGED_GATED = (replace(way, issued="gated") for way in (DEPTH, STAGED))


def swept(extent: Extent) -> Iterator[tuple[Way, int]]:
    """Yield the ways and numbers of chunks of a sweep: "few" of a problem that is not the main one, "large" and "small" of other sizes."""
    if extent == "smoke":
        yield from product((TWO, STAGED, STAGED_GRAPH), (1, 8))
    elif extent == "few":
        yield from product((TWO, DEPTH, STAGED), (1, 16, 32, 64, 256))
    elif extent == "usual":
        yield from product((ONE,), (1, 16, 256))
        yield from product((TWO, THREE, DEPTH, BREADTH, STAGED, STAGED_GRAPH), (1, 4, 16, 32, 64, 128, 256))
    elif extent == "large":
        yield from product((DEPTH, STAGED_GRAPH), (64, 128))
    elif extent == "small":
        yield from product((SLICED, DEPTH, DEPTH_GRAPH), (1, 8, 64, 256))
    else:
        breadth = (Way("breadth", s) for s in (2, 3, 4, 8))
        yield from product((ONE, TWO, THREE, DEPTH, Way("depth", 8), *breadth, STAGED), CHUNKS)
        yield from product((DEPTH_GRAPH, STAGED_GRAPH), CHUNKS)
        yield from product((DEPTH_GATED, STAGED_GATED), CHUNKS[:-1])  # more do not fit behind the gate


def simulated(machine: Machine, way: Way, chunks: int) -> Timeline:
    """Return the predicted timeline of a way."""
    pipeline = machine[way.kind]
    pipeline = replace(pipeline, issue=0.0) if way.issued in ("graph", "gated") else pipeline
    return simulate(pipeline, chunks, way.streams, way.order)


def predict_seconds(machine: Machine, way: Way, chunks: int) -> float:
    """Return the predicted seconds of a way."""
    return simulated(machine, way, chunks).seconds


def best(machine: Machine, way: Way, chunks: Iterable[int] = CHUNKS) -> int:
    """Return which of these numbers of chunks is predicted to take least."""
    return min(chunks, key=lambda n: predict_seconds(machine, way, n))


def scaled(machine: Machine, share: float) -> Machine:
    """Return the machine with a problem of another size: the work of each stage is this share of the old."""
    return {
        kind: replace(p, h2d=share * p.h2d, kernel=share * p.kernel, d2h=share * p.d2h) for kind, p in machine.items()
    }


def of_profile(profile: Profile, nbytes: int, kernel: float) -> Machine:
    """Return what is known of a named device: for so many bytes in and out, and a kernel of so many seconds."""
    pipeline = profile.pipeline(nbytes, kernel)
    several = replace(pipeline, overhead=profile.in_turns)
    return {
        "one stream": pipeline,
        "several streams": several,
        "a stream for each stage": replace(pipeline, overhead=profile.staged),
        "CuPy slices": replace(several, issue=profile.plain),
    }
