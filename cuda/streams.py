"""Streams, and how work on several of them begins and ends together. Needs CuPy.

Everything that is measured begins and ends on one stream, `main()`: `fork` lets other streams begin no earlier than what was issued there
so far, `join` lets it go on no earlier than what was issued to them. Two events do each, and the host waits for nothing.
"""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import cupy as cp

Run = Callable[[], None]
Do = Callable[[Any], None]  # issues one operation to a stream


@cache
def main() -> Any:
    """Return the stream on which every measured run begins and ends. It does not wait for the legacy default stream."""
    return cp.cuda.Stream(non_blocking=True)


@cache
def several(count: int) -> list[Any]:
    """Return `count` more such streams, the same at every call."""
    return [cp.cuda.Stream(non_blocking=True) for _ in range(count)]


def event() -> Any:
    """Return an event that carries order only: it costs less than one that also takes the time."""
    return cp.cuda.Event(disable_timing=True)


def fork(streams: Iterable[Any]) -> None:
    """Let what is issued to these streams from now on begin after what was issued to main() before."""
    here = main().record(event())
    for stream in streams:
        stream.wait_event(here)


def join(streams: Iterable[Any]) -> None:
    """Let what is issued to main() from now on begin after what was issued to these streams before."""
    for stream in streams:
        main().wait_event(stream.record(event()))


def captured(run: Run) -> Run:
    """Record a run that begins and ends on main() as a CUDA graph; return what replays it there with one call of the driver.

    The run may not allocate, synchronise, or use CuPy's `set` and `get`.
    """
    run()  # kernels are loaded on first use, which a capture does not allow
    main().synchronize()
    main().begin_capture()
    try:
        run()
    finally:
        graph = main().end_capture()  # also after a fault: while a stream captures, nothing else may synchronise
    graph.upload(main())
    return lambda: graph.launch(main())
