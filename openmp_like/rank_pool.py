"""A pool of MPI ranks, for a program that is not one of them: they wait as the workers of parlab.openmp_like.pools do.

    with closing(RankPool(block, workers, launch)) as pool:   # mpirun has started the ranks, and each has called in
        pool.run(count, parts, steps)

The values and results lie in memory shared with rank 0, which scatters the values over the ranks and gathers their results. The hop between
this program and the ranks is a word to each over a local socket, and one back: run(parts, parts, 0) measures it. Between two runs the ranks
wait on that socket: an MPI that waits for a message keeps its core busy, and would disturb whatever else is measured.

`Ranks` is the pool without the task: what its ranks do when they are told three numbers is their program's business.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Protocol

from parlab.openmp_like.pools import START_SECONDS, Block
from parlab.openmp_like.rank_member import DONE, LEAVE, ORDER, receive

LOOK_SECONDS = 0.05  # between two looks whether the launcher still runs
RUN_SECONDS = 60  # for one run
END_SECONDS = 10  # for ranks and launcher to leave by themselves


class Command(Protocol):
    """A command line and the variables to set for it, as parlab.launch makes them."""

    @property
    def argv(self) -> Sequence[str]:
        """The argument list."""

    @property
    def env(self) -> Mapping[str, str]:
        """The variables."""


Launch = Callable[[int, Sequence[str]], Command]


class Ranks:
    """`workers` MPI ranks that run a module: launch(workers, program) gives the command that starts them on this machine.

    It is started as `-m MODULE SOCKET ARGUMENTS`, calls in at the socket with its rank, and then obeys orders until it is told LEAVE.
    Linux. RuntimeError, in one line, where they do not start, or one of them fails.
    """

    def __init__(self, workers: int, launch: Launch, module: str, *arguments: str) -> None:
        self.folder = tempfile.TemporaryDirectory()  # only this user may enter it, so nobody else may call in
        self.log = Path(self.folder.name) / "log"
        address = str(Path(self.folder.name) / "socket")
        command = launch(workers, ["-m", module, address, *arguments])
        self.ranks: dict[int, socket.socket] = {}
        self.at_rest = False  # all ranks are there, and wait for the next order
        with self.log.open("wb") as log, socket.socket(socket.AF_UNIX) as door:
            door.bind(address)
            door.listen(workers)
            door.settimeout(LOOK_SECONDS)
            self.launcher = subprocess.Popen(
                list(command.argv),
                env={**os.environ, **command.env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C is for this program, which then ends the ranks
            )
            try:
                self._let_in(door, workers)
            except BaseException:
                self.close()
                raise

    def _let_in(self, door: socket.socket, workers: int) -> None:
        for _ in range(workers + int(START_SECONDS / LOOK_SECONDS)):
            if len(self.ranks) == workers:
                self.at_rest = True
                return
            try:
                caller, _ = door.accept()
            except TimeoutError:
                if self.launcher.poll() is not None:
                    break
                continue
            caller.settimeout(RUN_SECONDS)
            if hello := receive(caller, ORDER.size):
                self.ranks[ORDER.unpack(hello)[0]] = caller
        raise RuntimeError(f"only {len(self.ranks)} of {workers} MPI ranks came: {self._last_words()}")

    @contextlib.contextmanager
    def told(self, *order: int, to: int) -> Iterator[socket.socket]:
        """Give the ranks 0 to `to` - 1 an order, the others go on waiting; in the `with` block receive from rank 0 all of its answer."""
        self.at_rest = False
        try:
            for rank in range(to):
                self.ranks[rank].sendall(ORDER.pack(*order))
            yield self.ranks[0]
        except OSError:
            self._end()
            raise RuntimeError(f"the MPI ranks gave no answer: {self._last_words()}") from None
        self.at_rest = True

    def close(self) -> None:
        """Let the ranks go; end those that do not."""
        self._end()
        self.folder.cleanup()

    def _end(self) -> None:
        for rank in self.ranks.values():
            with rank, contextlib.suppress(OSError):
                if self.at_rest:
                    rank.sendall(LEAVE)  # else a rank that finds itself cut off ends all
        if self.launcher.poll() is not None:
            return
        end = os.pidfd_open(self.launcher.pid)  # Popen.wait with a limit looks but every 50 ms, and this is timed
        try:
            for word in (signal.SIGTERM, signal.SIGKILL):
                if wait([end], END_SECONDS):
                    break
                os.killpg(self.launcher.pid, word)
        finally:
            os.close(end)
        self.launcher.wait()

    def _last_words(self) -> str:
        """Pick from what the launcher and the ranks printed the last exception, else the last line."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip(" -*=")]
        raised = [line for line in lines if re.match(r"\w+(Error|Exception)\b", line)]
        return (raised or lines or ["the launcher said nothing"])[-1]


class RankPool(Ranks):
    """MPI ranks that do the task of parlab.openmp_like.pools on the values of a block."""

    def __init__(self, block: Block, workers: int, launch: Launch) -> None:
        super().__init__(workers, launch, "parlab.openmp_like.rank_member", block.name)

    def run(self, count: int, parts: int, steps: int) -> None:
        """Do the task on the first `count` values by the ranks 0 to parts - 1."""
        with self.told(count, parts, steps, to=parts) as first:
            if not receive(first, len(DONE)):
                raise ConnectionError
