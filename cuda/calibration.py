"""Turn measured times into the Pipelines of a machine: what a chunk costs each engine depends on how it is fed. No GPU is needed.

    measured = {("h2d", ALONE): {1: 4.85e-3, 16: 4.90e-3, 64: 5.02e-3}, ("d2h", ALONE): ..., ...}
    machines(measured, ["balanced"])     # for that kernel: a Pipeline for each kind of way

What is measured: each stage alone, in one stream, without and with an event after each chunk, in turns through several; all three stages in
one stream; and pipelines with next to no kernel, whose copies are the bottleneck: they show what a copy costs while both directions work.
Every fit is least squares of relative errors, with nothing below zero (Lawson and Hanson, Solving Least Squares Problems, 1974).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np
from scipy.optimize import nnls

from parlab.cuda.pipeline_model import Pipeline, each
from parlab.cuda.ways import DEPTH, STAGED, Kind, Machine

SERIAL, BARE, ISSUE = "all stages in turn", "next to no kernel", "issue"  # what is measured beside the stages
SERIAL_KERNEL, BARE_KERNEL = "balanced", "copy-bound"  # the kernels of the first two
ALONE: Kind = "one stream"
SEVERAL, APART = DEPTH.kind, STAGED.kind

Times = Mapping[int, float]  # seconds of the whole problem by the number of chunks that it is cut into
Measured = Mapping[
    tuple[str, Kind], Times
]  # by what it was (h2d, d2h, a kernel's name, or the three above) and the kind of way


def machines(measured: Measured, kernels: Iterable[str]) -> dict[str, Machine]:
    """Return the pipelines of a problem with each of these kernels.

    A kernel whose times are known in one stream only is taken to cost the same in the others; the host, to need for one stream what it
    needs for several.
    """
    host = {kind: issue(times) for (what, kind), times in measured.items() if what == ISSUE}
    alone = in_one_stream(measured, BARE_KERNEL)
    copying = {kind: with_copies(alone, measured[BARE, kind]) for kind in (SEVERAL, APART)}
    found: dict[str, Machine] = {}
    for kernel in kernels:
        pipelines: dict[Kind, Pipeline] = {ALONE: in_one_stream(measured, kernel)}
        for kind, pipeline in copying.items():
            times = {1: measured[kernel, ALONE][1]} | dict(measured.get((kernel, kind), measured[kernel, ALONE]))
            pipelines[kind] = with_kernel(pipeline, times)
        pipelines["CuPy slices"] = pipelines[SEVERAL]
        found[kernel] = {kind: replace(p, issue=host.get(kind, host[SEVERAL])) for kind, p in pipelines.items()}
    return found


def issue(times: Times) -> float:
    """Return the seconds that the host needs for an operation, of the times in which it issued all three stages of some chunks."""
    return min(seconds / (3 * n) for n, seconds in times.items())


def in_one_stream(measured: Measured, kernel: str) -> Pipeline:
    """Return the pipeline of a program with one stream."""
    (h2d, up), (d2h, down) = (work_and_overhead(measured[what, ALONE]) for what in ("h2d", "d2h"))
    copies = Pipeline(h2d, 0.0, d2h, overhead=(up, 0.0, down))
    serial, own = (with_kernel(copies, measured[name, ALONE]) for name in (SERIAL_KERNEL, kernel))
    return replace(own, handover=handover(serial, measured[SERIAL, ALONE]))


def work_and_overhead(times: Times) -> tuple[float, float]:
    """Return w and l of T(n) = w + n l: the seconds of a stage for the whole problem, and those that each chunk adds."""
    return _fit(times, lambda n: (1.0, n), lambda n: 0.0)


def with_kernel(pipeline: Pipeline, times: Times) -> Pipeline:
    """Return the pipeline with another kernel, of which these are the times alone."""
    work, overhead = work_and_overhead(times)
    up, _, down = each(pipeline.overhead)
    return replace(pipeline, kernel=work, overhead=(up, overhead, down))


def handover(pipeline: Pipeline, serial: Times) -> float:
    """Return the handover h that a program in one stream shows: T(n) = S + n L + (3 n - 1) h; S, L: sums of the stages, the overheads."""
    work, overhead = sum(pipeline.stages), sum(each(pipeline.overhead))
    return _fit(serial, lambda n: (3 * n - 1, 0.0), lambda n: work + n * overhead)[0]


def with_copies(one: Pipeline, bare: Times) -> Pipeline:
    """Return the pipeline of a kind of way whose copies explain these times of it. one: in one stream, with the same small kernel.

    T(n) = 2 (c/n + l) + k/n + 2 h + (n - 1) (c x/n + l), c: a copy, l: what each chunk costs its engine, 1/x: the duplex factor. It takes
    both directions to pay l at the same time; where they do not, l is found up to a tenth too small, and the times a few per cent.
    """
    copy = (one.h2d + one.d2h) / 2
    slower, overhead = _fit(
        bare,
        lambda n: (copy * (n - 1) / n, n + 1),
        lambda n: (2 * copy + one.kernel) / n + 2 * one.handover,
    )
    return replace(one, overhead=(overhead, each(one.overhead)[1], overhead), duplex=1 / max(slower, 1.0))


def _fit(
    times: Times, terms: Callable[[int], tuple[float, float]], known: Callable[[int], float]
) -> tuple[float, float]:
    """Return a and b, not below 0, of T(n) = a terms(n)[0] + b terms(n)[1] + known(n)."""
    chunks = list(times)
    seconds = np.array([times[n] for n in chunks])
    matrix = np.array([terms(n) for n in chunks]) / seconds[:, None]
    found, _ = nnls(matrix, 1 - np.array([known(n) for n in chunks]) / seconds)
    return float(found[0]), float(found[1])
