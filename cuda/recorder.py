"""Take the times of every operation of a run by pairs of events. Needs CuPy.

    recorder = Recorder()
    issue = recorder.around(problem.stage("h2d", part), "h2d", chunk, stream_index)      # while the run is prepared
    spans = recorder.spans(run)

The events cost a run about a microsecond an operation: it is not to be measured while it is recorded, nor captured into a graph.
"""

from typing import Any

import cupy as cp

from parlab.cuda.streams import Do, Run, main
from parlab.cuda.timeline import Span


class Recorder:
    """The operations of one run, each between two events in its stream."""

    def __init__(self) -> None:
        self._taken: list[tuple[str, int, int, Any, Any]] = []

    def around(self, issue: Do, stage: str, chunk: int, stream_index: int) -> Do:
        """Return what issues the same operation, and takes its time."""
        begin, end = cp.cuda.Event(), cp.cuda.Event()
        self._taken.append((stage, chunk, stream_index, begin, end))

        def recorded(stream: Any) -> None:
            stream.record(begin)
            issue(stream)
            stream.record(end)

        return recorded

    def spans(self, run: Run) -> list[Span]:
        """Do the run once, on an idle device; return its operations, in seconds from its begin on main()."""
        cp.cuda.runtime.deviceSynchronize()
        zero = main().record()
        run()
        cp.cuda.runtime.deviceSynchronize()

        def since(event: Any) -> float:
            return float(cp.cuda.get_elapsed_time(zero, event)) * 1e-3

        return [Span(stage, chunk, at, since(begin), since(end)) for stage, chunk, at, begin, end in self._taken]
