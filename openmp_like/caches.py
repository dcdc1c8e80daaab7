"""The sizes of the data caches, as Linux tells them (sysfs), for what is measured from the first cache to beyond the last."""

import os
from pathlib import Path

SYSFS = Path("/sys/devices/system/cpu")
USUAL = {1: 32 << 10, 2: 1 << 20, 3: 32 << 20}  # bytes; taken where the machine does not tell


def sizes(cpu: int = 0, root: Path = SYSFS) -> dict[int, int]:
    """Return the bytes of the data caches that a core can use, by level."""
    return {level: size for level, size, _ in _caches(cpu, root)} or dict(USUAL)


def last_bytes(cores: set[int] | None = None, root: Path = SYSFS) -> int:
    """Return the bytes of all last caches that these cores (default: those that this process may use) have together.

    A processor may have several: its cores then share them in groups.
    """
    allowed = cores or (os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0})
    last = {max(found)[1:] for cpu in allowed if (found := _caches(cpu, root))}
    return sum(size for size, _ in last) or USUAL[3]


def _caches(cpu: int, root: Path) -> list[tuple[int, int, str]]:
    """Return level, bytes and sharing cores of each data cache of a core."""
    found = []
    for index in (root / f"cpu{cpu}" / "cache").glob("index*"):
        kind, level, size, shared = (
            (index / name).read_text().strip() for name in ("type", "level", "size", "shared_cpu_list")
        )
        if kind in ("Data", "Unified"):
            found.append((int(level), int(size.removesuffix("K")) << 10, shared))
    return found
