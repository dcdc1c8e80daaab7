"""Streams, as cupy.cuda.stream has them."""

from typing import Any, Self

from .._errors import CUDARuntimeError
from .._graphs import Capture, Graph
from .._machine import machine
from .._operations import Operation, Queue
from ._events import DEFAULT, LEGACY, PER_THREAD, here, pointers, queue_of, wait_for, waited_for
from ._events import Event as Event
from ._events import get_elapsed_time as get_elapsed_time

HIGHEST = -5  # priorities beyond the range from here to 0 count as its ends


class BaseStream:
    """What all streams can. ptr: 0: the legacy default stream; device_id: -1: whichever is current."""

    def __init__(self, ptr: int, device_id: int) -> None:
        self.ptr, self.device_id = ptr, device_id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BaseStream) and self.ptr == other.ptr

    def __hash__(self) -> int:
        return self.ptr

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.ptr} (device {self.device_id})>"

    def __cuda_stream__(self) -> tuple[int, int]:
        """Return version and pointer, for other libraries."""
        return 0, self.ptr

    def _on(self) -> int:
        if self.device_id not in (-1, here.device):
            raise RuntimeError(
                f"The device that the stream is created on ({self.device_id})"
                f" does not match with the current device ({here.device})"
            )
        return here.device

    def __enter__(self) -> Self:
        here.stack(self._on()).append(self)
        return self

    def __exit__(self, *_: object) -> None:
        here.stack(self.device_id if self.device_id >= 0 else here.device).pop()

    def use(self) -> Self:
        """Make this the current stream."""
        here.stack(self._on())[-1:] = [self]
        return self

    @property
    def done(self) -> bool:
        """Whether all that was issued is over."""
        return machine.over(waited_for(queue_of(self.ptr)))

    def synchronize(self) -> None:
        """Wait for all that was issued."""
        machine.wait(waited_for(queue_of(self.ptr)))

    def record(self, event: Event | None = None) -> Event:
        """Record an event (else a new one) and return it."""
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """Let what is issued from now on wait for what the event names now; for nothing where it was never recorded."""
        wait_for(queue_of(self.ptr), event)

    def launch_host_func(self, callback: Any, arg: Any) -> None:
        """Let the host call callback(arg) when all before it is over; it must not call CUDA."""
        queue = queue_of(self.ptr)
        seconds = machine.profile.host_function
        machine.issue(Operation("host", queue, lambda: callback(arg), seconds, (queue.device, "host")))

    def begin_capture(self, mode: int | None = None) -> None:
        """Record from now on instead of doing."""
        if self.ptr in (0, LEGACY):
            raise RuntimeError("cannot capture on the default (legacy) stream")
        Capture(queue_of(self.ptr))

    def end_capture(self) -> Graph:
        """Return what was recorded. CUDARuntimeError: 903: begun elsewhere; 904: a stream was not joined; 901: an error before."""
        capture = queue_of(self.ptr).capture
        if capture is None or capture.origin is not queue_of(self.ptr):
            raise CUDARuntimeError(903)
        return Graph(capture.end())

    def is_capturing(self) -> bool:
        """Tell whether the stream records."""
        return queue_of(self.ptr).capture is not None

    @property
    def is_non_blocking(self) -> bool:
        """Whether the null stream's rule does not hold for it."""
        return not queue_of(self.ptr).blocking

    @property
    def priority(self) -> int:
        """Its priority: the lowest number goes first."""
        return queue_of(self.ptr).priority


class Stream(BaseStream):
    """A stream; null: the legacy default one; ptds: the thread's default one (here: the device's)."""

    null: "Stream"
    ptds: "Stream"

    def __init__(
        self, null: bool = False, non_blocking: bool = False, ptds: bool = False, priority: int | None = None
    ) -> None:
        if null or ptds:
            super().__init__(0 if null else PER_THREAD, -1)
            return
        ptr = next(pointers)
        for number in [n for n, queue in machine.queues.items() if queue.destroyed and machine.idle(queue)]:
            del machine.queues[number]
        machine.queues[ptr] = Queue(ptr, here.device, not non_blocking, max(HIGHEST, min(0, priority or 0)))
        super().__init__(ptr, here.device)

    def __del__(self) -> None:
        """Give the stream back; what was issued to it still runs."""
        if self.ptr in machine.queues:
            machine.queues[self.ptr].destroyed = True


Stream.null = Stream(null=True)
Stream.ptds = Stream(ptds=True)


def get_current_stream(device_id: int = -1) -> BaseStream:
    """Return the current stream of a device (else of the current one)."""
    stack = here.stack(here.device if device_id < 0 else device_id)
    current: BaseStream = stack[-1] if stack else Stream.ptds if DEFAULT else Stream.null
    return current
