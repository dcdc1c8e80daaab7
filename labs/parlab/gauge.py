"""Did the threads of this process get the cores that they asked for? Linux counts how long each was ready and had to wait.

CPU time cannot tell: of threads that are running just now it is known up to the last tick of the scheduler, some milliseconds ago. Nor can
involuntary switches: a thread that waits politely, by sched_yield, counts as switched against its will.
Source: Linux, Documentation/scheduler/sched-stats.rst, /proc/PID/schedstat.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

TASKS = Path("/proc/self/task")


@cache
def waiting_gauge() -> Callable[[], float] | None:
    """Return what reads the seconds waited so far, over all threads of this process; None where the system does not count them."""
    try:
        return (lambda: _read(1)) if _read(0) > 0 else None
    except (OSError, ValueError, IndexError):
        return None


def _read(field: int) -> float:
    """Sum a field over all threads: 0: seconds on a core, 1: seconds ready and without one."""
    nanoseconds = 0
    for task in TASKS.iterdir():
        try:
            nanoseconds += int((task / "schedstat").read_text().split()[field])
        except (FileNotFoundError, ProcessLookupError):
            if task.exists():
                raise
            continue  # this thread has ended meanwhile
    return nanoseconds * 1e-9
