"""Start several copies of this process; the first that fails ends the others, in bounded time.

Forked, because importing torch takes seconds: it is imported once, before. Never fork after CUDA or OpenMP threads have started.
"""

import contextlib
import ctypes
import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import NoReturn

POLL_SECONDS = 0.01
FOLLOW_SECONDS = 0.3  # where all fail for the same reason, those that come later get this long to say so
GRACE_SECONDS = 2.0  # what the others get to say where they stand before they are killed
DIE_WITH_PARENT = 1  # Linux: prctl(PR_SET_PDEATHSIG)


def run(count: int, body: Callable[[int], int], limit: float = float("inf")) -> list[int]:
    """Call body(rank) in `count` forked processes; return their exit statuses, negative where a signal ended one.

    The first that fails ends the others, by SIGTERM and, where they do not heed it, by SIGKILL. So does the limit, in seconds.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    gc.freeze()  # else the workers' collectors would copy every page of what was imported
    parent = os.getpid()
    alive = {os.fork() or _child(body, rank, parent): rank for rank in range(count)}
    statuses: dict[int, int] = {}
    end = time.monotonic() + limit
    try:
        while alive and not any(statuses.values()) and time.monotonic() < end:
            statuses |= _ended(alive)
        statuses |= _ended_within(FOLLOW_SECONDS, alive)
    finally:
        _signal(alive, signal.SIGTERM)
        statuses |= _ended_within(GRACE_SECONDS, alive)
        _signal(alive, signal.SIGKILL)
        statuses |= _ended_within(float("inf"), alive)
    return [statuses[rank] for rank in range(count)]


def _ended_within(seconds: float, alive: dict[int, int]) -> dict[int, int]:
    found: dict[int, int] = {}
    end = time.monotonic() + seconds
    while alive and time.monotonic() < end:
        found |= _ended(alive)
    return found


def _ended(alive: dict[int, int]) -> dict[int, int]:
    """Return the statuses, by rank, of those that have ended, and take these from the living; rest where there is none."""
    found = {}
    for pid in list(alive):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            found[alive.pop(pid)] = os.waitstatus_to_exitcode(status)
    if not found:
        time.sleep(POLL_SECONDS)
    return found


def _signal(alive: dict[int, int], number: int) -> None:
    for pid in alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _child(body: Callable[[int], int], rank: int, parent: int) -> NoReturn:
    """Be the worker; never return into what the parent was doing."""
    status = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with contextlib.suppress(
            OSError, AttributeError
        ):  # elsewhere than on Linux an orphan ends when its peers are gone
            ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        status = body(rank)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
