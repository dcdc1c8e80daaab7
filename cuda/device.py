"""What a GPU is, whether it can be used, and how runs on it are timed: by its own events. Needs CuPy.

Events on main() around a run see everything that the run forks from it and joins to it. Behind the gate, a kernel that holds main() until
all is issued, the host's time to issue does not count: what is left is what the device needs.
Source of the gate: NVIDIA nvbandwidth, which holds its streams by a kernel that spins on a flag of the host.
"""

import subprocess
from collections.abc import Callable
from functools import cache
from typing import Any

import cupy as cp
import numpy as np

from parlab.cuda.buffers import MAPPED, Host, address, pinned
from parlab.cuda.kernels import kernel
from parlab.cuda.streams import main

EVENT_STEP = 0.5e-6  # seconds: the resolution of events (CUDA Runtime API, cudaEventElapsedTime)
GATE_SECONDS = (
    2.0  # the gate opens by itself after this time: about a thousand operations fit behind it, then the host would wait
)
LIVE = "clocks.sm,clocks.mem,pcie.link.gen.current,pcie.link.width.current,power.draw"


def refused(count: int) -> str | None:
    """Open so many GPUs and compile for them; say what is wrong, or None."""
    try:
        for index in range(count):
            with cp.cuda.Device(index):
                cp.zeros(1)
        kernel("gate")
    except cp.cuda.runtime.CUDARuntimeError as error:
        return f"the GPU cannot be used: {error}"
    except cp.cuda.memory.OutOfMemoryError:
        return "the GPU has no memory left: another process holds it (nvidia-smi shows which)"
    except (RuntimeError, ImportError) as error:  # cuda-pathfinder's DynamicLibNotFoundError is a RuntimeError
        return f"CuPy cannot compile: pip install -e '.[cuda]' brings NVRTC ({str(error).splitlines()[0]})"
    return None


def facts(index: int) -> dict[str, str]:
    """Return what stands beside the figures of a GPU: what it has, and its clocks and link while it works."""
    known = cp.cuda.runtime.getDeviceProperties(index)
    versions = (cp.cuda.runtime.driverGetVersion(), cp.cuda.runtime.runtimeGetVersion())
    free, total = cp.cuda.Device(index).mem_info
    told = {
        "name": known["name"].decode(),
        "multiprocessors": str(known["multiProcessorCount"]),
        "copy engines": str(known["asyncEngineCount"]),
        "L2": f"{known['l2CacheSize'] / 2**20:.0f} MiB",
        "memory free": f"{free / 2**30:.0f} of {total / 2**30:.0f} GiB",
        "CUDA of driver and runtime": " and ".join(f"{v // 1000}.{v % 1000 // 10}" for v in versions),
    }
    return told | _live(cp.cuda.Device(index).pci_bus_id)


def _live(bus: str) -> dict[str, str]:
    """Ask nvidia-smi for what changes."""
    try:
        asked = ["nvidia-smi", f"--query-gpu={LIVE}", "--format=csv,noheader", f"--id={bus}"]
        told = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout.strip().split(", ")
        sm, memory, generation, lanes, power = told
    except (OSError, ValueError, subprocess.SubprocessError):
        return {}
    return {"clocks now": f"{sm}, memory {memory}", "link now": f"PCIe {generation} x {lanes}", "power now": power}


@cache
def _events() -> tuple[Any, Any]:
    return cp.cuda.Event(), cp.cuda.Event()


@cache
def _flag() -> Host:
    return pinned(1, np.int32, MAPPED)


def settle(count: int) -> None:
    """Wait until so many GPUs have nothing left to do."""
    for index in range(count):
        with cp.cuda.Device(index):
            cp.cuda.runtime.deviceSynchronize()


def by_events(run: Callable[[], object], batch: int) -> float:
    """Do a run so many times on main(); return the seconds from the first one's begin to the last one's end, on the device's clock."""
    begin, end = _events()
    begin.record(main())
    for _ in range(batch):
        run()
    end.record(main())
    end.synchronize()
    return float(cp.cuda.get_elapsed_time(begin, end)) * 1e-3


def behind_gate(run: Callable[[], object], batch: int) -> float:
    """Return the same seconds, but of runs that are issued before the first of them may begin.

    Raises RuntimeError where the gate had to open by itself: more was issued than the device's queues hold.
    """
    begin, end = _events()
    flag = _flag()
    flag[0] = 0
    kernel("gate")((1,), (1,), (np.uint64(address(flag)), np.uint64(int(GATE_SECONDS * 1e9))), stream=main())
    begin.record(main())
    for _ in range(batch):
        run()
    end.record(main())
    if flag[0] == 0:
        flag[0] = 1
    end.synchronize()
    if flag[0] == 2:
        raise RuntimeError("the gate had to open by itself: too many operations wait behind it; issue fewer")
    return float(cp.cuda.get_elapsed_time(begin, end)) * 1e-3
