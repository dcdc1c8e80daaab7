"""What is issued to which stream in which order: the same plan is run by the simulation and by the GPU. No GPU is needed.

    plan(2, 2, "depth")     h2d 0, kernel 0, d2h 0 to stream 0, then h2d 1, kernel 1, d2h 1 to stream 1
    plan(2, 2, "breadth")   h2d 0 and 1, kernel 0 and 1, d2h 0 and 1: chunk c in stream c
    plan(2, 3, "staged")    every stage in a stream of its own; events carry the order from stage to stage

Source of depth and breadth: M. Harris, How to Overlap Data Transfers in CUDA C/C++, NVIDIA developer blog, 2012.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Stage = Literal["h2d", "kernel", "d2h"]
Order = Literal["depth", "breadth", "staged"]
STAGES: tuple[Stage, ...] = ("h2d", "kernel", "d2h")


@dataclass(frozen=True)
class Operation:
    """One copy or kernel. after: operations (by their place in the plan) of other streams that must have ended: an event each."""

    stage: Stage
    chunk: int
    stream: int
    after: tuple[int, ...] = ()


def plan(chunks: int, streams: int, order: Order) -> list[Operation]:
    """Return the operations in the order of issue. ValueError for fewer than one chunk or stream; "staged" has three streams."""
    if chunks < 1 or streams < 1:
        raise ValueError(f"at least one chunk and one stream: {chunks}, {streams}")
    if order == "staged":
        if streams != len(STAGES):
            raise ValueError(f"a stream for each of the {len(STAGES)} stages, not {streams}")
        return [
            Operation(stage, chunk, i, (3 * chunk + i - 1,) if i else ())
            for chunk in range(chunks)
            for i, stage in enumerate(STAGES)
        ]
    return list(_rounds(chunks, streams, streams if order == "breadth" else 1))


def _rounds(chunks: int, streams: int, together: int) -> Iterator[Operation]:
    """Issue `together` chunks at a time, stage by stage; within a stream the stream itself keeps the order."""
    for first in range(0, chunks, together):
        for stage in STAGES:
            for chunk in range(first, min(chunks, first + together)):
                yield Operation(stage, chunk, chunk % streams)


def parts(size: int, chunks: int) -> list[slice]:
    """Cut `size` elements into `chunks` parts that differ by one at most; into fewer where there are fewer elements.

    ValueError for sizes or chunks below 1.
    """
    if size < 1 or chunks < 1:
        raise ValueError(f"at least one element and one chunk: {size}, {chunks}")
    chunks = min(chunks, size)
    edges = [size * i // chunks for i in range(chunks + 1)]
    return [slice(low, high) for low, high in pairwise(edges)]
