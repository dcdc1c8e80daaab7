"""What is this machine? The facts that stand beside every figure: cores allowed, caches, memory, MPI, GPUs, versions."""

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

from parlab import gpus

PACKAGES = (
    "parlab",
    "numpy",
    "scipy",
    "mpi4py",
    "openmpi",
    "mpich",
    "numba",
    "tbb",
    "torch",
    "cupy-cuda13x",
    "numba-mpi",
)
GPU_FACTS = "name,memory.total,driver_version,clocks.max.sm,clocks.max.mem,pcie.link.gen.max,pcie.link.width.max"


def affinity() -> set[int]:
    """Return the cores on which this process may run."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def cores(mask: set[int] | None = None) -> int:
    """Count the cores that this process, or processes that have these together, may use: cut by the CPU quota of its control group."""
    allowed = len(affinity() if mask is None else mask)
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return allowed if quota == "max" else max(1, min(allowed, int(quota) // int(period)))
    except (OSError, ValueError):
        return allowed


def facts() -> dict[str, Any]:
    """Gather everything that is known without starting MPI or a GPU context; what a system does not tell is left out."""
    import psutil

    found = {
        "host": platform.node(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **_processor(),
        "cores_allowed": cores(),
        "numa_nodes": len(list(Path("/sys/devices/system/node").glob("node[0-9]*"))) or None,
        "caches": _caches(),
        "line_bytes": _read("/sys/devices/system/cpu/cpu0/cache/index0/coherency_line_size", int),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "memory_bytes": psutil.virtual_memory().total,
        "load_average": [round(x, 2) for x in os.getloadavg()],
        "gpus": _gpus(),
        "gpus_used_by": gpus.neighbours(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "commit": _commit(),
    }
    return {key: value for key, value in found.items() if value not in (None, {}, [])}


def one_line(known: dict[str, Any]) -> str:
    """Say in one line which machine a run was on."""
    memory = f"{known['memory_bytes'] / 2**30:.0f} GiB" if "memory_bytes" in known else "memory unknown"
    kinds = Counter(gpu.split(",")[0] for gpu in known.get("gpus", []))
    gpus = "".join(f", {count} x {kind}" for kind, count in kinds.items())
    mpi = f", {known['mpi']}" if "mpi" in known else ""
    return f"{known.get('cpu', 'unknown CPU')}, {known.get('cores_allowed', '?')} cores, {memory}{gpus}{mpi}"


def _processor() -> dict[str, Any]:
    """Ask lscpu (util-linux), which knows every architecture's way of naming its processor."""
    lines = _output(["lscpu", "-J"])
    if not lines:
        return {"cpu": platform.processor() or platform.machine()}
    told: dict[str, str] = {}

    def walk(entries: list[dict[str, Any]]) -> None:
        for entry in entries:
            told[entry["field"].rstrip(":")] = entry["data"]
            walk(entry.get("children", []))

    walk(json.loads(lines)["lscpu"])
    names = {"Model name": "cpu", "Socket(s)": "sockets", "Core(s) per socket": "cores_per_socket"}
    names |= {"Thread(s) per core": "threads_per_core", "Hypervisor vendor": "hypervisor"}
    return {
        key: int(told[field]) if told[field].isdigit() else told[field] for field, key in names.items() if field in told
    }


def _caches() -> dict[str, str]:
    """Size of each data cache of core 0, and how many cores share it."""
    caches = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind, level, size = (_read(index / name) for name in ("type", "level", "size"))
        if kind in ("Data", "Unified") and size:
            caches[f"L{level}"] = f"{size}, shared by cores {_read(index / 'shared_cpu_list')}"
    return caches


def _gpus() -> list[str]:
    """Name, memory, driver, highest clocks of multiprocessors and memory, PCIe generation and lanes of each GPU."""
    lines = _output(["nvidia-smi", f"--query-gpu={GPU_FACTS}", "--format=csv,noheader"])
    return [line.strip() for line in lines.splitlines() if line.strip()]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Return the commit of the source tree, marked where it was changed since; None for an installed parlab."""
    root = str(Path(__file__).resolve().parents[2])
    commit = _output(["git", "-C", root, "rev-parse", "--short=12", "HEAD"]).strip()
    changed = _output(["git", "-C", root, "status", "--porcelain", "--untracked-files=no"]).strip()
    return commit + ("+changes" if changed else "") if commit else None


def _output(command: list[str]) -> str:
    """Return what a command prints, or nothing where it is missing, fails or hangs."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (subprocess.SubprocessError, OSError):
        return ""


def _read(path: str | Path, kind: type = str) -> Any:
    try:
        return kind(Path(path).read_text().strip())
    except (OSError, ValueError):
        return None
