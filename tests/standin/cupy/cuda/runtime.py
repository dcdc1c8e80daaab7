"""The runtime's functions under CuPy's names: pointers, bytes, and the numbers of streams and events."""

import ctypes
from functools import partial

from .._errors import CUDARuntimeError
from .._machine import machine
from .._memory import Range, memory
from .._operations import Operation, Queue
from ._devices import ATTRIBUTES, known
from ._devices import deviceCanAccessPeer as deviceCanAccessPeer
from ._devices import deviceDisablePeerAccess as deviceDisablePeerAccess
from ._devices import deviceEnablePeerAccess as deviceEnablePeerAccess
from ._devices import deviceGetAttribute as deviceGetAttribute
from ._devices import deviceGetPCIBusId as deviceGetPCIBusId
from ._devices import deviceSynchronize as deviceSynchronize
from ._devices import driverGetVersion as driverGetVersion
from ._devices import getDevice as getDevice
from ._devices import getDeviceCount as getDeviceCount
from ._devices import getDeviceProperties as getDeviceProperties
from ._devices import memGetInfo as memGetInfo
from ._devices import runtimeGetVersion as runtimeGetVersion
from ._devices import setDevice as setDevice
from ._events import event_of, get_elapsed_time, here, queue_of, wait_for, waited_for

memcpyHostToHost, memcpyHostToDevice, memcpyDeviceToHost, memcpyDeviceToDevice, memcpyDefault = range(5)
hostAllocDefault, hostAllocPortable, hostAllocMapped, hostAllocWriteCombined = 0, 1, 2, 4
hostRegisterDefault, hostRegisterPortable, hostRegisterMapped = 0, 1, 2
streamDefault, streamNonBlocking, streamLegacy, streamPerThread = 0, 1, 1, 2
streamCaptureModeGlobal, streamCaptureModeThreadLocal, streamCaptureModeRelaxed = range(3)
eventDefault, eventBlockingSync, eventDisableTiming, eventInterprocess = 0, 1, 2, 4
errorInvalidValue, errorMemoryAllocation, errorInvalidResourceHandle = 1, 2, 400
errorPeerAccessAlreadyEnabled, errorPeerAccessNotEnabled, cudaErrorNotReady = 704, 705, 600
is_hip = False
globals().update({f"cudaDevAttr{name}": number for name, (number, _, _) in ATTRIBUTES.items()})


def malloc(size: int) -> int:
    """Return the address of `size` bytes on the thread's device. CUDARuntimeError (2) where it is full."""
    return memory.allocate(size, "device", here.device)


def free(ptr: int) -> None:
    """Give a device's memory back, after all that was issued to it."""
    if not ptr:
        return
    machine.drain()
    memory.forget(ptr, "device")


def mallocAsync(size: int, stream: int) -> int:
    """Allocate in the order of a stream: an operation of it. The address is known at once."""
    machine.issue(Operation("malloc", queue_of(stream)))
    return malloc(size)


def freeAsync(ptr: int, stream: int) -> None:
    """Free in the order of a stream: when all before it is over."""
    forget = partial(memory.forget, ptr, "device")
    machine.issue(Operation("free", queue_of(stream), lambda: machine.finalize(forget)))


def hostAlloc(size: int, flags: int) -> int:
    """Return the address of `size` bytes of pinned memory, which devices may touch, too."""
    return memory.allocate(size, "pinned", here.device)


def freeHost(ptr: int) -> None:
    """Give pinned memory back."""
    machine.drain()
    memory.forget(ptr, "pinned")


def hostRegister(ptr: int, size: int, flags: int) -> None:
    """Pin memory that is there. CUDARuntimeError (712) where some of it is pinned."""
    memory.enter(Range(ptr, size, "registered", here.device, None))


def hostUnregister(ptr: int) -> None:
    """Unpin what hostRegister pinned. CUDARuntimeError (713) where it did not."""
    machine.drain()
    memory.forget(ptr, "registered")


def memcpy(dst: int, src: int, size: int, kind: int) -> None:
    """Copy bytes in the null stream; the host waits unless both are on devices."""
    operation = _copy(dst, src, size, kind, queue_of(0))
    if operation.stage != "d2d":
        machine.wait([operation])


