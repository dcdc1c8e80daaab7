"""How quiet is this machine? A fixed work quantum on every allowed core: what it takes beyond its own time went to others.

The fixed-work-quantum probe is the classic one of the noise literature (Sottile and Minnich, 2004).
"""

import os
import time

import numpy as np

QUANTUM = 2000  # additions in one quantum, about 50 us of Python
LOUD = 0.10  # above this share of lost time a run is marked as noisy


def lost_share(seconds_per_core: float = 0.08) -> dict[str, float]:
    """Return, for each allowed core, the share of its time (0 to 1) that other work took while the probe ran on it."""
    cores = _allowed()
    try:
        return {str(core): _probe(core, seconds_per_core) for core in sorted(cores)}
    finally:
        _bind(cores)


def _probe(core: int, seconds: float) -> float:
    _bind({core})
    times = []
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        total = 0
        for i in range(QUANTUM):
            total += i
        times.append(time.perf_counter() - start)
    # The lower decile, not the minimum, is the quantum's own time: a clock boost must not read as noise.
    own = float(np.quantile(times, 0.1))
    return float(np.maximum(np.array(times) - own, 0).sum() / np.sum(times))


def _allowed() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0}


def _bind(cores: set[int]) -> None:
    if hasattr(os, "sched_setaffinity"):  # Linux; elsewhere the probe runs where the scheduler puts it
        os.sched_setaffinity(0, cores)
