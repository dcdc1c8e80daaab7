"""A pool of threads in another Python: one without the GIL, if this machine has one. Its threads run plain Python at one time.

That Python needs no package: it runs parlab.openmp_like.interpreter_member, which is standard library only, and is sent the values over a
local socket, so keep them few. Source: PEP 703, Making the Global Interpreter Lock Optional in CPython.
"""

import shutil
import socket
import subprocess
from functools import cache
from pathlib import Path

import numpy as np

from parlab.openmp_like.interpreter_member import DONE, HEAD
from parlab.openmp_like.pools import Arrays
from parlab.openmp_like.rank_member import receive

NAMES = [f"python3.{minor}t" for minor in (15, 14, 13)]  # CPython's names for its builds without the GIL
ASK = "import sys; print(getattr(sys, '_is_gil_enabled', lambda: True)())"
RUN_SECONDS = 60  # for one run, or to get ready
END_SECONDS = 10  # to say what it is, or to leave


@cache
def free_threaded() -> str | None:
    """Return the path of a Python on PATH that runs without the GIL; None where there is none."""
    for path in filter(None, map(shutil.which, NAMES)):
        try:
            told = subprocess.run([path, "-c", ASK], capture_output=True, text=True, timeout=END_SECONDS).stdout
        except (OSError, subprocess.TimeoutExpired):
            continue
        if told.strip() == "False":
            return path
    return None


class Interpreter:
    """`workers` threads of the interpreter `python`, for the task in plain Python. RuntimeError, in one line, where it fails."""

    def __init__(self, arrays: Arrays, workers: int, python: str) -> None:
        self.arrays, self.python = arrays, python
        self.line, theirs = socket.socketpair()
        self.line.settimeout(RUN_SECONDS)
        member = Path(__file__).with_name("interpreter_member.py")
        with theirs:
            self.server = subprocess.Popen(
                [python, "-E", "-s", str(member), str(workers)],  # -E, -s: with none of our packages in its way
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                start_new_session=True,  # a Ctrl-C is for this program; the other one leaves when the line is cut
            )
        try:
            self.run(0, workers, 0)  # returns when it is ready
        except BaseException:
            self.close()
            raise

    def run(self, count: int, parts: int, steps: int) -> None:
        """Do the task on the first `count` values."""
        values, results = self.arrays
        try:
            self.line.sendall(HEAD.pack(count, parts, steps) + values[:count].tobytes())
            answer = receive(self.line, len(DONE) + values[:count].nbytes)
        except TimeoutError:
            raise RuntimeError(f"{self.python} gave no answer in {RUN_SECONDS} s") from None
        except OSError:
            answer = b""
        if not answer:
            raise RuntimeError(f"{self.python} ended with status {self.server.wait(END_SECONDS)}")
        results[:count] = np.frombuffer(answer, np.float64, count, len(DONE))

    def close(self) -> None:
        """Cut the line, at whose end the other one leaves."""
        self.line.close()
        try:
            self.server.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait()
