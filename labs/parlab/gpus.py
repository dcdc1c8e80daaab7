"""Are there GPUs that Python can use, and what stands beside their figures? Nothing here starts one: `parlab list` asks too.

How a GPU is opened and described is the topic's to know (parlab.cuda.device is a `Device`); here it is used.
"""

import ctypes
import importlib.metadata
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

from parlab.errors import BadRequest

if TYPE_CHECKING:
    from parlab.bench import Bench
    from parlab.measure import Gpus

INSTALL = "pip install -e '.[cuda]'"
SUCCESS, NO_DEVICE = 0, 100  # CUDA driver API: CUresult


class Device(Protocol):
    """What knows the GPUs. EVENT_STEP: seconds, the least difference that their clock sees."""

    EVENT_STEP: float

    def refused(self, count: int, /) -> str | None:
        """Open so many GPUs and compile for them; say what is wrong, or None."""

    def facts(self, index: int, /) -> dict[str, str]:
        """Return what stands beside the figures of a GPU: its name, engines, clocks, link."""

    def settle(self, count: int, /) -> None:
        """Wait until so many GPUs have nothing left to do."""

    def by_events(self, run: Callable[[], object], batch: int, /) -> float:
        """Do a run so many times; return the seconds on the device's clock."""

    def behind_gate(self, run: Callable[[], object], batch: int, /) -> float:
        """Return the same of runs that were all issued before the first of them began."""


def missing(count: int) -> str | None:
    """Say why there are not so many GPUs that Python can use here; None where there are."""
    if reason := driver_missing():
        return f"no CUDA device ({reason})"
    if find_spec("cupy") is None:
        return f"no CUDA device for Python (CuPy is not installed: {INSTALL})"
    if reason := _too_old():
        return f"no CUDA device for CuPy ({reason})"
    here = _devices()
    return f"{count} CUDA devices needed, {here} here" if here < count else None


def count() -> int:
    """Return how many GPUs the driver has for us."""
    return 0 if driver_missing() else _devices()


@cache
def _driver() -> ctypes.CDLL | None:
    for name in ("libcuda.so.1", "nvcuda.dll"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


@cache
def driver_missing() -> str | None:
    """Say why the driver has no device for us."""
    if (driver := _driver()) is None:
        return "there is no NVIDIA driver"
    status = driver.cuInit(0)
    if status == NO_DEVICE or (status == SUCCESS and _devices() == 0):
        return "the NVIDIA driver sees no GPU; CUDA_VISIBLE_DEVICES may hide it"
    return None if status == SUCCESS else f"the NVIDIA driver does not start: cuInit gives error {status}"


def _devices() -> int:
    count = ctypes.c_int()
    driver = _driver()
    return count.value if driver is not None and driver.cuDeviceGetCount(ctypes.byref(count)) == SUCCESS else 0


def _too_old() -> str | None:
    """Hold the driver against the CUDA version that CuPy was built for."""
    names = {name.lower() for d in importlib.metadata.distributions() if (name := d.metadata["Name"])}
    built = max((int(m[1]) for name in names if (m := re.fullmatch(r"cupy-cuda(\d+)x", name))), default=0)
    version = ctypes.c_int()
    driver = _driver()
    if driver is None or driver.cuDriverGetVersion(ctypes.byref(version)) != SUCCESS:
        return None
    major, minor = version.value // 1000, version.value % 1000 // 10
    if major >= built:
        return None
    return f"the driver knows CUDA {major}.{minor}, CuPy was built for CUDA {built}: update the driver, or install cupy-cuda{major}x"


def neighbours() -> list[str]:
    """Return who else is using the GPUs now, as far as the system tells."""
    if shutil.which("nvidia-smi") is None:
        return []
    asked = ["nvidia-smi", "--query-compute-apps=pid,name,used_memory", "--format=csv,noheader"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout
    except (subprocess.SubprocessError, OSError):
        return []
    return [line.strip() for line in told.splitlines() if re.match(r"\d+,", line.strip())]


def teams(bench: "Bench", device: Device, sizes: list[int]) -> Iterator["Gpus"]:
    """Yield the teams of GPUs, with what stands beside their figures recorded. Raises BadRequest where they cannot be used."""
    from parlab.measure import Clock, Gpus  # here: `parlab list` must not pay for it

    if reason := device.refused(max(sizes, default=1)):
        raise BadRequest(reason)
    for index in range(max(sizes, default=1)):
        bench.row({"GPU": str(index)} | device.facts(index))
    events = Clock("events", device.by_events, device.EVENT_STEP)
    gated = Clock("gated events", device.behind_gate, device.EVENT_STEP)
    for count in sizes:
        yield Gpus(count, events=events, gated=gated, settle=device.settle)