def memcpyAsync(dst: int, src: int, size: int, kind: int, stream: int) -> None:
    """Copy bytes in a stream. Where one side is pageable host memory the host waits until the copy is over."""
    _copy(dst, src, size, kind, queue_of(stream))


def memcpyPeer(dst: int, dstDevice: int, src: int, srcDevice: int, size: int) -> None:
    """Copy bytes from device to device in the null stream."""
    _copy(dst, src, size, memcpyDeviceToDevice, queue_of(0))


def memcpyPeerAsync(dst: int, dstDevice: int, src: int, srcDevice: int, size: int, stream: int) -> None:
    """Copy bytes from device to device in a stream."""
    for ptr, device in ((dst, dstDevice), (src, srcDevice)):
        entry = memory.holds(ptr, size)
        if entry is None or entry.device != known(device):
            raise CUDARuntimeError(1)
    _copy(dst, src, size, memcpyDeviceToDevice, queue_of(stream))


def _copy(dst: int, src: int, size: int, kind: int, queue: Queue) -> Operation:
    """Issue a copy, and wait for it where it is from or to pageable memory. CUDARuntimeError (1) for memory that is not there."""
    to, of = memory.holds(dst, size), memory.holds(src, size)
    places = [entry is not None and entry.kind == "device" for entry in (of, to)]
    if kind == memcpyDefault:
        kind = {(False, True): 1, (True, False): 2, (True, True): 3}.get((places[0], places[1]), 0)
    device_side = {0: [], 1: [to], 2: [of], 3: [to, of]}[kind]
    if None in device_side:
        raise CUDARuntimeError(1)
    stage = ("h2h", "h2d", "d2h", "d2d")[kind]
    pageable = kind < 3 and (of is None or to is None)
    if pageable and queue.capture is not None:
        raise queue.capture.refuse()
    profile = machine.profile
    across = kind == 3 and of is not None and to is not None and of.device != to.device
    fast = profile.peer if across else profile.d2d if kind == 3 else profile.pinned
    slow = profile.pageable_d2h if kind == 2 else profile.pageable_h2d
    seconds = profile.copy_latency + size / (slow if pageable else fast)
    move = partial(ctypes.memmove, dst, src, size)
    operation = Operation(stage, queue, move, seconds, (queue.device, stage))
    machine.issue(operation)
    if pageable:
        machine.wait([operation])
    return operation


def memset(ptr: int, value: int, size: int) -> None:
    """Set bytes in the null stream."""
    memsetAsync(ptr, value, size, 0)


def memsetAsync(ptr: int, value: int, size: int, stream: int) -> None:
    """Set bytes in a stream."""
    if memory.holds(ptr, size) is None:
        raise CUDARuntimeError(1)
    queue = queue_of(stream)
    seconds = machine.profile.copy_latency + size / machine.profile.d2d
    set_bytes = partial(ctypes.memset, ptr, value, size)
    machine.issue(Operation("memset", queue, set_bytes, seconds, (queue.device, "d2d")))


def streamSynchronize(stream: int) -> None:
    """Wait for all that was issued to a stream."""
    machine.wait(waited_for(queue_of(stream)))


def streamQuery(stream: int) -> int:
    """Return 0 where all is over, else 600."""
    return 0 if machine.over(waited_for(queue_of(stream))) else 600


def streamWaitEvent(stream: int, event: int, flags: int = 0) -> None:
    """Let a stream wait for what an event names."""
    wait_for(queue_of(stream), event_of(event))


def eventRecord(event: int, stream: int) -> None:
    """Let an event name the point that a stream has come to."""
    event_of(event).record_in(queue_of(stream))


def eventQuery(event: int) -> int:
    """Return 0 where what was recorded is over, else 600."""
    return 0 if event_of(event).done else 600


def eventSynchronize(event: int) -> None:
    """Wait for what was recorded."""
    event_of(event).synchronize()


def eventElapsedTime(start: int, end: int) -> float:
    """Return the virtual milliseconds between two events."""
    return get_elapsed_time(event_of(start), event_of(end))
