"""The runtime's functions about devices. What a device is like is made up: nothing is to be concluded from it."""

from typing import Any

from .._errors import CUDARuntimeError
from .._machine import machine
from .._memory import memory
from ._events import device_tails, here

ATTRIBUTES = {  # CUDA's name, without cudaDevAttr: its number, its value, and the name of the property
    "MaxThreadsPerBlock": (1, 1024, "maxThreadsPerBlock"),
    "MaxSharedMemoryPerBlock": (8, 49152, "sharedMemPerBlock"),
    "WarpSize": (10, 32, "warpSize"),
    "MaxRegistersPerBlock": (12, 65536, "regsPerBlock"),
    "ClockRate": (13, 1_000_000, "clockRate"),
    "MultiProcessorCount": (16, 4, "multiProcessorCount"),
    "Integrated": (18, 0, "integrated"),
    "CanMapHostMemory": (19, 1, "canMapHostMemory"),
    "ConcurrentKernels": (31, 1, "concurrentKernels"),
    "EccEnabled": (32, 0, "ECCEnabled"),
    "MemoryClockRate": (36, 1_000_000, "memoryClockRate"),
    "GlobalMemoryBusWidth": (37, 1024, "memoryBusWidth"),
    "L2CacheSize": (38, 1 << 20, "l2CacheSize"),
    "MaxThreadsPerMultiProcessor": (39, 2048, "maxThreadsPerMultiProcessor"),
    "AsyncEngineCount": (40, 2, "asyncEngineCount"),
    "UnifiedAddressing": (41, 1, "unifiedAddressing"),
    "ComputeCapabilityMajor": (75, 9, "major"),
    "ComputeCapabilityMinor": (76, 0, "minor"),
    "StreamPrioritiesSupported": (78, 1, "streamPrioritiesSupported"),
    "MemoryPoolsSupported": (115, 1, "memoryPoolsSupported"),
}
_peers: set[tuple[int, int]] = set()  # (device, whose memory it may touch)


def driverGetVersion() -> int:
    """Return the CUDA version that the driver would support."""
    return 13000


def runtimeGetVersion() -> int:
    """Return the CUDA version."""
    return 13000


def getDeviceCount() -> int:
    """Return the number of devices."""
    return memory.devices


def getDevice() -> int:
    """Return the thread's device."""
    return here.device


def setDevice(device: int) -> None:
    """Change the thread's device. CUDARuntimeError (101) where there is none of this number."""
    here.device = known(device)


def known(device: int) -> int:
    """Return the number of a device. CUDARuntimeError (101) where there is none of this number."""
    if not 0 <= device < memory.devices:
        raise CUDARuntimeError(101)
    return device


def deviceGetAttribute(attrib: int, device: int) -> int:
    """Return an attribute by number. CUDARuntimeError (1) for one that the stand-in does not know."""
    known(device)
    values = {number: value for number, value, _ in ATTRIBUTES.values()}
    if attrib not in values:
        raise CUDARuntimeError(1)
    return values[attrib]


def getDeviceProperties(device: int) -> dict[str, Any]:
    """Return some of a device's properties, under the names of cudaDeviceProp."""
    return {name: value for _, value, name in ATTRIBUTES.values()} | {
        "name": b"stand-in (no GPU)",
        "totalGlobalMem": memory.total,
        "pciDomainID": 0,
        "pciBusID": known(device) + 1,
        "pciDeviceID": 0,
    }


def deviceGetPCIBusId(device: int) -> str:
    """Return domain, bus and device."""
    return f"0000:{known(device) + 1:02X}:00.0"


def deviceSynchronize() -> None:
    """Wait for all that was issued to the thread's device."""
    machine.wait(device_tails(here.device))


def deviceCanAccessPeer(device: int, peerDevice: int) -> int:
    """Return 1 where a device could touch another's memory."""
    return int(known(device) != known(peerDevice))


def deviceEnablePeerAccess(peerDevice: int) -> None:
    """Let the thread's device touch another's memory. CUDARuntimeError: 101: itself; 704: it may already."""
    if known(peerDevice) == here.device:
        raise CUDARuntimeError(101)
    if (here.device, peerDevice) in _peers:
        raise CUDARuntimeError(704)
    _peers.add((here.device, peerDevice))


def deviceDisablePeerAccess(peerDevice: int) -> None:
    """Forbid it again. CUDARuntimeError (705) where it was not allowed."""
    if (here.device, peerDevice) not in _peers:
        raise CUDARuntimeError(705)
    _peers.remove((here.device, peerDevice))


def memGetInfo() -> tuple[int, int]:
    """Return the free and all bytes of the thread's device."""
    return memory.total - memory.used[here.device], memory.total
