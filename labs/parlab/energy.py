"""Joules, where counters tell: of the processors by RAPL, of the GPUs by NVML. They count whatever uses them, not this program alone.

RAPL: Linux shows the counter of each processor package in /sys/class/powercap/intel-rapl:N (AMD's too), since 2020 to root alone.
Sources: Linux, Documentation/power/powercap/powercap.rst; NVIDIA, NVML API Reference, nvmlDeviceGetTotalEnergyConsumption.
"""

import ctypes
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
PROCESSORS, GPUS = "processors", "GPUs"


@dataclass(frozen=True)
class Counter:
    """What counts energy. of: PROCESSORS or GPUS. read: joules so far. wraps: joules at which it begins again at 0; None: never."""

    of: str
    read: Callable[[], float]
    wraps: float | None = None

    def spent(self, before: float) -> float:
        """Return the joules since it stood at `before`; it may have begun again once."""
        more = self.read() - before
        return more + self.wraps if more < 0 and self.wraps else more


def counters() -> list[Counter]:
    """Return all counters that can be read here."""
    return [*_packages(), *_gpus()]


def missing(found: list[Counter]) -> str | None:
    """Say which energy is not counted, and why; None where both are."""
    told = []
    if not any(counter.of == PROCESSORS for counter in found):
        told.append(f"of the processors: {'only root may read' if _folders() else 'there is no counter in'} {POWERCAP}")
    if not any(counter.of == GPUS for counter in found):
        told.append("of GPUs: no NVIDIA GPU with a counter is here")
    return "; ".join(told) or None


def per_run(
    run: Callable[[], object], wait: Callable[[], object], found: list[Counter], seconds: float
) -> dict[str, float]:
    """Return the joules of one run, by what spent them; it is repeated for so many seconds. wait: until what was issued is done."""
    run()
    wait()
    before, begin, runs = [counter.read() for counter in found], time.perf_counter(), 0
    while not runs or time.perf_counter() - begin < seconds:
        run()
        wait()
        runs += 1
    joules = dict.fromkeys((counter.of for counter in found), 0.0)
    for counter, start in zip(found, before, strict=True):
        joules[counter.of] += counter.spent(start) / runs
    return joules


def _folders() -> list[Path]:
    """Find the packages; intel-rapl:0:1 would be a part of intel-rapl:0, intel-rapl-mmio:0 the same again."""
    found = POWERCAP.iterdir() if POWERCAP.is_dir() else []
    return sorted(path for path in found if re.fullmatch(r"intel-rapl:\d+", path.name))


def _packages() -> list[Counter]:
    found = []
    for folder in _folders():
        try:
            if not (folder / "name").read_text().startswith("package"):
                continue  # psys: the whole machine, the packages in it
            counter = Counter(
                PROCESSORS, partial(_joules, folder / "energy_uj"), _joules(folder / "max_energy_range_uj")
            )
            counter.read()
        except (OSError, ValueError):
            continue
        found.append(counter)
    return found


def _joules(file: Path) -> float:
    return int(file.read_text()) * 1e-6


def _gpus() -> list[Counter]:
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return []
    count = ctypes.c_uint()
    if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return []
    found = []
    for index in range(count.value):
        handle, joules = ctypes.c_void_p(), ctypes.c_ulonglong()
        status = nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle))
        if status or nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(joules)):
            continue  # before Volta GPUs do not count
        found.append(Counter(GPUS, partial(_of_gpu, nvml, handle)))
    return found


def _of_gpu(nvml: ctypes.CDLL, handle: ctypes.c_void_p) -> float:
    millijoules = ctypes.c_ulonglong()
    nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules))
    return millijoules.value * 1e-3
