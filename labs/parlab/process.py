"""Run a command bounded in time, and end it with every process it started."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from parlab.launch import Command

POLL_SECONDS = 0.05
GRACE_SECONDS = 2.0  # what a launcher gets to end its ranks by itself before it is killed


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit status, whether the time limit ended it, and what it printed."""

    status: int
    timed_out: bool
    output: str


def run(
    command: Command,
    *,
    limit: float,
    log: Path,
    watch: Callable[[], None] = lambda: None,
    on_timeout: Callable[[], None] = lambda: None,
) -> Outcome:
    """Run a command for at most `limit` seconds; its output goes to `log`, `watch` is called some 20 times a second.

    on_timeout is called before the processes are ended, so that it can ask them where they wait. When the caller is interrupted the
    processes are ended too.
    """
    with log.open("w+b") as output:
        child = subprocess.Popen(
            command.argv,
            env={**os.environ, **command.env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        end = time.monotonic() + limit
        timed_out = False
        try:
            while child.poll() is None:
                watch()
                if time.monotonic() > end:
                    timed_out = True
                    on_timeout()
                    break
                time.sleep(POLL_SECONDS)
        finally:
            end_tree(child)
        watch()
        output.seek(0)
        return Outcome(child.returncode, timed_out, output.read().decode(errors="replace"))


def end_tree(child: subprocess.Popen[bytes]) -> None:
    """End a process and all its descendants: ask first, then kill. mpirun puts each rank into a group of its own."""
    import psutil

    if child.poll() is not None:
        return
    try:
        family = [psutil.Process(child.pid), *psutil.Process(child.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        family = []
    child.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(family[1:], timeout=GRACE_SECONDS)
    for process in [*alive, *family[:1]]:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    child.wait()
