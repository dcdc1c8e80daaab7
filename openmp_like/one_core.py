"""All threads of this process on one core: they take turns, so none writes while another does, and no line moves between caches."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TASKS = Path("/proc/self/task")  # one entry for each thread (Linux)


@contextmanager
def on_one_core() -> Iterator[None]:
    """Keep all threads that this process has on one of its cores; on leaving each may run where it could before.

    NotImplementedError on systems other than Linux.
    """
    if not TASKS.exists():
        raise NotImplementedError("threads can be put onto one core on Linux only")
    before = {int(task.name): os.sched_getaffinity(int(task.name)) for task in TASKS.iterdir()}
    core = min(os.sched_getaffinity(0))
    for task in before:
        os.sched_setaffinity(task, {core})
    try:
        yield
    finally:
        for task, cores in before.items():
            with suppress(ProcessLookupError):  # it has ended
                os.sched_setaffinity(task, cores)
