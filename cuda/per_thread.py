"""A process of its own whose default stream is one of each thread, or the legacy one: CuPy is told which before it is imported. Needs CuPy.

    with Child(per_thread=True, count=2**24, turns=500) as child:
        child.ask("seconds", 3)     # of three runs of the program with a copy on the default stream, by the device's events
        child.ask("wrong")          # None

Source: CuPy, Reference, Environment variables, CUPY_CUDA_PER_THREAD_DEFAULT_STREAM.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Self

import numpy as np

from parlab.cuda.chunk_loop import checked, program, recorded
from parlab.cuda.device import by_events
from parlab.cuda.killers import KILLERS
from parlab.cuda.pipelines import Problem

MODE = "CUPY_CUDA_PER_THREAD_DEFAULT_STREAM"
WAY = KILLERS["copy on default stream"]


class Child:
    """The process as the one that starts it sees it. It ends with the `with`, and with its parent however that one ends."""

    def __init__(self, per_thread: bool, count: int, turns: int) -> None:
        self.mode = "per-thread" if per_thread else "legacy"
        context = multiprocessing.get_context("spawn")  # a fork would inherit a CUDA that it may not use
        self._pipe, other = context.Pipe()
        before = os.environ.get(MODE, "0")
        os.environ[MODE] = str(int(per_thread))
        try:
            self._process = context.Process(target=serve, args=(other, count, turns), daemon=True)
            self._process.start()
        finally:
            os.environ[MODE] = before
        other.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.close()
        self._process.join()

    def seconds(self, run: object, batch: int) -> float:
        """Return the seconds of its program, so many times, by the device's events. run: what to time elsewhere; here it is known."""
        return float(self.ask("seconds", batch))

    def ask(self, what: str, *arguments: Any) -> Any:
        """Return the child's answer. Raises RuntimeError where it has ended."""
        try:
            self._pipe.send((what, arguments))
            return self._pipe.recv()
        except (EOFError, OSError):
            raise RuntimeError(f"the process with the {self.mode} default stream has ended") from None


def serve(pipe: Connection, count: int, turns: int) -> None:
    """Answer until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    problem = Problem(count, turns)
    problem.source[:] = np.random.default_rng(0).uniform(0.5, 1.5, count)
    run = program(problem, WAY)

    def seconds(batch: int) -> float:
        np.negative(problem.source, out=problem.source)
        run()  # the GPU comes from another process: this one warms it up
        return by_events(run, batch)

    answers: dict[str, Callable[..., Any]] = {
        "seconds": seconds,
        "wrong": partial(checked, problem, run),
        "spans": partial(recorded, problem, WAY),
    }
    while True:
        try:
            what, arguments = pipe.recv()
        except EOFError:
            return
        pipe.send(answers[what](*arguments))
