"""The problem of NVIDIA's simpleMultiCopy: frame after frame is copied in, computed and copied out. Needs CuPy.

    buffers = [Problem(FRAME, TURNS) for _ in range(STREAMS)]    # frame i uses buffer i % 4
    as_the_sample(buffers)                                       # a stream for each buffer
    by_stage(buffers)                                            # a stream for each stage; events guard the buffers

In step i both compute frame i, copy frame i + 1 in and frame i out. The first frame is there before the clock runs, and one more than is
needed is copied in: so each step copies one frame each way.

Source: NVIDIA cuda-samples, simpleMultiCopy.cu, processWithStreams: 10 frames of 16 MiB, 4 streams, a kernel that takes next to nothing.
Its host waits before it uses a buffer again, since it may fill it; here the buffers are filled before, so the streams' order is enough.
"""

from collections.abc import Sequence

from parlab.cuda.pipelines import Problem
from parlab.cuda.plan import STAGES
from parlab.cuda.streams import Do, Run, captured, event, fork, join, main, several

FRAME = (16 << 20) // 4  # elements
FRAMES, STREAMS, TURNS = 10, 4, 5


def _issues(buffers: Sequence[Problem]) -> list[tuple[Do, Do, Do]]:
    """Return for each buffer what issues its copy in, its kernel and its copy out."""
    return [tuple(b.stage(what, slice(0, b.count)) for what in STAGES) for b in buffers]  # type: ignore[misc]


def one_after_the_other(buffers: Sequence[Problem], frames: int = FRAMES) -> Run:
    """Do all of it in one stream."""
    issues = _issues(buffers)

    def run() -> None:
        for i in range(frames):
            for issue in issues[i % len(issues)]:
                issue(main())

    return run


def as_the_sample(buffers: Sequence[Problem], frames: int = FRAMES) -> Run:
    """Do it as the sample does: a stream for each buffer, which keeps the order of all that is done with it."""
    issues, lanes = _issues(buffers), several(len(buffers))

    def run() -> None:
        fork(lanes)
        for i in range(frames):
            here, ahead = i % len(lanes), (i + 1) % len(lanes)
            issues[here][1](lanes[here])
            issues[ahead][0](lanes[ahead])
            issues[here][2](lanes[here])
        join(lanes)

    return run


def by_stage(buffers: Sequence[Problem], frames: int = FRAMES) -> Run:
    """Do it with a stream for each stage. Three events for each buffer say that it was filled, computed and emptied."""
    issues, (up, work, down) = _issues(buffers), several(len(STAGES))
    filled, computed, emptied = ([event() for _ in buffers] for _ in STAGES)

    def run() -> None:
        fork((up, work, down))
        for i in range(frames):
            here, ahead = i % len(buffers), (i + 1) % len(buffers)
            if i > 0:
                work.wait_event(filled[here])
            if i >= len(buffers):
                work.wait_event(emptied[here])
            issues[here][1](work)
            work.record(computed[here])
            if i + 1 >= len(buffers):
                up.wait_event(computed[ahead])
            issues[ahead][0](up)
            up.record(filled[ahead])
            down.wait_event(computed[here])
            issues[here][2](down)
            down.record(emptied[here])
        join((up, work, down))

    return run


def runs(buffers: Sequence[Problem], frames: int = FRAMES) -> dict[str, Run]:
    """Return all of them by name, and each as a graph."""
    ways = {"one stream": one_after_the_other, "as the sample": as_the_sample, "by stage": by_stage}
    made = {name: way(buffers, frames) for name, way in ways.items()}
    return made | {f"{name}, graph": captured(run) for name, run in made.items()}


def wrong(buffers: Sequence[Problem]) -> str | None:
    """Say which buffer's result is not that of its source; None where all are right."""
    return next((f"buffer {i}: {told}" for i, b in enumerate(buffers) if (told := b.wrong())), None)
