"""Events, and where a thread is: its device, its current streams, what a pointer stands for."""

import os
import threading
from itertools import count
from typing import Any
from weakref import WeakValueDictionary

from .._errors import CUDARuntimeError
from .._machine import machine
from .._operations import Operation, Queue

LEGACY, PER_THREAD = 1, 2  # pointers with a meaning
DEFAULT = PER_THREAD if os.environ.get("CUPY_CUDA_PER_THREAD_DEFAULT_STREAM", "0") != "0" else 0


class Here(threading.local):
    """Where the calling thread is: its device, and on each device its stream."""

    def __init__(self) -> None:
        self.device = 0
        self._streams: dict[int, list[Any]] = {}

    def stack(self, device: int) -> list[Any]:
        """Return a device's streams that were made current, the last one last."""
        return self._streams.setdefault(device, [])

    def queue(self, stream: Any = None) -> Queue:
        """Return what a stream stands for, else the current stream."""
        stack = self.stack(self.device)
        return queue_of(stream.ptr if stream is not None else stack[-1].ptr if stack else DEFAULT)


here = Here()


def queue_of(ptr: int) -> Queue:
    """Return what a stream's pointer stands for, on the current device. CUDARuntimeError (400) where it stands for nothing."""
    if ptr in (0, LEGACY):
        return machine.null(here.device)
    if ptr == PER_THREAD:
        return machine.queues.setdefault(PER_THREAD + here.device, Queue(PER_THREAD + here.device, here.device))
    if ptr not in machine.queues:
        raise CUDARuntimeError(400)
    return machine.queues[ptr]


def waited_for(queue: Queue) -> list[Operation]:
    """Return what one waits for who waits for a stream. CUDARuntimeError (900) where it captures."""
    if queue.capture is not None:
        raise queue.capture.refuse()
    return machine.before(queue) if queue.number == 0 else queue.tail


def device_tails(device: int) -> list[Operation]:
    """Return what one waits for who waits for a device."""
    queues = [machine.null(device), *(q for q in machine.queues.values() if q.device == device)]
    return [operation for queue in queues for operation in (waited_for(queue) if queue.number else queue.tail)]


class Event:
    """A point in a stream. CUDARuntimeError (907) where it was recorded in a capture and is asked for outside it."""

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        if interprocess and not disable_timing:
            raise ValueError("Timing must be disabled for interprocess events")
        self.timed = not disable_timing
        self.device = here.device
        self.recorded: Operation | None = None
        self.ptr = next(pointers)
        _events[self.ptr] = self

    def record(self, stream: Any = None) -> None:
        """Name the point that a stream (else the current one) has come to."""
        self.record_in(here.queue(stream))

    def record_in(self, queue: Queue) -> None:
        """Name the point that a queue has come to. CUDARuntimeError (400) where it is another device's."""
        if queue.device != self.device:
            raise CUDARuntimeError(400)
        self.recorded = machine.issue(Operation("event", queue))

    def outside(self) -> list[Operation]:
        """Return what one waits for who waits for the event: nothing before it is recorded."""
        if self.recorded is not None and self.recorded.capture is not None:
            raise CUDARuntimeError(907)
        return [self.recorded] if self.recorded else []

    def synchronize(self) -> None:
        """Wait for what was recorded last."""
        machine.wait(self.outside())

    @property
    def done(self) -> bool:
        """Whether what was recorded last is over."""
        return machine.over(self.outside())


pointers = count(256, 16)
_events: WeakValueDictionary[int, Event] = WeakValueDictionary()


def event_of(ptr: int) -> Event:
    """Return the event that a pointer stands for."""
    if ptr not in _events:
        raise CUDARuntimeError(400)
    return _events[ptr]


def wait_for(queue: Queue, event: Event) -> None:
    """Let what is issued to a stream from now on wait for what the event names now; for nothing where it was never recorded."""
    point = event.recorded
    if point is None:
        return
    if point.capture is None:
        if queue.capture is not None:
            raise queue.capture.refuse(905)
    elif point.capture.ended or queue.number == 0:
        raise CUDARuntimeError(907)
    elif queue.capture is None:
        point.capture.draw(queue)
    elif queue.capture is not point.capture:
        raise CUDARuntimeError(905)
    machine.issue(Operation("wait", queue), after=[point])


def get_elapsed_time(start_event: Event, end_event: Event) -> float:
    """Return the virtual milliseconds between two events. CUDARuntimeError: 400: not recorded or not timed; 600: not over."""
    points = start_event.outside() + end_event.outside()
    if len(points) < 2 or not (start_event.timed and end_event.timed):
        raise CUDARuntimeError(400)
    if not machine.over(points):
        raise CUDARuntimeError(600)
    return (points[1].end - points[0].end) * 1e3
